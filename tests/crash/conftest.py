"""Projects to start from: made once for all workers of a test run, and copied."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from harness import Life, carry_on, copy_of, make_project

from engine.adapters.registries.mlflow import MlflowRegistry


@pytest.fixture(scope="session")
def projects(made_once: Callable[[str, Callable[[Path], object]], Path]) -> Path:
    """A folder with the projects `new` (its registry is empty), `validated` and `done`, each uninterrupted."""
    return made_once("crash-projects", _make)


def _make(shared: Path) -> None:
    new = make_project(shared / "new")
    registry = MlflowRegistry(f"sqlite:///{new.home}/mlflow.db", log=new.home / "mlflow.log")
    registry.aliases("tiny")  # makes the database, which takes seconds
    registry.close()
    (new.home / ".gitignore").write_text("*\n")
    validated = copy_of(new, shared / "validated")
    ended = validated.apply("", "--target", "validate")
    assert ended.code == 0, ended.text
    done = copy_of(validated, shared / "done")
    done.settle()
    (shared / "outcome").write_text(json.dumps(_plain(done.outcome())))
    (shared / "seen").write_text((validated.seen_file).read_text() + done.seen_file.read_text())


@pytest.fixture(scope="session")
def rolling(projects: Path, made_once: Callable[[str, Callable[[Path], object]], Path]) -> Path:
    """A folder with the projects `candidate` (version 2 is to take over by blue-green) and `promoted` (it did)."""

    def make(shared: Path) -> None:
        candidate = copy_of(Life(projects / "done"), shared / "candidate")
        candidate.edit("{strategy: recreate}", "{strategy: blue_green}")
        candidate.edit("LogisticRegression}", "LogisticRegression, params: {C: 0.5}}")
        candidate.settle()
        promoted = copy_of(candidate, shared / "promoted")
        carry_on(promoted)
        (shared / "seen").write_text(candidate.seen_file.read_text() + promoted.seen_file.read_text())

    return made_once("crash-rollouts", make)


@pytest.fixture(scope="session")
def climbing(rolling: Path, made_once: Callable[[str, Callable[[Path], object]], Path]) -> Path:
    """The project in which version 2 is to take over by a canary of three stages, each passed by few requests."""

    def make(shared: Path) -> None:
        one = copy_of(Life(rolling / "candidate"), shared / "project")
        analysis = "{guardrails: [errors], min_requests: 10, max_error_rate: 50%}"
        canary = f"{{strategy: canary, steps: [10%, 25%, 50%, 100%], analysis: {analysis}}}"
        one.edit("{strategy: blue_green}", canary)
        one.settle()

    return made_once("crash-climbing", make) / "project"


@pytest.fixture
def life(projects: Path, tmp_path: Path) -> Callable[..., Life]:
    """Makes a copy of a project."""
    return lambda stage="new", name="project": copy_of(Life(projects / stage), tmp_path / name)


@pytest.fixture
def same(projects: Path) -> Callable[..., None]:
    """Settles a life and asserts that it is, in all that matters, like one that nothing happened to.

    With the name of a step, as far as that step: it spares the time of all that comes after it.
    """

    def compare(one: Life, target: str = "") -> None:
        one.settle(target)
        outcome = _plain(one.outcome())
        expected = json.loads((projects / "outcome").read_text())
        if target:
            assert target in outcome["steps"]
            assert outcome["steps"].items() <= expected["steps"].items()
            assert outcome["attempts"] == {}
        else:
            assert outcome == expected

    return compare


def _plain(outcome: dict[str, Any]) -> Any:
    return json.loads(json.dumps(outcome))
