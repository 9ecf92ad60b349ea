"""Changing things by hand: leases, taints, and the upkeep of the state.

Every change is made under the model's lease, or recorded in the audit log with who asked for it. Raises UsageError for
what is not there, LockedError while a run holds the model.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from engine.app.signing import ModelSignatures
from engine.app.workspace import HOME, PROJECT_FILE, Workspace
from engine.core.records import Lease
from engine.core.retention import kept_releases
from engine.errors import StateError


@dataclass(frozen=True)
class Garbage:
    """What a collection removed, or (`dry_run`) would remove: bytes. `retired`: releases that no rule keeps."""

    bytes: int
    dry_run: bool
    retired: Sequence[str] = ()


def release_lock(workspace: Workspace, model: str) -> Lease:
    """Take the lease away from whoever holds it; that run cannot write any more."""
    return _existing(workspace).store.force_release(model, actor=_actor())


def taint(workspace: Workspace, model: str, step: str) -> None:
    """Make a step run again at the next apply."""
    _existing(workspace).store.taint(model, step, actor=_actor())


def remove(workspace: Workspace, model: str) -> None:
    """Forget a model. The registry's versions and the audit log stay."""
    _existing(workspace).store.rm(model, actor=_actor())


def backup(workspace: Workspace, path: Path) -> None:
    """Copy the state, as of one moment, into a new file."""
    _existing(workspace).store.backup(path)


def collect_garbage(workspace: Workspace, *, keep: int, dry_run: bool) -> Garbage:
    """Remove artifacts that nothing needs: no release that is kept, and none of the `keep` newest results of a step.

    All environments share the artifacts, so all their states are asked. Every model is held meanwhile, so that no run
    stores anything.
    """
    sharing = [replace(workspace, environment=name) for name in _environments(workspace)]
    sharing = [other for other in sharing if other.stores["artifacts"] == workspace.stores["artifacts"]]
    needed: set[str] = set()
    gone: list[str] = []
    with ExitStack() as held:
        for other in sharing:
            if not other.reader.lineage().lineage:
                continue
            if not dry_run:
                for model in other.reader.list_models():
                    held.enter_context(_held(other, model, 0.0))
            retired = retired_releases(other)
            gone += [f"{model}@{version}" for model, version in retired]
            needed |= other.reader.live_digests(keep, retired)
        freed = workspace.artifacts.collect(needed, dry_run=dry_run)
        if not dry_run:
            ModelSignatures(workspace).collect()
        return Garbage(freed, dry_run, gone)


def retired_releases(workspace: Workspace) -> list[tuple[str, int]]:
    """The releases that `retention` does not keep: of the spec as it is now, else as it was applied last.

    Raises SpecError for specs with mistakes: what a rule is cannot be guessed.
    """
    from engine.app.monitoring import watched_document

    now = workspace.clock()
    found: list[tuple[str, int]] = []
    for model, state in workspace.reader.models().items():
        releases = workspace.reader.releases(model)
        rule: Any = watched_document(workspace, model).get("retention") if releases else None
        kept = kept_releases(releases, rule, state.endpoint, now)
        found += [(model, each.version) for each in releases if each.version not in kept]
    return sorted(found)


@contextmanager
def _held(workspace: Workspace, model: str, lock_timeout: float) -> Iterator[Lease]:
    from engine.adapters.state import holder
    from engine.runtime.leases import LeaseKeeper

    keeper = LeaseKeeper(workspace.store, holder.this_process(), threading.Event(), wait_seconds=lock_timeout)
    try:
        with keeper.hold(model, lambda: None) as lease:
            yield lease
    finally:
        keeper.close()


def _existing(workspace: Workspace) -> Workspace:
    """The workspace, if it has a state: looking after one must not make one."""
    if not workspace.reader.lineage().lineage:
        raise StateError("there is no state here yet", remedy="It is made by the first engine apply.")
    return workspace


def _environments(workspace: Workspace) -> list[str | None]:
    """Every environment that there may be a state of: None, those of engine.yaml, and those with a folder."""
    from engine.spec.project import load_project

    declared = load_project(workspace.project_text, PROJECT_FILE).environments
    folder = workspace.root / HOME / "envs"
    present = [entry.name for entry in folder.iterdir() if entry.is_dir()] if folder.is_dir() else []
    return [None, *sorted({*declared, *present})]


def _actor() -> str:
    from engine.adapters.state import holder

    return holder.actor(holder.this_process())
