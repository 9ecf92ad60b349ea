"""One model's monitoring pass of the controller: judge the windows that closed, and do what a breach asks for.

A breach is told once for each release. One that asks for a retrain leaves a request in the inbox, under an id that the
release and the limit make, so that it counts once whatever dies. One that asks for the release before gets it at once;
never forward to a newer release, so that two that both breach do not take turns.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.app.monitoring import monitor_of, monitoring_store
from engine.app.retraining import Note
from engine.app.serving import serving_folder
from engine.app.workspace import Workspace
from engine.core.monitoring import Breach, WindowReport, breaches, settings_of
from engine.core.records import Endpoint, Event, EventKind
from engine.core.verdict import Verdict
from engine.runtime.deliver import Again, Delivery, Reconciled
from engine.runtime.monitor import Monitor, next_look
from engine.runtime.trigger_windows import trigger_windows
from engine.triggers.facts import Window

if TYPE_CHECKING:
    from engine.adapters.monitoring import SqlMonitoring

LOOK_SECONDS = 2.0
"""How often it is asked whether the log has grown."""
ACTOR = "monitoring"
_WINDOWS = 50  # that triggers and breaches look at


@dataclass
class Watching:
    """Passes over models. `judged` hears of models that have new windows."""

    workspace: Workspace
    delivery: Delivery
    document_of: Callable[[str], Mapping[str, Any]]
    note: Callable[[Note], None]
    judged: Callable[[str], None]
    clock: Callable[[], datetime]
    _seen: dict[str, object] = field(default_factory=dict)
    _told: set[tuple[str, int, str, str]] = field(default_factory=set)

    @cached_property
    def _store(self) -> SqlMonitoring:
        return monitoring_store(self.workspace)

    @cached_property
    def _monitor(self) -> Monitor:
        return monitor_of(replace(self.workspace), self._store)

    def reconcile(self, model: str) -> Reconciled:
        """One pass. Raises EngineError."""
        endpoint = self.workspace.store.models([model])[model].endpoint
        if endpoint is None or endpoint.stable is None:
            return Again(LOOK_SECONDS, "nothing is live")
        size = _size(serving_folder(self.workspace) / "log" / model)
        if not size:
            return Again(LOOK_SECONDS, "nothing was predicted yet")
        if self._seen.get(model) == (endpoint.stable, size):
            return Again(LOOK_SECONDS, "nothing new was predicted")
        settings = settings_of(self.document_of(model))
        looked = self._monitor.look(model, endpoint.stable, settings)
        if looked.judged or looked.updated:
            self._say(model, looked.judged)
            self._act(endpoint, self._store.reports(model, endpoint.stable, _WINDOWS))
            self.judged(model)
        again = next_look(looked, settings, self.clock())
        if again is None:
            self._seen[model] = (endpoint.stable, size)
        return Again(LOOK_SECONDS if again is None else min(again, LOOK_SECONDS), "watching")

    def windows(self, model: str, document: Mapping[str, Any]) -> Sequence[Window]:
        """The closed windows of a model, newest first, as triggers see them."""
        if not (serving_folder(self.workspace) / "log" / model).is_dir():
            return ()
        return trigger_windows(self._store.reports(model, limit=_WINDOWS), settings_of(document))

    def close(self) -> None:
        """Close the store."""
        if "_store" in vars(self):
            self._store.close()

    def _say(self, model: str, reports: Sequence[WindowReport]) -> None:
        for report in reports:
            drifted = [str(found["text"]) for found in report.drift.values() if found["verdict"] == "drift"]
            failed = [check.text for check in report.checks if check.verdict is Verdict.FAIL]
            wrong = "; ".join([*drifted, *failed])
            text = f"window {report.window.number} of version {report.version}, {report.window.rows:,} predictions: "
            self.note(Note(model, "window", text + (wrong or "nothing wrong")))

    def _act(self, endpoint: Endpoint, reports: Sequence[WindowReport]) -> None:
        for breach in breaches(reports):
            key = (endpoint.model, endpoint.stable or 0, str(breach.kind), breach.name)
            if key not in self._told:
                self._told.add(key)
                self._answer(endpoint, breach)

    def _answer(self, endpoint: Endpoint, breach: Breach) -> None:
        model, version = endpoint.model, endpoint.stable
        self.note(Note(model, "breach", breach.text, f"See: engine monitor {model}", grave=True))
        match breach.on_breach:
            case "alert":
                return
            case "retrain":
                key = f"breach of {breach.kind} {breach.name} by version {version}"
                self.workspace.store.put(
                    Event(key, model, EventKind.MANUAL, "breach", f"version {version}: {breach.text}", ACTOR)
                )
            case "rollback":
                if endpoint.previous is None or version is None or endpoint.previous > version:
                    self.note(Note(model, "breach", f"no release was stable before version {version}", grave=True))
                    return
                change = self.delivery.roll_back(model, endpoint.previous, f"breach: {breach.text}")
                self.note(Note(model, "rollout", f"rolled back to version {change.after.stable}", grave=True))
                self.delivery.mirror(model)
            case other:
                raise ValueError(f"no answer to a breach: {other}")


def _size(folder: Path) -> tuple[tuple[str, int], ...]:
    """The files of a log and how long they are; nothing if there is no log."""
    try:
        with os.scandir(folder) as found:
            return tuple(sorted((entry.name, entry.stat().st_size) for entry in found if entry.is_file()))
    except FileNotFoundError:
        return ()
