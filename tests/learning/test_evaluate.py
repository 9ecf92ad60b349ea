"""What evaluate writes: predictions, a report that a gate can trust, and pictures."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
from lifecycle_project import Project

from engine.errors import StepError
from engine.stats.drift import Profile
from engine.steps.table import write_parquet

MODELS = """
import numpy as np

class Fixed:
    classes_ = np.array(["no", "yes"])

    def __init__(self, prediction="yes", share=None):
        self.prediction, self.share = prediction, share
        if share is not None:
            self.predict_proba = self.shares

    def predict(self, X):
        return np.array([self.prediction] * len(X), dtype=object)

    def shares(self, X):
        return np.tile(np.array(self.share, dtype=float), (len(X), 1))

def train(X, y, **params):
    return Fixed(**params)

def fails(X):
    model = Fixed()
    model.predict = lambda X: 1 / 0
    return model

def one(X):
    model = Fixed()
    model.predict = lambda X: ["yes"]
    return model
"""


@pytest.fixture
def split_people(project: Project, people: pd.DataFrame) -> Project:
    project.write("fixedmodels.py", MODELS)
    project.split(people)
    return project


def test_report_predictions_and_figures(split_people: Project) -> None:
    split_people.train(estimator="sklearn.linear_model.LogisticRegression")
    outcome = split_people.evaluate()
    report = split_people.json("evaluate.report")
    assert report["rows"] == {"train": 225, "holdout": 75}
    assert report["positive"] == "yes"
    f1 = report["metrics"]["f1_score"]
    assert f1["average"] == "binary"
    assert f1["low"] < f1["value"] < f1["high"]
    assert report["by_average"]["f1_score"]["binary"]["value"] == f1["value"]
    assert np.sum(report["confusion"]["counts"]) == 75
    assert report["baseline"]["roc_auc"] == 0.5
    assert report["baseline"]["average_precision"] == pytest.approx(np.mean(split_people.holdout()["target"] == "yes"))
    assert len(report["curves"]["roc"][0]["true_positive_rate"]) <= 201
    assert f"f1_score {f1['value']:.3f} [{f1['low']:.3f}, {f1['high']:.3f}]" in outcome.summary

    rows = pd.read_parquet(split_people.outputs["evaluate.predictions"])
    assert list(rows.columns) == ["row", "truth", "prediction", "probability_no", "probability_yes"]
    assert rows["truth"].tolist() == split_people.holdout()["target"].tolist()
    assert (rows["prediction"] == rows["truth"]).mean() == report["metrics"]["accuracy"]["value"]
    figures = {path.name: path.read_bytes() for path in split_people.outputs["evaluate.figures"].iterdir()}
    assert figures.keys() == {"confusion_matrix.png", "roc.png", "precision_recall.png", "calibration.png"}

    reference = split_people.outputs["evaluate.reference"].read_bytes()
    profile = Profile.from_bytes(reference)
    assert (profile.rows, profile.exact, profile.origin) == (75, True, "holdout")
    assert [(column.name, column.kind, column.role) for column in profile.columns] == [
        ("age", "numeric", "feature"),
        ("city", "categorical", "feature"),
        ("member", "boolean", "feature"),
        ("joined", "date", "feature"),
        ("opinion", "text", "feature"),
        ("prediction", "categorical", "prediction"),
        ("score", "numeric", "prediction"),
    ]
    assert profile.columns[-1].points.tolist() == sorted(rows["probability_yes"])

    first = split_people.outputs["evaluate.report"].read_bytes()
    split_people.evaluate()
    assert split_people.outputs["evaluate.report"].read_bytes() == first
    assert split_people.outputs["evaluate.reference"].read_bytes() == reference
    assert {p.name: p.read_bytes() for p in split_people.outputs["evaluate.figures"].iterdir()} == figures


@pytest.mark.parametrize(
    ("params", "error"),
    [
        ({"prediction": None}, "75 of 75 predictions are missing"),
        ({"prediction": "maybe"}, "75 of 75 predictions are of no known class, such as 'maybe'"),
        ({"share": ["nan", 0.5]}, "75 of 75 rows have probabilities that are not finite"),
        ({"share": [0.9, 0.9]}, "the probabilities of a row do not sum to 1"),
    ],
)
def test_what_cannot_be_measured_is_an_error_and_never_a_number(
    split_people: Project, params: dict[str, Any], error: str
) -> None:
    split_people.train(function="fixedmodels:train", params=params)
    outcome = split_people.evaluate()
    report = split_people.json("evaluate.report")
    assert report["error"] == outcome.facts["error"] == error
    assert all(entry["value"] is None for entry in report["metrics"].values())
    assert split_people.validate({"metric": "accuracy", "min": 0}, {"baseline": "better"}).verdict == "error"
    assert not list(split_people.outputs["evaluate.figures"].iterdir())
    assert not Profile.from_bytes(split_people.outputs["evaluate.reference"].read_bytes()).predictions()


def test_a_model_that_cannot_predict_is_a_failed_step(split_people: Project) -> None:
    for function, message in (("fails", "ZeroDivisionError"), ("one", "1 predictions for 75 rows")):
        split_people.train(function=f"fixedmodels:{function}")
        with pytest.raises(StepError, match=message):
            split_people.evaluate()


def test_probabilities_of_the_wrong_shape(split_people: Project) -> None:
    split_people.train(function="fixedmodels:train", params={"share": [0.2, 0.3, 0.5]})
    with pytest.raises(StepError, match="probabilities of shape"):
        split_people.evaluate()


def test_a_constant_model_does_not_beat_the_baseline(split_people: Project) -> None:
    split_people.train(function="fixedmodels:train", params={"prediction": "no", "share": [0.6, 0.4]})
    report = split_people.measure()
    assert report["metrics"]["f1_score"]["value"] == 0
    assert "class yes is never predicted" in report["notes"]
    assert split_people.validate({"baseline": "better"}).verdict == "fail"


def test_an_empty_holdout_never_passes(split_people: Project) -> None:
    split_people.train(estimator="sklearn.linear_model.LogisticRegression")
    write_parquet(split_people.holdout().head(0), split_people.outputs["split.holdout"])
    assert split_people.measure()["error"] == "the hold-out has no rows"
    assert split_people.validate({"metric": "accuracy", "min": 0}).verdict == "error"


def test_a_holdout_with_one_class_leaves_metrics_undefined(split_people: Project) -> None:
    split_people.train(estimator="sklearn.linear_model.LogisticRegression")
    rows = split_people.holdout()
    write_parquet(rows[rows["target"] == "no"], split_people.outputs["split.holdout"])
    report = split_people.measure()
    assert report["metrics"]["roc_auc"]["value"] is None
    assert report["metrics"]["accuracy"]["value"] is not None
    assert "no hold-out row is of class yes" in report["notes"]
    assert split_people.validate({"metric": "roc_auc", "min": 0.1}).verdict == "inconclusive"


def test_verdict_is_written_canonically(split_people: Project) -> None:
    split_people.train(estimator="sklearn.linear_model.LogisticRegression")
    split_people.measure()
    outcome = split_people.validate({"metric": "accuracy", "threshold": 1.0}, {"metric": "accuracy", "min": 0.1})
    document = json.loads(split_people.outputs["validate.verdict"].read_text())
    assert document["verdict"] == outcome.verdict == "fail"
    assert [gate["verdict"] for gate in document["gates"]] == ["fail", "pass"]
    assert outcome.facts["retrain"] is False


def test_classes_that_are_numbers_or_booleans(project: Project) -> None:
    generator = np.random.default_rng(0)
    a = generator.normal(size=120)
    for target in ((a > 0).astype(int), a > 0):
        project.split(pd.DataFrame({"a": a, "target": target}))
        project.write(
            "numbermodel.py",
            "class M:\n    def __init__(self, kind): self.kind = kind\n"
            "    def predict(self, X): return (X['a'] > 0).astype(self.kind)\n"
            "def train(X, kind): return M(kind)\n",
        )
        kind = "bool" if target.dtype == bool else "float"
        project.train(function="numbermodel:train", params={"kind": kind})
        assert project.measure()["metrics"]["accuracy"]["value"] == 1
