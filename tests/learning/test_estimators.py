"""Estimators by name: every family learns from mixed columns with gaps, and its file predicts the same."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from lifecycle_project import Project
from threadpoolctl import threadpool_limits

from engine.errors import IntegrityError, NotSupportedError, StepError
from engine.steps.model_files import load_stored
from engine.steps.stored_files import StoredFile
from engine.testing.models import stored_model

CLASSIFIERS: list[tuple[str, dict[str, Any], str]] = [
    ("auto", {"max_iter": 10}, "skops"),
    ("sklearn.ensemble.RandomForestClassifier", {"n_estimators": 5}, "skops"),
    ("sklearn.ensemble.ExtraTreesClassifier", {"n_estimators": 5}, "skops"),
    ("sklearn.ensemble.GradientBoostingClassifier", {"n_estimators": 8}, "skops"),
    ("sklearn.ensemble.AdaBoostClassifier", {"n_estimators": 10}, "skops"),
    ("sklearn.ensemble.BaggingClassifier", {"n_estimators": 4}, "skops"),
    ("sklearn.tree.DecisionTreeClassifier", {"max_depth": 4}, "skops"),
    ("sklearn.linear_model.LogisticRegression", {}, "skops"),
    ("sklearn.linear_model.SGDClassifier", {"loss": "log_loss"}, "skops"),
    ("sklearn.svm.SVC", {}, "skops"),
    ("sklearn.neighbors.KNeighborsClassifier", {}, "skops"),
    ("sklearn.neural_network.MLPClassifier", {"hidden_layer_sizes": [8], "max_iter": 400, "tol": 0.01}, "skops"),
    ("sklearn.naive_bayes.GaussianNB", {}, "skops"),
    ("sklearn.naive_bayes.MultinomialNB", {}, "skops"),
    ("xgboost.XGBClassifier", {"n_estimators": 20}, "skops"),
    ("lightgbm.LGBMClassifier", {"n_estimators": 20, "min_child_samples": 5}, "skops"),
]


@pytest.mark.parametrize(("name", "params", "format"), CLASSIFIERS, ids=[name for name, _, _ in CLASSIFIERS])
def test_classifier_of_every_family(
    project: Project, people: pd.DataFrame, name: str, params: dict[str, Any], format: str
) -> None:
    if name.startswith(("xgboost", "lightgbm")):
        pytest.importorskip(name.partition(".")[0])
    project.split(people)
    outcome = project.train(estimator=name, params=params)
    assert outcome.facts["format"] == format
    report = project.measure()
    assert "error" not in report
    assert report["metrics"]["accuracy"]["value"] > (0.4 if "Gaussian" in name else 0.6)
    model = project.model()
    predicted = model.predict(project.holdout())
    assert set(predicted) <= {"yes", "no"}
    probabilities = model.predict_proba(project.holdout())
    if probabilities is not None and "SVC" not in name:
        assert (np.array(["no", "yes"])[probabilities.argmax(axis=1)] == predicted).mean() > 0.99


@pytest.mark.parametrize(
    ("name", "params"),
    [
        ("auto", {"max_iter": 20}),
        ("sklearn.ensemble.RandomForestRegressor", {"n_estimators": 5}),
        ("sklearn.linear_model.Ridge", {}),
        ("sklearn.svm.SVR", {}),
        ("sklearn.neighbors.KNeighborsRegressor", {}),
        ("xgboost.XGBRegressor", {"n_estimators": 20}),
        ("lightgbm.LGBMRegressor", {"n_estimators": 20}),
    ],
)
def test_regressor_of_every_family(project: Project, people: pd.DataFrame, name: str, params: dict[str, Any]) -> None:
    if name.startswith(("xgboost", "lightgbm")):
        pytest.importorskip(name.partition(".")[0])
    rows = people.drop(columns="target")
    noise = np.random.default_rng(0).normal(0, 0.3, len(rows))
    project.split(rows.assign(target=rows["age"].fillna(40) / 10 + (rows["city"] == "Rom") + noise))
    assert project.train(estimator=name, params=params).facts["format"] == "skops"
    assert project.measure()["metrics"]["r2"]["value"] > 0.1


def test_several_classes(project: Project) -> None:
    from sklearn.datasets import load_wine

    wine = load_wine(as_frame=True)
    rows = wine.data.assign(target=np.array(["red", "rosé", "white"], dtype=object)[wine.target])
    project.split(rows)
    for name in ("xgboost.XGBClassifier", "sklearn.linear_model.LogisticRegression"):
        if name.startswith("xgboost"):
            pytest.importorskip("xgboost")
        project.train(estimator=name)
        report = project.measure()
        assert report["task"] == "multiclass"
        assert report["metrics"]["accuracy"]["value"] > 0.9
        assert report["metrics"]["f1_score"]["average"] == "macro"
        assert set(report["by_average"]["roc_auc"]) == {"macro", "weighted"}
    project.evaluate()
    assert (project.outputs["evaluate.figures"] / "roc.png").stat().st_size > 5000


def test_texts_choose_a_linear_model(project: Project) -> None:
    generator = np.random.default_rng(0)
    good, bad = ["lovely", "great", "excellent", "warm"], ["awful", "broken", "rude", "cold"]
    texts, labels = [], []
    for number in range(200):
        positive = bool(generator.random() < 0.5)
        words = generator.choice(good if positive else bad, 4).tolist()
        texts.append(f"the room was {' '.join(words)} number {number}")
        labels.append("good" if positive else "bad")
    project.split(pd.DataFrame({"review": texts, "target": labels}))
    assert project.json("split.schema")["features"] == [{"name": "review", "kind": "text"}]
    outcome = project.train(estimator="auto")
    assert outcome.facts["estimator"] == "sklearn.linear_model.LogisticRegression"
    assert outcome.facts["format"] == "skops"
    assert project.measure()["metrics"]["accuracy"]["value"] > 0.95


def test_values_never_seen_are_no_surprise(project: Project, people: pd.DataFrame) -> None:
    project.split(people)
    for name, params in (
        ("auto", {"max_iter": 5}),
        ("sklearn.linear_model.LogisticRegression", {}),
        ("sklearn.ensemble.RandomForestClassifier", {"n_estimators": 5}),
    ):
        project.train(estimator=name, params=params)
        strange = pd.DataFrame(
            {
                "age": [None, 200.0],
                "city": ["Atlantis", None],
                "member": [None, True],
                "joined": pd.to_datetime([None, "2035-01-01"]),
                "opinion": [None, "words that nobody used"],
            }
        )
        assert len(project.model().predict(strange)) == 2


def test_no_preprocessing_gives_the_columns_as_they_are(project: Project) -> None:
    frame = pd.DataFrame({"a": np.arange(80.0), "b": np.arange(80.0) % 7, "target": ["x", "y"] * 40})
    project.split(frame)
    project.train(estimator="sklearn.tree.DecisionTreeClassifier", preprocessing="none")
    assert list(project.model().predictor.named_steps) == ["model"]
    assert list(project.model().predictor.feature_names_in_) == ["a", "b"]


@pytest.mark.parametrize(
    ("training", "message", "remedy"),
    [
        ({"estimator": "os.path"}, "not of an allowed package", "training.function"),
        ({"estimator": "sklearn._build_utils.X"}, "not of an allowed package", "Allowed"),
        ({"estimator": "sklearn.ensemble.RandomForrestClassifier"}, "has no estimator", "RandomForestClassifier"),
        ({"estimator": "sklearn.ensembel.RandomForestClassifier"}, "no module", "full name"),
        ({"estimator": "sklearn.metrics.accuracy_score"}, "not a class with fit", "estimator"),
        ({"estimator": "sklearn.ensemble.RandomForestRegressor"}, "not a classifier", "RandomForestClassifier"),
        ({"estimator": "sklearn.cluster.KMeans"}, "not a classifier", "Name a classifier"),
        ({"estimator": "auto", "params": {"max_itr": 5}}, "no parameter max_itr", "max_iter"),
        ({"estimator": "auto", "params": {"max_iter": -5}}, "max_iter", "log"),
        ({"estimator": "auto", "tuning": {"space": {"learning_rat": [1]}}}, "learning_rat", "learning_rate"),
    ],
)
def test_mistakes_are_named(
    project: Project, people: pd.DataFrame, training: dict[str, Any], message: str, remedy: str
) -> None:
    project.split(people)
    with pytest.raises(StepError) as caught:
        project.train(**training)
    assert message in caught.value.message
    assert remedy in caught.value.remedy


def test_unknown_parameters_of_boosters_are_named(project: Project, people: pd.DataFrame) -> None:
    project.split(people)
    for package, name in (("xgboost", "xgboost.XGBClassifier"), ("lightgbm", "lightgbm.LGBMClassifier")):
        pytest.importorskip(package)
        with pytest.raises(StepError, match="no parameter max_dept"):
            project.train(estimator=name, params={"max_dept": 3})
    assert project.train(estimator="lightgbm.LGBMClassifier", params={"num_iterations": 5, "bagging_fraction": 0.9})


def test_a_package_that_is_not_installed(project: Project, people: pd.DataFrame) -> None:
    try:
        import catboost  # noqa: F401
    except ModuleNotFoundError:
        project.split(people)
        with pytest.raises(NotSupportedError) as caught:
            project.train(estimator="catboost.CatBoostClassifier")
        assert caught.value.remedy == "pip install catboost"


def test_same_inputs_same_bytes(project: Project, people: pd.DataFrame) -> None:
    project.split(people)
    for name, params in (
        ("auto", {"max_iter": 10}),
        ("sklearn.ensemble.RandomForestClassifier", {"n_estimators": 5}),
        ("xgboost.XGBClassifier", {"n_estimators": 20}),
        ("lightgbm.LGBMClassifier", {"n_estimators": 20}),
    ):
        if name.startswith(("xgboost", "lightgbm")):
            pytest.importorskip(name.partition(".")[0])
        for run in ("one", "two"):
            with threadpool_limits(2, "openmp"):
                project.train(name=run, estimator=name, params=params)
        one, two = (project.outputs[f"{run}.model"] for run in ("one", "two"))
        assert (one / "meta.json").read_bytes() == (two / "meta.json").read_bytes()
        assert (one / "model.skops").read_bytes() == (two / "model.skops").read_bytes()
        assert project.outputs["one.report"].read_bytes() == project.outputs["two.report"].read_bytes()


def test_a_model_loads_without_this_package(project: Project, people: pd.DataFrame) -> None:
    project.split(people)
    project.train(estimator="auto", params={"max_iter": 10})
    rows = project.root / "rows.parquet"
    project.holdout().to_parquet(rows)
    code = (
        "import sys; sys.modules['engine'] = None\n"
        "import skops.io, pandas\n"
        f"file = {str(project.outputs['train.model'] / 'model.skops')!r}\n"
        "model = skops.io.load(file, trusted=skops.io.get_untrusted_types(file=file))\n"
        f"rows = pandas.read_parquet({str(rows)!r})\n"
        f"print(*model.predict(rows[{project.model().features!r}]))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == list(project.model().predict(project.holdout()))


def test_a_file_altered_after_it_was_stored_is_refused(project: Project, people: pd.DataFrame, tmp_path: Path) -> None:
    project.split(people)
    project.train(estimator="sklearn.linear_model.LogisticRegression")
    folder = project.outputs["train.model"]
    stored = {name: StoredFile(*place) for name, place in stored_model(folder).files.items()}
    file = folder / "model.skops"
    file.write_bytes(file.read_bytes() + b"x")
    with pytest.raises(IntegrityError, match=r"model\.skops"):
        load_stored(stored, tmp_path, signed=True)


def test_a_retry_has_another_seed(project: Project, people: pd.DataFrame) -> None:
    project.split(people)
    params = {"n_estimators": 10}
    first = project.train(estimator="sklearn.ensemble.RandomForestClassifier", params=params, seed=5)
    again = project.train(estimator="sklearn.ensemble.RandomForestClassifier", params=params, seed=5, attempt=2)
    assert (first.facts["seed"], again.facts["seed"]) == (5, 7)
    assert project.json("train.report")["attempt"] == 2
