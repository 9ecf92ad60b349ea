"""Specs from a real git repository: forward only, valid only, and the commit with each run."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from cli_project import edit, make_project
from command_line import Call

from engine.adapters.state.reader import SqliteStateReader
from engine.app.repository import cloned
from engine.errors import TransientError, UsageError


def git(folder: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=ana", "-c", "user.email=ana@example.org")
    answer = subprocess.run(
        ["git", "-C", str(folder), *identity, *arguments], capture_output=True, text=True, check=True
    )
    return answer.stdout.strip()


def push(work: Path, *, force: bool = False) -> str:
    git(work, "add", "-A")
    git(work, "commit", "--quiet", "-m", "change")
    git(work, "push", "--quiet", *(["--force"] if force else []), "origin", "main")
    return git(work, "rev-parse", "HEAD")


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """A clone with a project, pushed to a bare repository beside it."""
    git(tmp_path, "init", "--quiet", "--bare", "--initial-branch", "main", str(tmp_path / "origin.git"))
    work = make_project(tmp_path / "work")
    git(work, "init", "--quiet", "--initial-branch", "main")
    git(work, "remote", "add", "origin", str(tmp_path / "origin.git"))
    push(work)
    return work


def test_it_goes_forward_and_no_other_way(work: Path, tmp_path: Path) -> None:
    url, spec = str(tmp_path / "origin.git"), work / "specs/churn.yaml"
    (tmp_path / "here").mkdir()
    here = cloned(tmp_path / "here", None, url, "main", (), {})
    first = git(work, "rev-parse", "HEAD")
    assert here.is_empty
    assert (here.take(), here.take()) == (first, None)
    edit(spec, "C: 1.0", "C: 0.5")
    second = push(work)
    assert here.take() == second
    assert "C: 0.5" in (tmp_path / "here/specs/churn.yaml").read_text()

    edit(spec, "validation:", "validatoin:")
    push(work)
    with pytest.raises(UsageError, match=r'has mistakes, \w{12} stays: specs/churn.yaml:\d+:\d+: .*"validatoin"'):
        here.take()
    assert here.take() is None, "said once"
    assert "validation:" in (tmp_path / "here/specs/churn.yaml").read_text()
    assert git(tmp_path / "here", "rev-parse", "HEAD") == second

    edit(spec, "validatoin:", "validation:")
    third = push(work)
    assert here.take() == third
    git(work, "reset", "--quiet", "--hard", first)
    edit(spec, "C: 1.0", "C: 0.1")
    push(work, force=True)
    with pytest.raises(UsageError, match="it was rewritten"):
        here.take()
    assert git(tmp_path / "here", "rev-parse", "HEAD") == third

    (tmp_path / "origin.git").rename(tmp_path / "away.git")
    with pytest.raises(TransientError, match="cannot be fetched"):
        here.take()
    assert not git(tmp_path / "here", "worktree", "list", "--porcelain").count("detached")


def test_what_is_no_clone_or_no_branch_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is no clone of"):
        cloned(make_project(tmp_path / "mine"), None, "https://example.org/x.git", "main", (), {})
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="names no branch"):
        cloned(tmp_path / "empty", None, "--upload-pack=sh", "main", (), {})


def test_the_commit_is_applied_and_kept_with_the_run(work: Path, tmp_path: Path, call: Call) -> None:
    here = tmp_path / "here"
    here.mkdir()
    told = call(here, "controller", "--once", "--repo", str(tmp_path / "origin.git"))
    assert told.code == 0, told.out + told.err
    commit = git(work, "rev-parse", "HEAD")
    [run] = SqliteStateReader(here / ".engine/state.db").runs("churn")
    assert run.provenance["git"] == {"commit": commit, "branch": "main", "author": "ana@example.org", "dirty": False}
    assert commit[:12] in call(here, "history").out
    (tmp_path / "origin.git").rename(tmp_path / "away.git")
    told = call(here, "controller", "--once", "--repo", str(tmp_path / "origin.git"))
    assert "cannot be fetched" in told.out, "and what is there goes on"
    assert told.code == 0
