"""Fixtures of the command line's tests."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from cli_project import Call, MadeOnce, Outcome, edit, make_project

from engine.cli.entry import run


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Call:
    """Run a command line in a folder."""
    monkeypatch.delenv("ENGINE_TRACEBACK", raising=False)

    def calling(folder: Path, *argv: str) -> Outcome:
        monkeypatch.chdir(folder)
        capsys.readouterr()
        code = run(argv)
        captured = capsys.readouterr()
        return Outcome(code, captured.out, captured.err)

    return calling


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
