"""On public data the automatic pipeline is in line with what a person would write with plain scikit-learn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from lifecycle_project import DATA, Project
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier, RandomForestRegressor
from sklearn.impute import SimpleImputer
from sklearn.metrics import roc_auc_score, root_mean_squared_error
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder


def plain_model(project: Project, target: str, features: list[str], model: Any) -> tuple[Any, pd.DataFrame]:
    """One-hot, median, a model as it comes: fitted on the same training rows."""
    rows = pd.read_parquet(project.outputs["split.train"])
    numbers = [n for n in features if pd.api.types.is_numeric_dtype(rows[n]) and rows[n].dtype != bool]
    others = [n for n in features if n not in numbers]
    as_text = lambda frame: frame.astype(str)  # noqa: E731
    prepared = ColumnTransformer(
        [
            ("numbers", SimpleImputer(strategy="median"), numbers),
            ("others", OneHotEncoder(handle_unknown="ignore", min_frequency=10, sparse_output=False), others),
        ],
        sparse_threshold=0,
    )
    holdout = project.holdout()
    for frame in (rows, holdout):
        frame[others] = as_text(frame[others])
    return make_pipeline(prepared, model).fit(rows[features], rows[target]), holdout


def sampled(path: Path, rows: int) -> pd.DataFrame:
    frame = pd.read_csv(path)
    return frame.iloc[np.sort(np.random.default_rng(0).permutation(len(frame))[:rows])].reset_index(drop=True)


FOREST = RandomForestClassifier(50, random_state=0, n_jobs=2)


@pytest.mark.parametrize(
    ("name", "target", "positive", "rows", "plain", "settings"),
    [
        ("telco_customer_churn", "Churn", "Yes", None, FOREST, {"id": "customerID"}),
        ("adult_income", "income", ">50K", 5000, FOREST, {}),
        (
            "elec2",
            "class",
            "UP",
            8000,
            HistGradientBoostingClassifier(random_state=0),
            {"split": {"strategy": "time", "holdout": 0.2, "seed": 0}},
        ),
    ],
)
def test_classifier_ranks_as_well_as_a_plain_one(
    project: Project, name: str, target: str, positive: str, rows: int | None, plain: Any, settings: dict[str, Any]
) -> None:
    path = DATA / f"{name}.csv"
    if rows:
        sampled(path, rows).to_csv(project.root / "rows.csv", index=False)
        path = project.root / "rows.csv"
    project.split(path, target=target, **settings)
    project.train(estimator="auto")
    project.evaluate()
    metrics = project.json("evaluate.report")["metrics"]

    schema = project.json("split.schema")
    assert schema["positive"] == positive
    features = [feature["name"] for feature in schema["features"]]
    assert settings.get("id") not in features
    model, holdout = plain_model(project, target, features, plain)
    expected = roc_auc_score(holdout[target] == positive, model.predict_proba(holdout[features])[:, 1])
    auc = metrics["roc_auc"]
    assert auc["low"] < auc["value"] < auc["high"]
    assert auc["value"] > expected - 0.015
    assert project.validate({"baseline": "better"}).verdict == "pass"


def test_regressor_errs_as_little_as_a_plain_model(project: Project) -> None:
    sampled(DATA / "bike_sharing_hourly.csv", 6000).to_csv(project.root / "rows.csv", index=False)
    project.split(project.root / "rows.csv", target="count")
    project.train(estimator="auto")
    outcome = project.evaluate()
    metrics = project.json("evaluate.report")["metrics"]
    features = [f["name"] for f in project.json("split.schema")["features"] if f["kind"] != "date"]
    forest, holdout = plain_model(project, "count", features, RandomForestRegressor(40, random_state=0, n_jobs=2))
    plain = root_mean_squared_error(holdout["count"], forest.predict(holdout[features]))
    assert metrics["rmse"]["value"] < 1.05 * plain
    assert "rmse" in outcome.summary
    names = {path.name for path in project.outputs["evaluate.figures"].iterdir()}
    assert names == {"predicted_vs_actual.png", "residuals.png"}
