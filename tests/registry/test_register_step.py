"""What a candidate's request says, from the reports of the steps upstream."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from engine.core.records import Artifact
from engine.errors import StepError
from engine.steps.register import Candidate, metrics_of, read_evidence, request_of, source_text

DOCUMENT: dict[str, Any] = {
    "name": "churn",
    "description": "Who leaves",
    "owner": "growth",
    "labels": {"team!": "crm"},
    "data": {
        "source": "https://user:hush@host/churn.csv?sig=hush",
        "split": {"strategy": "stratified", "holdout": 0.2, "seed": 7},
    },
}


def candidate(**fields: Any) -> Candidate:
    content: dict[str, Any] = {
        "document": DOCUMENT,
        "spec_digest": "blake3:spec",
        "key": "k",
        "run_id": "r1",
        "provenance": {"user": "ada", "engine": "0.1", "git": {"commit": "0123", "branch": "main", "dirty": True}},
        "packages": {"numpy": "1", "pandas": "2", "scikit-learn": "3", "skops": "4", "xgboost": "5", "scipy": "6"},
    }
    return Candidate(**{**content, **fields})


@pytest.fixture
def paths(tmp_path: Path) -> dict[str, Path]:
    model = tmp_path / "model"
    model.mkdir()
    reports: dict[str, Any] = {
        "training": {"estimator": "xgboost.XGBClassifier", "seed": 7, "params": {"depth": [3, 4]}, "tuning": None},
        "evaluation": {"metrics": {"f1_score": {"value": 0.6, "low": 0.5, "high": 0.7}}},
        "schema": {"features": [{"name": "age", "kind": "numeric"}], "rows": {"train": 80, "holdout": 20}},
        "profile": {},
    }
    found = {"model": model, "data": tmp_path / "churn.csv", "holdout": tmp_path / "holdout.parquet"}
    for role, report in reports.items():
        found[role] = tmp_path / f"{role}.json"
        found[role].write_text(json.dumps(report))
    meta = {"format": "skops", "estimator": "xgboost.XGBClassifier", "versions": {"scikit-learn": "3.1"}}
    (model / "meta.json").write_text(json.dumps(meta))
    return found


@pytest.fixture
def artifacts(paths: dict[str, Path]) -> dict[str, Artifact]:
    return {role: Artifact(f"blake3:{role}", 1, path.name) for role, path in paths.items()}


def test_request_tells_all(paths: dict[str, Path], artifacts: dict[str, Artifact]) -> None:
    request = request_of(candidate(), read_evidence(paths, artifacts))
    assert (request.model, request.experiment, request.key, request.run_name) == ("churn", "churn", "k", "churn r1")
    assert request.params == {
        "estimator": "xgboost.XGBClassifier",
        "seed": 7,
        "split.strategy": "stratified",
        "split.holdout": 0.2,
        "split.seed": 7,
        "params.depth": "[3,4]",
    }
    assert request.metrics == {"f1_score": 0.6, "f1_score_low": 0.5, "f1_score_high": 0.7}
    assert request.requirements == ["numpy==1", "pandas==2", "scikit-learn==3.1", "skops==4", "xgboost==5"]
    assert request.tags["engine.data_digest"] == "blake3:data"
    assert request.tags["mlflow.source.git.commit"] == "0123"
    assert request.tags["engine.git_dirty"] == "true"
    assert request.tags["label.team_"] == "crm"
    assert request.input_example == paths["holdout"]
    assert set(request.files) == {"training.json", "evaluation.json", "schema.json", "profile.json"}
    assert json.loads(request.texts["spec.json"]) == DOCUMENT


def test_lineage_names_data_and_no_secrets(paths: dict[str, Path], artifacts: dict[str, Artifact]) -> None:
    training, holdout = request_of(candidate(), read_evidence(paths, artifacts)).datasets
    assert training == {
        "name": "churn.csv",
        "digest": "blake3:data",
        "source": "https://host/churn.csv",
        "context": "training",
        "schema": {"age": "double"},
        "profile": {"rows": 100},
    }
    assert (holdout["context"], holdout["profile"]) == ("evaluation", {"rows": 20})


def test_without_a_repository_or_description(paths: dict[str, Path], artifacts: dict[str, Artifact]) -> None:
    bare = {"name": "churn", "data": {"source": None, "split": None}}
    request = request_of(candidate(document=bare, provenance={"git": None}), read_evidence(paths, artifacts))
    assert not [name for name in request.tags if "git" in name or "note" in name or "owner" in name]
    assert request.datasets[0]["source"] == "churn.csv"


def test_undefined_metrics_are_left_out() -> None:
    metrics = {
        "a": {"value": None, "reason": "one class"},
        "b": {"value": float("nan")},
        "c": {"value": 1, "low": None},
    }
    assert metrics_of({"metrics": metrics}) == {"c": 1.0}


def test_sources_for_people() -> None:
    assert source_text("data/churn.csv") == "data/churn.csv"
    assert source_text("s3://bucket/key.parquet") == "s3://bucket/key.parquet"
    sql = {"sql": "select 1", "url": "${env:DB_URL}"}
    assert source_text(sql) == '{"sql":"select 1","url":"${env:DB_URL}"}'
    assert "hush" not in source_text({"sql": "select 1", "url": "postgresql://ada:hush@db/x"})


def test_broken_report(paths: dict[str, Path], artifacts: dict[str, Artifact]) -> None:
    paths["training"].write_text("{")
    with pytest.raises(StepError, match=r"training\.json cannot be read"):
        read_evidence(paths, artifacts)
