"""One model's monitoring pass of the controller: judge the windows that closed, and do what a breach asks for.

A breach is told once for each release. One that asks for a retrain leaves a request in the inbox, under an id that the
release and the limit make, so that it counts once whatever dies. One that asks for the release before gets it at once;
never forward to a newer release, so that two that both breach do not take turns.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from time import monotonic, time_ns
from typing import TYPE_CHECKING, Any

from engine.app.monitoring import monitor_of, monitoring_store
from engine.app.retraining import Note
from engine.app.workspace import Workspace
from engine.clock import Clock
from engine.core.monitoring import Breach, WindowReport, breaches, settings_of
from engine.core.records import Endpoint, Event, EventKind
from engine.core.verdict import Verdict
from engine.runtime.deliver import Again, Delivery, Reconciled
from engine.runtime.monitor import Monitor, closes_in, next_look
from engine.runtime.trigger_windows import trigger_windows
from engine.serving.prediction_log import OPEN
from engine.triggers.facts import Window

if TYPE_CHECKING:
    from engine.adapters.monitoring import SqlMonitoring

LOOK_SECONDS = 2.0
"""How often it is asked whether a log has grown."""
IDLE_SECONDS = 60.0
"""When to look again at a model whose log does not grow: what grows wakes it."""
WRITTEN_SECONDS = 0.6
"""How long it may take until a prediction is in the log."""
ACTOR = "monitoring"
_COARSE = 2_000_000_000  # nanoseconds within which a change may not show in a folder's time
_WINDOWS = 50  # that triggers and breaches look at


@dataclass(frozen=True)
class _Log:
    """A model's folder of the log as it was seen: when its list of files changed, and the sizes of those that grow."""

    changed: int  # nanoseconds
    listed: int  # nanoseconds
    sizes: Mapping[str, int]

    def differs(self, other: _Log) -> bool:
        """Whether anything was written in between."""
        return (self.changed, self.sizes) != (other.changed, other.sizes)


@dataclass
class Watching:
    """Passes over models. `judged` hears of models that have new windows."""

    workspace: Workspace
    delivery: Delivery
    document_of: Callable[[str], Mapping[str, Any]]
    note: Callable[[Note], None]
    judged: Callable[[str], None]
    clock: Clock
    _seen: dict[str, object] = field(default_factory=dict)
    _told: set[tuple[str, int, str, str]] = field(default_factory=set)
    _logs: Mapping[str, _Log] = field(default_factory=dict)
    _asked: float = -math.inf  # when, by the monotonic clock

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
            return Again(IDLE_SECONDS, "nothing is live")
        size = _size(self.workspace.serving / "log" / model)
        if not size:
            return Again(IDLE_SECONDS, "nothing was predicted yet")
        if self._seen.get(model) == (endpoint.stable, size):
            return Again(IDLE_SECONDS, "nothing new was predicted")
        settings = settings_of(self.document_of(model))
        looked = self._monitor.look(model, endpoint.stable, settings)
        if looked.judged or looked.updated:
            self._say(model, looked.judged)
            self._act(endpoint, self._store.reports(model, endpoint.stable, _WINDOWS))
            self.judged(model)
        again = next_look(looked, settings, self.clock())
        if again is None:
            self._seen[model] = (endpoint.stable, size)
            full = closes_in(looked, settings, self.clock())  # what grows wakes it, too, but some seconds later
            again = IDLE_SECONDS if full is None else full + WRITTEN_SECONDS
        return Again(min(again, IDLE_SECONDS), "watching")

    def grown(self) -> set[str]:
        """The models whose log is another one than when this was last asked. Asks the disk every two seconds."""
        if monotonic() < self._asked + LOOK_SECONDS:
            return set()
        self._asked = monotonic()
        logs = _logs(self.workspace.serving / "log", self._logs)
        changed = {name for name, log in logs.items() if name not in self._logs or self._logs[name].differs(log)}
        self._logs = logs
        return changed

    def windows(self, model: str, document: Mapping[str, Any]) -> Sequence[Window]:
        """The closed windows of a model, newest first, as triggers see them."""
        if not (self.workspace.serving / "log" / model).is_dir():
            return ()
        return trigger_windows(self._store.reports(model, limit=_WINDOWS), settings_of(document))

    def reports(self, model: str, version: int) -> Sequence[WindowReport]:
        """The closed windows of a release, newest first, as breaches are found in them."""
        if not (self.workspace.serving / "log" / model).is_dir():
            return ()
        return self._store.reports(model, version, _WINDOWS)

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


def _logs(folder: Path, before: Mapping[str, _Log]) -> dict[str, _Log]:
    """Every model's log. A folder is listed only when its list has changed: an old log has hundreds of files."""
    found = {}
    now = time_ns()
    try:
        with os.scandir(folder) as models:
            for model in models:
                changed, known = model.stat().st_mtime_ns, before.get(model.name)
                if known is not None and known.changed == changed < known.listed - _COARSE:
                    listed, files = known.listed, list(known.sizes)
                else:
                    listed, files = now, _growing(model.path)
                found[model.name] = _Log(changed, listed, {path: _bytes(path) for path in files})
    except FileNotFoundError:
        pass
    return found


def _growing(folder: str) -> list[str]:
    """The files that are still written to."""
    return [entry.path for entry in os.scandir(folder) if entry.name.endswith(OPEN)]


def _bytes(path: str) -> int:
    try:
        return os.stat(path).st_size  # noqa: PTH116 - strings, for speed
    except FileNotFoundError:
        return 0


def _size(folder: Path) -> tuple[tuple[str, int], ...]:
    """The files of a log and how long they are; nothing if there is no log."""
    try:
        with os.scandir(folder) as found:
            return tuple(sorted((entry.name, entry.stat().st_size) for entry in found if entry.is_file()))
    except FileNotFoundError:
        return ()
