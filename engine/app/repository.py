"""Specs from a git repository: the project's folder is a clone, and follows one branch, forward only.

A new commit is taken when it comes after the one that is there and all its specs are valid; otherwise what is there
stays, and that is said. The commit is in the provenance of every run. Git is asked by lists of arguments, never asks
anybody for a password, and takes credentials from where it finds them itself.
"""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from engine.app.planning import find_specs, validate
from engine.errors import EngineError, SpecError, TransientError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from engine.app.workspace import Workspace

FETCH_SECONDS = 15.0
"""How often a repository is asked for new commits."""
_GIT_SECONDS = 120.0  # for one command
_REMOTE = "engine"  # the name of the remote in the clone, beside the user's own


def cloned(
    folder: Path, environment: str | None, url: str, branch: str, paths: Sequence[str], variables: Mapping[str, str]
) -> Repository:
    """A repository in a folder, made a clone if it is none. Raises UsageError."""
    from engine.app.workspace import Workspace

    repository = Repository(Workspace(folder.resolve(), environment), url, branch, paths, variables)
    repository.open()
    return repository


@dataclass
class Repository:
    """One branch of a repository, cloned into a project's folder."""

    workspace: Workspace
    url: str
    branch: str
    paths: Sequence[str] = ()
    variables: Mapping[str, str] = field(default_factory=dict)
    _refused: str = ""  # the commit that was told to be of no use

    def open(self) -> None:
        """Make the folder a clone, if it is not one. Raises UsageError for one that is something else."""
        if self.url.startswith("-") or self.branch.startswith("-"):
            raise UsageError(f"{self.url} {self.branch} names no branch of a repository")
        root = self.workspace.root
        if not (root / ".git").exists():
            inside = sorted(path.name for path in root.iterdir() if path.name != ".engine")
            if inside:
                raise UsageError(
                    f"{root} is no clone of {self.url}: {inside[0]} is there",
                    remedy="Use an empty folder, or a clone of the repository.",
                )
            self._git("init", "--quiet", "--initial-branch", self.branch)
        if self._asked("remote", "get-url", _REMOTE) is None:
            self._git("remote", "add", _REMOTE, "--", self.url)
        self._git("remote", "set-url", _REMOTE, "--", self.url)

    def take(self) -> str | None:
        """Fetch, and go forward to a new commit, which is returned; None if there is none.

        Raises TransientError for a repository that does not answer, UsageError for a commit that cannot be taken; what
        is there stays. The same commit is refused aloud once.
        """
        here = self._asked("rev-parse", "--verify", "--quiet", "HEAD")
        self._fetch()
        there = self._git("rev-parse", "FETCH_HEAD")
        if there == here:
            self._refused = ""
            return None
        if there == self._refused:
            return None
        try:
            self._refuse(here, there)
            how = ("merge", "--quiet", "--ff-only") if here else ("reset", "--quiet", "--hard")
            self._git(*how, there)
        except EngineError:
            self._refused = there
            raise
        self._refused = ""
        return there

    @property
    def is_empty(self) -> bool:
        """Whether nothing was taken yet."""
        return self._asked("rev-parse", "--verify", "--quiet", "HEAD") is None

    def follow(self, stop: threading.Event, took: Callable[[str], None], failed: Callable[[EngineError], None]) -> None:
        """Take new commits until `stop`. What fails again in the same way is told once."""
        told = ""
        while not stop.wait(FETCH_SECONDS):
            try:
                commit = self.take()
                told = "" if not self._refused else told
                if commit is not None:
                    took(commit)
            except EngineError as error:
                if told != error.message:
                    told = error.message
                    failed(error)

    def _fetch(self) -> None:
        try:
            self._git("fetch", "--quiet", "--no-tags", "--", _REMOTE, f"refs/heads/{self.branch}")
        except UsageError as error:
            raise TransientError(
                f"{self.url} cannot be fetched: {error.message}", remedy="What is there stays; it is tried again."
            ) from error

    def _refuse(self, here: str | None, there: str) -> None:
        """Raise UsageError, or SpecError, for a commit that must not be taken."""
        if here is not None and self._asked("merge-base", "--is-ancestor", here, there) is None:
            raise UsageError(
                f"{self.branch} of {self.url} is {there[:12]}, which does not come after {here[:12]}: it was rewritten",
                remedy=f"{here[:12]} stays. Push a commit that follows it, or start in an empty folder.",
            )
        with self._checked_out(there) as folder:
            own = replace(self.workspace, root=folder)
            try:
                validate(own, find_specs(own, [str(folder / path) for path in self.paths]), self.variables)
            except (SpecError, UsageError) as error:
                said = "; ".join(map(str, error.diagnostics)) if isinstance(error, SpecError) else error.message
                stays = f"{here[:12]} stays" if here else "nothing is taken"
                message = f"commit {there[:12]} has mistakes, {stays}: {said.replace(f'{folder}/', '')}"
                raise UsageError(message, remedy="Push a commit that mends them.") from error

    @contextmanager
    def _checked_out(self, commit: str) -> Iterator[Path]:
        """The commit in a folder of its own, for a while."""
        with TemporaryDirectory(prefix="engine-") as temporary:
            folder = Path(temporary, "commit")
            self._git("worktree", "add", "--quiet", "--detach", str(folder), commit)
            try:
                yield folder
            finally:
                self._git("worktree", "remove", "--force", str(folder))

    def _asked(self, *arguments: str) -> str | None:
        """What git says; None where it says no."""
        try:
            return self._git(*arguments)
        except UsageError:
            return None

    def _git(self, *arguments: str) -> str:
        """Raises UsageError with git's own words."""
        try:
            answer = subprocess.run(  # noqa: S603 - an argv list, no shell
                ["git", "-C", str(self.workspace.root), *arguments],  # noqa: S607 - the user's git
                capture_output=True,
                text=True,
                timeout=_GIT_SECONDS,
                check=False,
                stdin=subprocess.DEVNULL,
                env={**os.environ, "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"},
            )
        except FileNotFoundError as error:
            raise UsageError("there is no git here", remedy="Install git.") from error
        except subprocess.TimeoutExpired as error:
            raise UsageError(f"git {arguments[0]} took longer than {_GIT_SECONDS:.0f} s") from error
        if answer.returncode:
            lines = answer.stderr.strip().splitlines()
            raise UsageError(lines[-1].removeprefix("fatal: ") if lines else f"git {arguments[0]} failed")
        return answer.stdout.strip()
