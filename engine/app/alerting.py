"""One model's alerting pass of the controller: what is wrong now, written down, and told to whom the spec names.

An alert is written before anybody is told, and what a receiver was told after it took the notice: a controller that
dies in between sends the same notice again, under the same id. The lease of the model's alerts keeps controllers from
telling at once. A receiver that fails is tried again, later each time, and keeps no other from being told. What
fires of a model whose spec was removed is over, and says why: nobody watches it any more.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from engine import kinds
from engine.app.facts import live_since
from engine.app.monitoring import watched_document
from engine.app.retraining import Note, is_alarming
from engine.app.workspace import Workspace
from engine.clock import Clock
from engine.core.alerts import (
    WARNING,
    Alert,
    AlertRecord,
    Facts,
    Later,
    Notice,
    Receiver,
    Told,
    decide,
    failed,
    firing,
    groups_of,
    in_turn,
    record,
    sent,
)
from engine.core.canonical import digest, utc
from engine.core.monitoring import WindowReport, breaches
from engine.core.records import Lease, TriggerEvaluation, alerts_of
from engine.errors import EngineError, LockedError, UsageError
from engine.failpoints import failpoint
from engine.runtime.deliver import Again, Reconciled
from engine.runtime.loop import exponential_wait
from engine.triggers.decision import Due
from engine.triggers.evaluation import judged_of

LONGEST_SECONDS = 600.0
"""When to look again at the latest; whatever the controller notices wakes it earlier."""
BUSY_SECONDS = 5.0
"""When to look again while another controller tells."""
UNWATCHED = "no longer watched: its spec was removed"
_TROUBLED_SECONDS = 10.0  # nobody says when a pass that failed succeeds
_DEFAULTS: Mapping[str, Mapping[str, float]] = {"alertmanager": {"wait": 0.0, "interval": 1.0, "repeat": 60.0}}
"""Where they differ from those of `core.alerts.Receiver`: an Alertmanager waits, groups and repeats itself."""


@dataclass(frozen=True)
class Known:
    """What the last pass over a model found, for metrics."""

    facts: Facts
    alerts: Sequence[AlertRecord]
    live_since: str | None  # the live release was promoted, or registered


@dataclass
class Alerting:
    """Passes over models. `reports_of` gives the windows of a release, newest first; `troubles_of` what fails here.

    `watches`: whether a model has a spec; of one that has none any more, `document_of` gives the last that it had.
    """

    workspace: Workspace
    hold: Callable[[str], AbstractContextManager[Lease]]
    document_of: Callable[[str], Mapping[str, Any]]
    reports_of: Callable[[str, int], Sequence[WindowReport]]
    troubles_of: Callable[[str], Mapping[str, tuple[str, str]]]
    note: Callable[[Note], None]
    clock: Clock
    known: dict[str, Known] = field(default_factory=dict)
    sent: dict[tuple[str, str, str], int] = field(default_factory=dict)  # by model, receiver and outcome
    controller: str = field(default_factory=socket.gethostname)
    waits: bool = True  # as receivers ask, for what may come together
    watches: Callable[[str], bool] = lambda _: True

    def reconcile(self, model: str) -> Reconciled:
        """One pass. Raises EngineError for a state that does not answer."""
        document = self.document_of(model)
        receivers = receivers_of(document)
        if not self.waits:
            receivers = {name: replace(each, wait=0.0) for name, each in receivers.items()}
        over = "" if self.watches(model) else UNWATCHED
        facts = Facts(model, controller=self.controller) if over else self._facts(model)
        found, now = firing(facts), self.clock()
        records, told = self._stored(model)
        self.known[model] = Known(facts, records, self._live_since(facts))
        new = _unknown(model, records, told, receivers.values(), now)
        changed = record(records, found, self.controller, now, over)
        if not changed and not new and (seconds := self._seconds(records, told, receivers, now)) > 0:
            return Again(_soon(facts, seconds), f"{_count(records)} firing")
        try:
            with self.hold(alerts_of(model)) as lease:
                self._write(lease, model, found, receivers, over)
                self._tell(lease, model, document, receivers)
        except LockedError as error:
            return Again(BUSY_SECONDS, error.message)
        records, told = self._stored(model)
        self.known[model] = replace(self.known[model], alerts=records)
        seconds = self._seconds(records, told, receivers, self.clock())
        return Again(_soon(facts, seconds), f"{_count(records)} firing")

    # ── what is wrong ──────────────────────────────────────────────────────────────────────────────────────

    def _facts(self, model: str) -> Facts:
        store = self.workspace.store
        endpoint = store.models([model])[model].endpoint
        stable = endpoint.stable if endpoint is not None else None
        reports = self.reports_of(model, stable) if stable is not None else ()
        due = next(iter(store.evaluations(model, 1, due_only=True)), None)
        return Facts(
            model,
            endpoint,
            breaches(reports),
            reports,
            next(iter(store.rollouts(model, 1)), None),
            next(iter(store.runs(model, 1)), None),
            due,
            due is not None and _alarms(due),
            self.troubles_of(model),
            self.controller,
        )

    def _live_since(self, facts: Facts) -> str | None:
        endpoint, before = facts.endpoint, self.known.get(facts.model)
        if endpoint is None or endpoint.stable is None:
            return None
        if before is not None and before.facts.endpoint == endpoint:
            return before.live_since
        releases = self.workspace.store.releases(facts.model)
        release = next(each for each in releases if each.version == endpoint.stable)
        return utc(live_since(self.workspace.store.rollouts(facts.model), endpoint, release))

    def _write(
        self, lease: Lease, model: str, found: Sequence[Alert], receivers: Mapping[str, Receiver], over: str
    ) -> None:
        """Under the lease, from what is stored by now. Receivers first: what begins from here on concerns them."""
        now = self.clock()
        records, told = self._stored(model)
        new = _unknown(model, records, told, receivers.values(), now)
        changed = record(records, found, self.controller, now, over)
        self.workspace.store.keep_alerts(lease, changed, new)
        failpoint("alert.recorded")
        for each in changed:
            if each.resolved_at is not None:
                self.note(Note(model, "alert", f"{each.alert.name} is over: {each.alert.summary}"))

    def _stored(self, model: str) -> tuple[Sequence[AlertRecord], Sequence[Told]]:
        return self.workspace.store.alerts(model), self.workspace.store.told(model)

    # ── who is told ────────────────────────────────────────────────────────────────────────────────────────

    def _seconds(
        self,
        records: Sequence[AlertRecord],
        told: Sequence[Told],
        receivers: Mapping[str, Receiver],
        now: datetime,
    ) -> float:
        """Until a notice is due; 0 when one is."""
        soonest = LONGEST_SECONDS
        for _, _, outcome in _outcomes(records, told, receivers.values(), self._lineage, now):
            if isinstance(outcome, Notice):
                return 0.0
            if outcome.at is not None:
                soonest = min(soonest, (outcome.at - now).total_seconds())
        return soonest

    def _tell(self, lease: Lease, model: str, document: Mapping[str, Any], receivers: Mapping[str, Receiver]) -> None:
        blocks = {name_of(block): block for block in blocks_of(document)}
        for name, receiver in receivers.items():
            records, told = self._stored(model)
            for known, group, outcome in _outcomes(records, told, [receiver], self._lineage, self.clock()):
                if isinstance(outcome, Notice):
                    self._send(lease, blocks[name], receiver, known, group, outcome)

    def _send(
        self,
        lease: Lease,
        block: Mapping[str, Any],
        receiver: Receiver,
        known: Told,
        group: Sequence[AlertRecord],
        notice: Notice,
    ) -> None:
        try:
            failpoint("alert.send")
            deliver(self.workspace, block, notice)
            failpoint("alert.sent")
        except EngineError as error:
            wait = exponential_wait(known.failures + 1)
            after = failed(known, error.message, self.clock(), wait)
            self._count_sent(notice, "failed")
            if after.failures & known.failures == 0:  # the first time, and then each time that it is twice as often
                text = f"{notice.receiver} was not told ({after.failures} times in a row): {error.message}"
                self.note(Note(notice.model, "alert", text, error.remedy, grave=True))
        else:
            after = sent(known, notice, group, receiver)
            self._count_sent(notice, "sent")
            if receiver.repeat > 60 or not known.alerts:  # an Alertmanager is told each minute
                what = f"{len(notice.firing)} firing, {len(notice.resolved)} over"
                names = ", ".join(dict.fromkeys(each.alert.name for each in notice.alerts))
                self.note(Note(notice.model, "alert", f"{notice.receiver} was told: {what} ({names})"))
        self.workspace.store.keep_alerts(lease, (), [after])

    def _count_sent(self, notice: Notice, outcome: str) -> None:
        key = (notice.model, notice.receiver, outcome)
        self.sent[key] = self.sent.get(key, 0) + 1

    @property
    def _lineage(self) -> str:
        return self.workspace.store.lineage().lineage


def deliver(workspace: Workspace, block: Mapping[str, Any], notice: Notice) -> None:
    """Bring a notice to a receiver. Raises EngineError, whatever goes wrong."""
    try:
        kinds.NOTIFIERS[kind_of(block)](block, notice, workspace.resolve, workspace.root)
    except EngineError:
        raise
    except Exception as error:  # a defect in one way must not keep other receivers from being told
        raise EngineError(f"unexpected {type(error).__name__}", remedy="This is a defect of engine.") from error


# ── receivers ────────────────────────────────────────────────────────────────────────────────────────────────


def blocks_of(document: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """The receivers of a resolved spec."""
    found: Sequence[Mapping[str, Any]] = (document.get("monitoring") or {}).get("alerts") or ()
    return found


def kind_of(block: Mapping[str, Any]) -> str:
    """Which kind of receiver it is."""
    return next(kind for kind in kinds.NOTIFIERS if block[kind] is not None)


def name_of(block: Mapping[str, Any]) -> str:
    """What a receiver is called."""
    return block["name"] or kind_of(block)


def receivers_of(document: Mapping[str, Any]) -> Mapping[str, Receiver]:
    """How each receiver of a resolved spec is told."""
    found = {}
    for block in blocks_of(document):
        kind, name = kind_of(block), name_of(block)
        defaults = _DEFAULTS.get(kind, {})
        times = {
            each: block[each] if block[each] is not None else defaults.get(each, getattr(Receiver, each))
            for each in ("wait", "interval", "repeat")
        }
        limit = None if kind == "alertmanager" else (block["limit"]["count"], block["limit"]["period"])
        found[name] = Receiver(
            name,
            block["severity"],
            **times,
            limit=limit,
            resolved=block["resolved"],
            apart=block["by"] == "alert",
        )
    return found


def _unknown(
    model: str, records: Sequence[AlertRecord], told: Sequence[Told], receivers: Any, now: datetime
) -> Sequence[Told]:
    """What there is to remember of receivers and groups that nothing is known of. A group is as old as its receiver."""
    new = []
    for receiver in receivers:
        own = {each.group: each for each in told if each.receiver == receiver.name}
        since = min((each.since for each in own.values()), default=utc(now))
        groups = ["", *(group for group in groups_of(records, receiver) if group)]
        new += [Told(model, receiver.name, group, since) for group in groups if group not in own]
    return new


def _outcomes(
    records: Sequence[AlertRecord], told: Sequence[Told], receivers: Any, lineage: str, now: datetime
) -> Sequence[tuple[Told, Sequence[AlertRecord], Notice | Later]]:
    found: list[tuple[Told, Sequence[AlertRecord], Notice | Later]] = []
    for receiver in receivers:
        own = {each.group: each for each in told if each.receiver == receiver.name}
        recent = [at for each in own.values() for at in each.recent]
        for group, members in in_turn(groups_of(records, receiver), own):
            if group not in own:  # it gets its record first
                found.append((Told("", "", "", ""), members, Later(now)))
                continue
            outcome = decide(members, own[group], receiver, lineage, now, recent)
            if isinstance(outcome, Notice):
                recent.append(outcome.at)
            found.append((own[group], members, outcome))
    return found


def _alarms(evaluation: TriggerEvaluation) -> bool:
    outcome = judged_of(evaluation).outcome
    return isinstance(outcome, Due) and is_alarming(outcome)


def _soon(facts: Facts, seconds: float) -> float:
    return max(0.05, min(seconds, _TROUBLED_SECONDS if facts.troubles else LONGEST_SECONDS))


def _count(records: Sequence[AlertRecord]) -> int:
    return sum(each.status == "firing" for each in records)


# ── trying it out ────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Tried:
    """What came of a test notice; `error` is empty when it was accepted."""

    receiver: str
    kind: str
    error: str = ""
    remedy: str = ""


def test(workspace: Workspace, model: str) -> Sequence[Tried]:
    """Send a test notice to each receiver of a model's spec. Raises UsageError when it names none."""
    blocks = blocks_of(watched_document(workspace, model))
    if not blocks:
        raise UsageError(f"the spec of {model} names nobody who is told", remedy="Add monitoring.alerts.")
    now = utc(workspace.clock())
    alert = Alert(model, "TestAlert", WARNING, "this is a test; nothing is wrong", "Nothing is to be done.")
    tried = []
    for block in blocks:
        name, kind = name_of(block), kind_of(block)
        id = digest([model, name, now]).removeprefix("blake3:")[:32]
        notice = Notice(id, model, name, "", now, (AlertRecord(alert, 1, now, now),), test=True)
        if kind == "alertmanager":
            notice = Notice(id, model, name, "", now, notice.alerts, repeats=60.0, test=True)
        try:
            deliver(workspace, block, notice)
            tried.append(Tried(name, kind))
        except EngineError as error:
            tried.append(Tried(name, kind, error.message, error.remedy))
    return tried
