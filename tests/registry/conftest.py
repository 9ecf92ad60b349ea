"""Trained models as the train step leaves them, and requests to register them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from engine.adapters.registries.mlflow import MlflowRegistry
from engine.ports import RegisterRequest


@dataclass(frozen=True)
class Trained:
    """A folder that a train step wrote, the rows it was trained on, and what it predicts for them."""

    folder: Path
    example: Path
    rows: pd.DataFrame
    predictions: Any


@pytest.fixture(scope="session")
def rows() -> pd.DataFrame:
    random = np.random.default_rng(7)
    frame = pd.DataFrame(
        {
            "charge": random.normal(60, 20, 200).round(2),
            "tenure": random.integers(0, 72, 200),
            "plan": random.choice(["basic", "pro"], 200),
            "paperless": random.random(200) < 0.5,
        }
    )
    frame.loc[[3, 50], "charge"] = np.nan
    return frame


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory, rows: pd.DataFrame) -> Callable[[str], Trained]:
    """Makes a trained model in a format: `skops`, `pickle` or `joblib`."""
    import cloudpickle
    import joblib
    import skops.io
    from sklearn.compose import make_column_transformer
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder

    target = np.where(rows["tenure"] + 20 * (rows["plan"] == "pro") > 40, "no", "yes")
    model = make_pipeline(
        make_column_transformer((OneHotEncoder(), ["plan"]), (SimpleImputer(), ["charge", "tenure", "paperless"])),
        RandomForestClassifier(n_estimators=5, random_state=0),
    ).fit(rows, target)
    example = tmp_path_factory.mktemp("data") / "holdout.parquet"
    rows.assign(churn=target).to_parquet(example)
    made: dict[str, Trained] = {}

    def make(serialization: str) -> Trained:
        if serialization not in made:
            folder = tmp_path_factory.mktemp(serialization)
            if serialization == "skops":
                skops.io.dump(model, folder / "model.skops")
            elif serialization == "joblib":
                joblib.dump(model, folder / "model.joblib")
            else:
                (folder / "model.pkl").write_bytes(cloudpickle.dumps(model))
            meta = {
                "format": serialization,
                "task": "binary",
                "classes": ["no", "yes"],
                "features": [
                    {"name": "charge", "kind": "numeric"},
                    {"name": "tenure", "kind": "numeric"},
                    {"name": "plan", "kind": "categorical"},
                    {"name": "paperless", "kind": "boolean"},
                ],
            }
            (folder / "meta.json").write_text(json.dumps(meta))
            for path in folder.iterdir():
                path.chmod(0o444)
            made[serialization] = Trained(folder, example, rows, model.predict(rows))
        return made[serialization]

    return make


@pytest.fixture
def request_for(trained: Callable[[str], Trained], tmp_path: Path) -> Callable[..., RegisterRequest]:
    """Makes a full request; keyword arguments replace fields."""
    figures = tmp_path / "figures"
    figures.mkdir()
    (figures / "roc_curve.png").write_bytes(b"\x89PNG")
    report = tmp_path / "evaluation.json"
    report.write_text("{}")
    report.chmod(0o444)

    def make(model: str, key: str, **fields: Any) -> RegisterRequest:
        content: dict[str, Any] = {
            "model": model,
            "experiment": model,
            "key": key,
            "run_name": f"{model} 1",
            "model_dir": trained("skops").folder,
            "params": {"n_estimators": 5, "max_depth": None},
            "metrics": {"f1_score": 0.61, "f1_score_low": 0.58},
            "tags": {"engine.model": model, "mlflow.source.git.commit": "0123abc"},
            "datasets": [
                {
                    "name": "churn.csv",
                    "digest": "blake3:" + "ab" * 32,
                    "source": "/data/churn.csv",
                    "schema": {"charge": "double"},
                    "profile": {"rows": 200},
                }
            ],
            "files": {"evaluation.json": report, "figures": figures},
            "texts": {"spec.json": "{}"},
            "requirements": ["scikit-learn", "skops"],
            "input_example": trained("skops").example,
        }
        return RegisterRequest(**{**content, **fields})

    return make


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("store") / "mlflow.db"


@pytest.fixture(scope="session")
def registry(store: Path) -> Iterator[MlflowRegistry]:
    made = MlflowRegistry(f"sqlite:///{store}", log=store.parent / "mlflow.log", timeout=120.0)
    made.prefetch()
    yield made
    made.close()


@pytest.fixture
def model(request: pytest.FixtureRequest) -> str:
    """A name of its own for each test, since starting MLflow anew for each takes seconds."""
    return "".join(c if c.isalnum() else "_" for c in request.node.name)


@pytest.fixture(scope="session")
def client(store: Path, registry: MlflowRegistry) -> Any:
    """MLflow's own client: what anybody else sees."""
    registry.aliases("none")
    from mlflow import MlflowClient

    return MlflowClient(f"sqlite:///{store}")
