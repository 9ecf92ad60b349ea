"""Fixtures of the command line's tests."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from cli_project import edit, make_project
from command_line import MadeOnce

from engine.cli.entry import run


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project to which nothing was applied."""
    return make_project(tmp_path / "project")


@pytest.fixture
def applied(made_once: MadeOnce, tmp_path: Path) -> Path:
    """A project of one's own in which version 1 is live."""
    made = made_once("applied", _apply)
    return Path(shutil.copytree(made / "project", tmp_path / "project", symlinks=True))


def _apply(folder: Path) -> None:
    project = make_project(folder / "project")
    assert run(["--chdir", str(project), "apply", "--auto-approve"]) == 0


@pytest.fixture
def candidate(applied: Path, made_once: MadeOnce, tmp_path: Path) -> Path:
    """A project of one's own in which version 1 is live and version 2 gets 10%."""

    def apply(folder: Path) -> None:
        project = Path(shutil.copytree(applied, folder / "project", symlinks=True))
        edit(project / "specs/churn.yaml", "C: 1.0", "C: 0.5")
        assert run(["--chdir", str(project), "apply", "--auto-approve"]) == 0

    made = made_once("candidate", apply)
    return Path(shutil.copytree(made / "project", tmp_path / "candidate", symlinks=True))
