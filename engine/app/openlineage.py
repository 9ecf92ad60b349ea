"""Tells OpenLineage of every run, where `stores.openlineage` in engine.yaml says so. No run fails for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from engine.app.lineage import read_report
from engine.app.workspace import Workspace
from engine.core.records import Run
from engine.errors import EngineError
from engine.runtime.events import Event, RunFinished, RunStarted

if TYPE_CHECKING:
    from engine.adapters.openlineage import OpenLineage, Story

LOG = "openlineage.log"  # in `.engine`: what was not taken, and why


def telling(workspace: Workspace, tell: Callable[[Event], None]) -> Callable[[Event], None]:
    """`tell`, and after it OpenLineage, if the project names a place for its events."""
    address = workspace.stores["openlineage"]
    if address is None:
        return tell
    from engine.adapters.openlineage import OpenLineage

    lineage = OpenLineage(address, workspace.root)

    def told(event: Event) -> None:
        tell(event)
        if isinstance(event, RunStarted | RunFinished):
            _emit(workspace, lineage, event)

    return told


def _emit(workspace: Workspace, lineage: OpenLineage, event: RunStarted | RunFinished) -> None:
    try:
        run = next((each for each in workspace.store.runs(event.model, 5) if each.run_id == event.run_id), None)
        if run is not None:
            lineage.emit(_story(workspace, run, event))
    except EngineError as error:
        with (workspace.home / LOG).open("a", encoding="utf-8") as log:
            log.write(f"{event.run_id} {type(event).__name__}: {error.message}. {error.remedy}\n")


def _story(workspace: Workspace, run: Run, event: RunStarted | RunFinished) -> Story:
    from engine.adapters.openlineage import Story

    store = workspace.store
    story = Story(store.lineage().lineage, run, isinstance(event, RunFinished))
    if isinstance(event, RunStarted):
        return story
    latest = store.models([run.model])[run.model].latest
    snapshot, checked = latest.get("snapshot"), latest.get("check_data")
    release = next((each for each in store.releases(run.model) if each.run_id == run.run_id), None)
    story = replace(story, data=snapshot.outputs["data"] if snapshot else None, release=release)
    profile = read_report(workspace, checked.outputs["profile"]) if checked else None
    if profile is None:
        return story
    return replace(story, rows=profile["rows"], columns={n: c["kind"] for n, c in profile["columns"].items()})
