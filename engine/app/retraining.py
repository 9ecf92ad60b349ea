"""One model's pass of the controller: what its spec says now, what its triggers say, and the retrain that follows.

A spec or code that changed is applied at once, to the data of the last snapshot. New data is taken when a trigger is
due. What was due is recorded before anything is done about it, and settled afterwards: a controller that dies in
between, or another one, finds it open and goes on with it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine import kinds
from engine.app.applying import apply, note_protection
from engine.app.documents import SpecDocument
from engine.app.facts import gather
from engine.app.planning import Planned, plan, stat_of
from engine.app.workspace import Workspace
from engine.clock import Clock
from engine.core.plan import Reason, Request
from engine.core.records import Aftermath, Lease, RunStatus, StepResult, TriggerEvaluation
from engine.errors import LockedError, StalePlanError, StepCrashedError, TransientError
from engine.failpoints import failpoint
from engine.runtime.apply import held_message
from engine.runtime.deliver import Again, Done, Reconciled
from engine.runtime.events import Event
from engine.triggers import group
from engine.triggers.decision import Due, Held, NotDue, Outcome, moment, text_of
from engine.triggers.evaluation import judged_of, record_of
from engine.triggers.facts import Window

if TYPE_CHECKING:
    from engine.runtime.apply import Result
    from engine.runtime.leases import LeaseKeeper

BUSY_SECONDS = 5.0
"""When to look again at a model that somebody else holds."""
LONGEST_SECONDS = 3600.0
"""When to look again at the latest: whatever happens is noticed earlier, this only makes good for what was not."""
HELD_SECONDS = 15.0
"""When to look again at a model whose release waits for an approval or a policy."""
KEPT_SECONDS = 3600.0
"""An evaluation that says what the last one said is recorded again after so long."""

_CRASHES = 3  # runs that fail in a row until one whose process died is left as it is
_RUNS = 50  # among which those of one retrain are looked for


@dataclass(frozen=True)
class Note:
    """Something that happened to a model, for the log and for alerts. `kind`: what it is about."""

    model: str
    kind: str  # run, trigger, rollout, breach, error
    text: str
    remedy: str = ""
    grave: bool = False  # somebody should look


@dataclass
class Retraining:
    """Passes over models. `spec_of` gives the document of a model as its file says now."""

    workspace: Workspace
    leases: LeaseKeeper
    spec_of: Callable[[str], SpecDocument]
    windows_of: Callable[[str, Mapping[str, Any]], Sequence[Window]]
    variables: Mapping[str, str]
    note: Callable[[Note], None]
    tell: Callable[[Event], None]
    stop: threading.Event
    kills: list[Callable[[], None]]  # what ends the runs that go on
    clock: Clock
    jobs: int
    _held: dict[str, str] = field(default_factory=dict)  # what a release waits for, by model
    _settled: dict[str, tuple[str, tuple[tuple[str, Any], ...]]] = field(default_factory=dict)

    def reconcile(self, model: str) -> Reconciled:
        """One pass. Raises TransientError and StateError for what is worth another try."""
        spec = self.spec_of(model)
        try:
            pending = self._open_evaluation(model)
            if pending is not None:
                return self._retrain(spec, pending)
            if not self._as_applied(spec):
                self._apply_changes(spec)
            came = self._ask_triggers(spec)
            if model in self._settled:
                return came
            return Again(min(HELD_SECONDS, came.seconds) if isinstance(came, Again) else HELD_SECONDS, came.why)
        except LockedError as error:
            return Again(BUSY_SECONDS, error.message)

    # ── what the spec says ─────────────────────────────────────────────────────────────────────────────────

    def _as_applied(self, spec: SpecDocument) -> bool:
        """Whether neither the spec nor the code behind it has changed since the last pass that looked."""
        key, watched = self._settled.get(spec.document["name"], ("", ()))
        return key == spec.key and all(stat_of(path) == before for path, before in watched)

    def _apply_changes(self, spec: SpecDocument) -> None:
        """Bring the model where its spec wants it, on the data of the last snapshot."""
        name = spec.document["name"]
        planned = self._plan(spec, Request(keep_data=True))
        watched = tuple((path, stat_of(path)) for path in planned.models[name].world.watched)
        self._note_hold(name, planned.models[name].plan.held)
        if planned.plan.changes or self._is_abandoned(name):
            result = self._carry_out(planned, "the spec or its code changed")
            self._refuse_transient(result)
            self._say(result, "")
        else:
            note_protection(self.workspace, planned)
        self._settle(name, spec.key, watched)

    def _settle(self, name: str, key: str, watched: tuple[tuple[str, Any], ...]) -> None:
        """What was looked at stands until it changes; not while a release waits for an approval or a policy."""
        self._settled.pop(name, None)
        if name not in self._held:
            self._settled[name] = (key, watched)

    # ── what the triggers say ──────────────────────────────────────────────────────────────────────────────

    def _ask_triggers(self, spec: SpecDocument) -> Reconciled:
        document, now = spec.document, self.clock()
        name, block = document["name"], document["retrain_trigger"]
        facts = gather(self.workspace, document, now, self.windows_of(name, document))
        judged = group.evaluate(block, facts, kinds.TRIGGERS)
        evaluation = record_of(judged, facts)
        failpoint("trigger.evaluated")
        if isinstance(judged.outcome, Due):
            with self._hold(name) as lease:
                stored = self.workspace.store.record(lease, evaluation)
                failpoint("trigger.recorded")
                self._take_up(lease, stored)
            self.note(Note(name, "trigger", text_of(judged.outcome)))
            return self._retrain(spec, stored)
        self._keep(name, evaluation, now)
        said = text_of(judged.outcome)
        if isinstance(judged.outcome, NotDue) and block is None:
            return Done(said)
        return Again(_seconds_until(judged.outcome, now), said)

    def _keep(self, name: str, evaluation: TriggerEvaluation, now: datetime) -> None:
        """Record it, unless the newest record says the same and is not old."""
        newest = next(iter(self.workspace.store.evaluations(name, 1)), None)
        fresh = newest is not None and now - moment(newest.last_at) < timedelta(seconds=KEPT_SECONDS)
        if newest is not None and fresh and newest.signature == evaluation.signature:
            return
        with self._hold(name) as lease:
            self.workspace.store.record(lease, evaluation)

    def _take_up(self, lease: Lease, evaluation: TriggerEvaluation) -> None:
        """Mark the events that made it due as handled; those that a dead controller had marked are so already."""
        outcome = judged_of(evaluation).outcome
        waiting = {event.id for event in self.workspace.store.pending(evaluation.model)}
        ids = [event for event in outcome.events if event in waiting] if isinstance(outcome, Due) else []
        if ids:
            self.workspace.store.handle(lease, ids, f"evaluation {evaluation.sequence}")
        failpoint("trigger.taken_up")

    def _open_evaluation(self, model: str) -> TriggerEvaluation | None:
        """The evaluation that was due and is not settled yet."""
        newest = next(iter(self.workspace.store.evaluations(model, 1, due_only=True)), None)
        return newest if newest is not None and newest.aftermath is None else None

    # ── the retrain ────────────────────────────────────────────────────────────────────────────────────────

    def _retrain(self, spec: SpecDocument, evaluation: TriggerEvaluation) -> Reconciled:
        """Take new data, train if there is something new, settle the evaluation. May be begun again at any point."""
        name = spec.document["name"]
        due = judged_of(evaluation).outcome
        assert isinstance(due, Due)
        with self._hold(name) as lease:
            self._take_up(lease, evaluation)
        runs = self._runs_since(name, evaluation)
        if due.force and not runs and "train" in self._latest(name):
            self.workspace.store.taint(name, "train", actor=f"trigger {due.trigger}")
        planned = self._plan(spec, Request())
        taken = {step for step, result in self._latest(name).items() if result.run_id in runs}
        if planned.models[name].world.observations.contents["data"] is None and "snapshot" not in taken:
            planned = self._plan(spec, Request(replace=frozenset({"snapshot"})))  # only reading tells what is new
        status, run_id = RunStatus.DONE, runs[0] if runs else ""
        if planned.plan.changes or (runs and self._is_abandoned(name)):
            result = self._carry_out(planned, f"{due.trigger}: {due.reason}")
            result = replace(result, run_id=result.run_id or run_id)
            self._refuse_transient(result)
            self._say(result, "retrain")
            status, run_id = result.status, result.run_id
        elif runs and planned.models[name].plan.stopped_by is not None:
            status = RunStatus.STOPPED
        aftermath = self._aftermath(name, status, {run_id, *runs})
        if aftermath is Aftermath.NOTHING_NEW:
            self.note(_nothing_new(name, due))
        failpoint("trigger.settle")
        with self._hold(name) as lease:
            if self._open_evaluation(name) is not None:  # else another controller has done so
                self.workspace.store.settle(lease, evaluation.sequence, aftermath, run_id)
        return Again(0.0, f"retrained: {aftermath.value}")

    def _aftermath(self, name: str, status: RunStatus, runs: Set[str]) -> Aftermath:
        """What came of a retrain whose last run ended so, by all of its runs.

        One that was interrupted may have trained, and who only registers or deploys what it trained has released it.
        """
        if status is RunStatus.STOPPED:
            return Aftermath.STOPPED
        if status is not RunStatus.DONE:
            return Aftermath.FAILED
        latest = self._latest(name)
        news = any(step in latest and latest[step].run_id in runs for step in ("train", "register"))
        return Aftermath.RELEASED if news else Aftermath.NOTHING_NEW

    def _runs_since(self, name: str, evaluation: TriggerEvaluation) -> Sequence[str]:
        """The runs since this was due, newest first: those of controllers that died before they could settle it."""
        return [run.run_id for run in self.workspace.store.runs(name, _RUNS) if run.started_at >= evaluation.first_at]

    def _is_abandoned(self, name: str) -> bool:
        """Whether the newest run did all that was to be done, perhaps, and could not say so: its process died."""
        newest = next(iter(self.workspace.store.runs(name, 1)), None)
        return newest is not None and newest.status is RunStatus.RUNNING

    def _latest(self, name: str) -> Mapping[str, StepResult]:
        return self.workspace.store.models([name])[name].latest

    # ── means ──────────────────────────────────────────────────────────────────────────────────────────────

    def _plan(self, spec: SpecDocument, request: Request) -> Planned:
        """By a workspace of its own: this thread's connection, and the registry's process, end with it."""
        own = replace(self.workspace)
        try:
            file = Path(spec.file) if Path(spec.file).is_absolute() else self.workspace.root / spec.file
            return plan(own, [file], variables=self.variables, request=request)
        finally:
            _close(own)

    def _carry_out(self, planned: Planned, because: str) -> Result:
        own = replace(self.workspace)
        mine: list[Callable[[], None]] = []

        def on_kill(kill: Callable[[], None]) -> None:
            mine.append(kill)
            self.kills.append(kill)

        try:
            [result] = apply(
                own,
                planned,
                tell=self.tell,
                stop=self.stop,
                on_kill=on_kill,
                jobs=self.jobs,
                because=because,
            )
        finally:
            for kill in mine:
                self.kills.remove(kill)
            _close(own)
        if isinstance(result.error, LockedError):
            raise result.error
        self._note_hold(result.model, result.outcome.held)
        return result

    def _note_hold(self, model: str, reason: Reason | None) -> None:
        """Say once that a release waits; look again until it does not."""
        text = held_message(reason)
        if text and self._held.get(model) != text:
            self.note(Note(model, "rollout", text))
        if text:
            self._held[model] = text
            self._settled.pop(model, None)
        else:
            self._held.pop(model, None)

    def _refuse_transient(self, result: Result) -> None:
        """Raise what the loop shall try again; anything else would fail again unchanged, and is left as it is.

        A process that died may have been in the way of somebody who needed its memory: it is tried again, a few times.
        """
        if isinstance(result.error, TransientError | StalePlanError):  # what did not answer, or changed meanwhile
            raise result.error
        if isinstance(result.error, StepCrashedError) and self._failures(result.model) < _CRASHES:
            raise TransientError(result.error.message, remedy=f"It is tried again. {result.error.remedy}".strip())
        if result.status is RunStatus.CANCELLED:
            raise TransientError(f"{result.model}: the run was stopped", remedy="It goes on when engine starts again.")

    def _failures(self, name: str) -> int:
        """How many of the model's newest runs failed, one after the other."""
        runs = self.workspace.store.runs(name, _CRASHES)
        return next((number for number, run in enumerate(runs) if run.status is not RunStatus.FAILED), len(runs))

    def _say(self, result: Result, because: str) -> None:
        after = f" ({because})" if because else ""
        if result.status is RunStatus.DONE:
            self.note(Note(result.model, "run", f"run {result.run_id} done{after}"))
        else:
            remedy = result.error.remedy if result.error is not None else f"engine show {result.run_id}"
            text = f"run {result.run_id} {result.status.value}{after}: {result.message}"
            self.note(Note(result.model, "run", text, remedy, grave=True))

    @contextmanager
    def _hold(self, model: str) -> Iterator[Lease]:
        with self.leases.hold(model, lost=lambda: None) as lease:
            yield lease


def _nothing_new(name: str, due: Due) -> Note:
    """Somebody should know when the world has changed and there is nothing to learn from."""
    return Note(name, "trigger", f"due, nothing new to train on ({due.reason})", grave=is_alarming(due))


def is_alarming(due: Due) -> bool:
    """Whether the world has changed, not only the time."""
    return due.trigger in ("drift", "performance") or "drift" in due.reason or "performance" in due.reason


def _close(workspace: Workspace) -> None:
    for adapter in ("reader", "store"):
        if adapter in vars(workspace):  # made when it was asked for
            vars(workspace)[adapter].close()


def _seconds_until(outcome: Outcome, now: datetime) -> float:
    at = outcome.until if isinstance(outcome, Held) else outcome.next_at if isinstance(outcome, NotDue) else None
    if at is None:
        return LONGEST_SECONDS
    return min(LONGEST_SECONDS, max(0.05, (at - now).total_seconds()))
