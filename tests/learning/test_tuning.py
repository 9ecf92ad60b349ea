"""Tuning: seeded, aware of time and groups, tolerant of a trial that fails."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from lifecycle_project import Project

from engine.errors import StepError
from engine.steps.schema import Schema, read_rows
from engine.steps.tuning import candidates_of, folds_of

TREE = "sklearn.tree.DecisionTreeClassifier"


def test_grid_finds_the_better_depth(project: Project, people: pd.DataFrame) -> None:
    project.split(people)
    tuning = {"search": "grid", "space": {"max_depth": [1, 4], "criterion": ["gini", "nonsense"]}, "folds": 3}
    outcome = project.train(estimator=TREE, tuning={**tuning, "metric": "f1_score"})
    report = project.json("train.report")["tuning"]
    assert len(report["trials"]) == 4
    assert sum("error" in trial for trial in report["trials"]) == 2
    best = max((t for t in report["trials"] if t["mean"] is not None), key=lambda trial: trial["mean"])
    assert report["best"] == best
    assert outcome.facts["params"] == best["params"]
    assert project.model().predictor.named_steps["model"].max_depth == best["params"]["max_depth"]
    assert [(done, total) for done, total, _ in project.progress] == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert any("f1_score 0." in text for _, _, text in project.progress)


def test_all_trials_failing_is_an_error(project: Project, people: pd.DataFrame) -> None:
    project.split(people)
    with pytest.raises(StepError, match="all 2 trials failed"):
        project.train(estimator=TREE, tuning={"search": "grid", "space": {"criterion": ["a", "b"]}, "folds": 2})


def test_a_metric_of_another_task_is_refused(project: Project, people: pd.DataFrame) -> None:
    project.split(people)
    with pytest.raises(StepError, match="rmse is not a metric of a binary task"):
        project.train(estimator=TREE, tuning={"space": {"max_depth": [2]}, "metric": "rmse"})


def test_lower_is_better_for_errors(project: Project) -> None:
    generator = np.random.default_rng(0)
    frame = pd.DataFrame({"a": generator.normal(size=200)})
    project.split(frame.assign(target=np.sin(3 * frame["a"])))
    tuning = {"search": "grid", "space": {"max_depth": [1, 6]}, "folds": 3}
    outcome = project.train(estimator="sklearn.tree.DecisionTreeRegressor", tuning=tuning)
    assert project.json("train.report")["tuning"]["metric"] == "rmse"
    assert outcome.facts["params"] == {"max_depth": 6}


def test_random_draws_are_seeded_distinct_and_within_range() -> None:
    block = {
        "search": "random",
        "trials": 12,
        "space": {"rate": {"low": 0.001, "high": 1.0, "log": True}, "depth": {"low": 2, "high": 9}, "kind": ["a", "b"]},
    }
    drawn = candidates_of(block, seed=4, attempt=0)
    assert drawn == candidates_of(block, seed=4, attempt=0)
    assert drawn != candidates_of(block, seed=5, attempt=0)
    assert len({repr(params) for params in drawn}) == 12
    assert all(0.001 <= p["rate"] <= 1 and 2 <= p["depth"] <= 9 and isinstance(p["depth"], int) for p in drawn)
    assert len(candidates_of(block, seed=4, attempt=2)) == 36


def test_a_small_space_is_tried_completely() -> None:
    assert len(candidates_of({"trials": 50, "space": {"a": [1, 2], "b": [1, 2, 3]}}, seed=0, attempt=0)) == 6
    with pytest.raises(StepError, match="not ranges"):
        candidates_of({"search": "grid", "space": {"a": {"low": 1, "high": 2}}}, seed=0, attempt=0)


def _table(project: Project) -> tuple[Path, Schema]:
    return project.outputs["split.train"], Schema.read(project.outputs["split.schema"])


def test_folds_never_look_ahead_in_time(project: Project) -> None:
    frame = pd.DataFrame({"when": pd.date_range("2024-01-01", periods=120), "a": np.arange(120.0) % 11})
    project.split(frame.assign(target=["x", "y"] * 60), timestamp="when")
    path, schema = _table(project)
    for fit, held in folds_of(read_rows(path, schema), schema, 4, 0):
        assert fit.max() < held.min()


def test_folds_keep_groups_together(project: Project) -> None:
    frame = pd.DataFrame({"who": [f"p{i % 15}" for i in range(150)], "a": np.random.default_rng(0).normal(size=150)})
    project.split(frame.assign(target=np.where(frame["a"] > 0, "x", "y")), group="who")
    path, schema = _table(project)
    table = read_rows(path, schema)
    for fit, held in folds_of(table, schema, 3, 0):
        assert not set(table.frame["who"].iloc[fit]) & set(table.frame["who"].iloc[held])
