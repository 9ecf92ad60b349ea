"""Fixtures of the tests of evidence."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from released import Call, MadeOnce, Outcome, make_releases

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
def made(made_once: MadeOnce) -> Path:
    """A project with releases 1 and 2, of the data at v1 and at v2; nobody changes it."""
    return made_once("releases", make_releases) / "project"


@pytest.fixture
def released(made: Path, tmp_path: Path) -> Path:
    """The same, to be changed."""
    return Path(shutil.copytree(made, tmp_path / "project", symlinks=True))
