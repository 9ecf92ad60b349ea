"""Fixtures of the command line's tests."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from cli_project import Call, Outcome, make_project

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


@pytest.fixture(scope="session")
def _applied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = make_project(tmp_path_factory.mktemp("applied") / "project")
    assert run(["--chdir", str(folder), "apply", "--auto-approve"]) == 0
    return folder


@pytest.fixture
def applied(_applied: Path, tmp_path: Path) -> Path:
    """A project of one's own in which version 1 is live."""
    folder = tmp_path / "project"
    shutil.copytree(_applied, folder, symlinks=True)
    return folder
