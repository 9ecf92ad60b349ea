"""Fixtures of the tests of evidence."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from command_line import MadeOnce
from released import make_releases


@pytest.fixture
def made(made_once: MadeOnce) -> Path:
    """A project with releases 1 and 2, of the data at v1 and at v2; nobody changes it."""
    return made_once("releases", make_releases) / "project"


@pytest.fixture
def released(made: Path, tmp_path: Path) -> Path:
    """The same, to be changed."""
    return Path(shutil.copytree(made, tmp_path / "project", symlinks=True))
