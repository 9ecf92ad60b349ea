"""Ending a model: nothing serves it any more, and the state forgets it. `plan_destruction` says what that means.

The registry's versions, the log of predictions, the spec and the audit log stay. One that was interrupted is done again
from the start.
"""

from __future__ import annotations

from dataclasses import dataclass

from engine.app.changing import remove
from engine.app.inspecting import model_state
from engine.app.monitoring import watched_document
from engine.app.workspace import Workspace
from engine.core.records import Endpoint
from engine.errors import UsageError


@dataclass(frozen=True)
class Destruction:
    """What ending a model would do."""

    model: str
    endpoint: Endpoint | None
    versions: tuple[int, ...]
    runs: int


def plan_destruction(workspace: Workspace, model: str) -> Destruction:
    """What would end. Raises UsageError for a model that is not known, or that is protected."""
    state = model_state(workspace, model)
    document = watched_document(workspace, model)
    wanted = document.get("lifecycle") or {}
    if model in workspace.reader.protected() or wanted.get("prevent_destroy"):
        raise UsageError(
            f"{model} is protected by lifecycle.prevent_destroy",
            remedy="Nothing was changed. Write prevent_destroy: false in its spec and apply that first.",
        )
    versions = tuple(sorted(release.version for release in workspace.reader.releases(model)))
    return Destruction(model, state.endpoint, versions, len(workspace.reader.runs(model, 1_000_000)))


def destroy(workspace: Workspace, planned: Destruction) -> None:
    """Take the aliases away, then forget the model. Raises LockedError while a run holds it."""
    if planned.versions:
        workspace.registry.set_aliases(planned.model, {"champion": None, "challenger": None})
    remove(workspace, planned.model)
