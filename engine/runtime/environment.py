"""Where a run comes from: who, on what machine, with what versions, from which commit."""

from __future__ import annotations

import getpass
import os
import platform
import subprocess
from collections.abc import Mapping
from pathlib import Path

from engine import __version__
from engine.core.canonical import Json

_GIT_SECONDS = 5.0
_OURS_APART = (":/", ":(exclude)versions/*.dvc")  # everything but what `versioning: dvc` writes


def provenance(project: Path) -> Mapping[str, Json]:
    """Who runs this, where, with what, from which commit."""
    return {
        "user": _user(),
        "host": platform.node(),
        "engine": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "git": _git(project),
    }


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


def _git(project: Path) -> dict[str, Json] | None:
    """The commit of the project and whether the work tree differs from it; None outside a repository."""
    try:
        commit = _ask_git(project, "rev-parse", "HEAD")
        return {
            "commit": commit,
            "author": _ask_git(project, "log", "-1", "--format=%ae"),
            "branch": _ask_git(project, "rev-parse", "--abbrev-ref", "HEAD"),
            "dirty": bool(_ask_git(project, "status", "--porcelain", "--untracked-files=no", "--", *_OURS_APART)),
        }
    except (OSError, subprocess.SubprocessError):
        return None


def _ask_git(project: Path, *arguments: str) -> str:
    answer = subprocess.run(  # noqa: S603 - fixed words, no shell
        ["git", "-C", str(project), *arguments],  # noqa: S607 - the user's git
        capture_output=True,
        text=True,
        timeout=_GIT_SECONDS,
        check=True,
    )
    return answer.stdout.strip()
