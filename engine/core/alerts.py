"""Which alerts are firing, what became of each, and which notice is due where. Pure.

`firing` says from facts what is wrong now; `record` holds that against what is stored, so that one alert is one record
however often it is seen, and one that is wrong no more is resolved. `decide` looks at the records of a group and at
what its receiver was told, and says which notice is due: nothing is queued, so that a receiver that was away hears
what is true when it is back, and hears of everything that it missed. The id of a notice follows from what it says and
from how many came before, so that one that is sent again after a crash is the same. Moments are UTC in ISO 8601,
durations seconds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Literal, TypeAlias

from engine.core.canonical import digest, utc
from engine.core.monitoring import Breach, WindowReport, moment
from engine.core.records import Aftermath, Endpoint, Run, RunStatus, TriggerEvaluation
from engine.core.rollout import Phase, Rollout
from engine.core.verdict import Verdict

WARNING, CRITICAL = "warning", "critical"
Status: TypeAlias = Literal["firing", "resolved"]
CONTROLLER = "controller"
"""The label of what is wrong with one controller, which only that one knows to be over."""
FORGOTTEN_SECONDS = 3600.0
"""An alert about a controller that has not said it again for so long is resolved: that controller is gone."""
CONFIRMED_SECONDS = 600.0
"""How often the record of such an alert says that it was seen again."""
KEPT_RECORDS = 200
"""How many resolved alerts of a model are kept."""


@dataclass(frozen=True)
class Alert:
    """Something that is wrong with a model. `name` and `labels` make it the same alert; `summary` may vary."""

    model: str
    name: str
    severity: str
    summary: str
    remedy: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)

    @property
    def fingerprint(self) -> str:
        """The same for the same alert."""
        return digest({"model": self.model, "name": self.name, "labels": dict(self.labels)}).removeprefix("blake3:")[
            :16
        ]


@dataclass(frozen=True)
class AlertRecord:
    """An alert with its history. `episode` counts how often it began to fire; `resolved_at` is None while it does."""

    alert: Alert
    episode: int
    fired_at: str
    seen_at: str
    resolved_at: str | None = None

    @property
    def fingerprint(self) -> str:
        """Its alert's."""
        return self.alert.fingerprint

    @property
    def status(self) -> Status:
        """Whether it fires."""
        return "firing" if self.resolved_at is None else "resolved"


# ── what is wrong ────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Facts:
    """What is known of one model. `run` and `rollout` are the newest, `evaluation` the newest one that was due.

    `reports`: of the live release, newest first; `breaches`: of them. `troubles`: what this controller fails at, by
    what it is (`spec`, or a loop's name).
    """

    model: str
    endpoint: Endpoint | None = None
    breaches: Sequence[Breach] = ()
    reports: Sequence[WindowReport] = ()
    rollout: Rollout | None = None
    run: Run | None = None
    evaluation: TriggerEvaluation | None = None
    alarming: bool = False  # what made the evaluation due is drift or lost performance
    troubles: Mapping[str, tuple[str, str]] = field(default_factory=dict)  # text and remedy
    controller: str = ""


def firing(facts: Facts) -> tuple[Alert, ...]:
    """What is wrong now."""
    found = [
        *_breaches(facts),
        *_estimates(facts),
        *_delivery(facts),
        *_run(facts),
        *_nothing_new(facts),
        *_troubles(facts),
    ]
    return tuple({alert.fingerprint: alert for alert in found}.values())


def _breaches(facts: Facts) -> list[Alert]:
    remedy = f"See: engine monitor {facts.model}"
    version = _version(facts)
    return [
        Alert(
            facts.model,
            "MonitoringBreach",
            CRITICAL,
            f"version {version}: {breach.text}",
            remedy,
            {"kind": breach.kind, "limit": breach.name, "release": version},
        )
        for breach in facts.breaches
    ]


def _estimates(facts: Facts) -> list[Alert]:
    """What the newest window estimates without labels warns, and proves nothing."""
    if not facts.reports:
        return []
    version = _version(facts)
    return [
        Alert(
            facts.model,
            "EstimatedPerformanceLow",
            WARNING,
            f"version {version}: {check.text}",
            f"See: engine monitor {facts.model}",
            {"metric": check.name, "release": version},
        )
        for check in facts.reports[0].checks
        if check.kind == "estimate" and check.verdict is Verdict.FAIL
    ]


def _version(facts: Facts) -> str:
    return str(facts.endpoint.stable) if facts.endpoint is not None else ""


def _delivery(facts: Facts) -> list[Alert]:
    """A candidate that was sent away, or a release that was rolled back, until something else is deployed."""
    endpoint, rollout = facts.endpoint, facts.rollout
    if endpoint is None or not endpoint.aborted:
        return []
    if rollout is not None and rollout.phase is Phase.ABORTED and rollout.reason == endpoint.aborted:
        text = f"version {rollout.candidate} was sent away ({rollout.strategy.name}): {rollout.reason}"
        labels = {"release": str(rollout.candidate)}
        return [
            Alert(facts.model, "RolloutAborted", WARNING, text, f"See: engine rollout status {facts.model}", labels)
        ]
    text = f"version {endpoint.stable} is live again: {endpoint.aborted}"
    return [
        Alert(
            facts.model,
            "RolledBack",
            CRITICAL,
            text,
            f"See: engine releases {facts.model}",
            {"release": str(endpoint.previous)},
        )
    ]


def _run(facts: Facts) -> list[Alert]:
    run, due = facts.run, facts.evaluation
    if run is None or run.status not in (RunStatus.FAILED, RunStatus.STOPPED):
        return []
    retrain = due is not None and due.run_id == run.run_id
    if run.status is RunStatus.STOPPED:
        name, text = "CandidateRefused", f"a gate refused the candidate of run {run.run_id}: {run.message}"
    else:
        name, text = ("RetrainFailed" if retrain else "RunFailed"), f"run {run.run_id} failed: {run.message}"
    return [Alert(facts.model, name, WARNING, text, f"See: engine show {run.run_id}")]


def _nothing_new(facts: Facts) -> list[Alert]:
    """The world has changed, and there was nothing to learn from; until a later run is done."""
    due, run = facts.evaluation, facts.run
    if due is None or due.aftermath is not Aftermath.NOTHING_NEW or not facts.alarming:
        return []
    if (
        run is not None
        and run.status is RunStatus.DONE
        and due.settled_at is not None
        and run.started_at > due.settled_at
    ):
        return []
    text = "a retrain is due by drift or lost performance, and there is no new data to train on"
    return [Alert(facts.model, "NothingNewToLearn", WARNING, text, f"See: engine triggers {facts.model}")]


def _troubles(facts: Facts) -> list[Alert]:
    return [
        Alert(
            facts.model,
            "SpecMistaken" if what == "spec" else "ControllerFails",
            WARNING if what == "spec" else CRITICAL,
            text,
            remedy,
            {CONTROLLER: facts.controller, "part": what},
        )
        for what, (text, remedy) in sorted(facts.troubles.items())
    ]


def record(
    stored: Sequence[AlertRecord], found: Sequence[Alert], controller: str, now: datetime, over: str = ""
) -> tuple[AlertRecord, ...]:
    """The records that change, as they shall be: new ones, those that fire again, and those that are over.

    `over`: why they are, where that is not that what they say is so no more.
    """
    at = utc(now)
    known = {each.fingerprint: each for each in stored}
    changed = []
    for alert in found:
        before = known.pop(alert.fingerprint, None)
        if before is None or before.resolved_at is not None:
            changed.append(AlertRecord(alert, before.episode + 1 if before else 1, at, at))
        elif before.alert != alert or (CONTROLLER in alert.labels and _since(before.seen_at, now) > CONFIRMED_SECONDS):
            changed.append(replace(before, alert=alert, seen_at=at))
    for before in known.values():
        of = before.alert.labels.get(CONTROLLER, controller)
        if before.resolved_at is None and (of == controller or _since(before.seen_at, now) > FORGOTTEN_SECONDS):
            summary = f"{before.alert.summary} ({over})" if over else before.alert.summary
            changed.append(replace(before, alert=replace(before.alert, summary=summary), resolved_at=at))
    return tuple(changed)


# ── who is told ──────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Receiver:
    """Who is told, of what, and how often at most.

    `wait`: from an alert's beginning to the first notice, so that what comes together is told together; `interval`:
    between two notices of a group that changed; `repeat`: between two that say the same. `limit`: so many notices in
    so many seconds. `resolved`: whether it is told that an alert is over. `apart`: each kind of alert is a group.
    """

    name: str
    severity: str = WARNING
    wait: float = 10.0
    interval: float = 300.0
    repeat: float = 86400.0
    limit: tuple[int, float] | None = None
    resolved: bool = True
    apart: bool = False


@dataclass(frozen=True)
class Told:
    """What a receiver was told of a group. `alerts`: by fingerprint, the episode and its status as it was told.

    `since`: from when on it is a receiver: what was over before is none of its business. `sequence` counts notices,
    `recent` are the moments of the last ones. After failures in a row the next try is at `next_at`.
    """

    model: str
    receiver: str
    group: str
    since: str
    sequence: int = 0
    sent_at: str | None = None
    alerts: Mapping[str, tuple[int, Status]] = field(default_factory=dict)
    recent: tuple[str, ...] = ()
    failures: int = 0
    next_at: str | None = None
    error: str = ""


@dataclass(frozen=True)
class Notice:
    """What a receiver gets: the alerts of a group that fire, and those that are over since it was told last."""

    id: str
    model: str
    receiver: str
    group: str
    at: str
    alerts: tuple[AlertRecord, ...]
    repeats: float = 86400.0
    test: bool = False

    @property
    def status(self) -> Status:
        """`firing` while any of them is."""
        return "firing" if any(each.status == "firing" for each in self.alerts) else "resolved"

    @property
    def firing(self) -> tuple[AlertRecord, ...]:
        """Those that fire."""
        return tuple(each for each in self.alerts if each.status == "firing")

    @property
    def resolved(self) -> tuple[AlertRecord, ...]:
        """Those that are over."""
        return tuple(each for each in self.alerts if each.status == "resolved")


@dataclass(frozen=True)
class Later:
    """No notice is due; one may be at this moment, or never as things are."""

    at: datetime | None


def groups_of(records: Sequence[AlertRecord], receiver: Receiver) -> Mapping[str, tuple[AlertRecord, ...]]:
    """The records that a receiver is told of, by group."""
    grouped: dict[str, list[AlertRecord]] = {}
    for each in records:
        if receiver.severity == WARNING or each.alert.severity == CRITICAL:
            grouped.setdefault(each.alert.name if receiver.apart else "", []).append(each)
    return {
        group: tuple(sorted(members, key=lambda each: (each.fired_at, each.fingerprint)))
        for group, members in sorted(grouped.items())
    }


def in_turn(
    grouped: Mapping[str, tuple[AlertRecord, ...]], told: Mapping[str, Told]
) -> Sequence[tuple[str, tuple[AlertRecord, ...]]]:
    """The groups of a receiver, those told longest ago first: under a limit nobody's repetitions silence another."""
    return sorted(grouped.items(), key=lambda item: (told[item[0]].sent_at or "" if item[0] in told else "", item[0]))


def decide(
    records: Sequence[AlertRecord], told: Told, receiver: Receiver, lineage: str, now: datetime, recent: Sequence[str]
) -> Notice | Later:
    """The notice that is due for a group. `recent`: when the receiver got its last ones, of whatever group."""
    fresh = [each for each in records if _is_news(each, told, receiver)]
    over = [each for each in records if _is_over(each, told, receiver)]
    still = [each for each in records if each.status == "firing" and each not in fresh]
    if fresh or over:
        first = moment(told.sent_at) + timedelta(seconds=receiver.interval) if told.sent_at else None
        waited = [moment(each.fired_at) + timedelta(seconds=receiver.wait) for each in fresh]
        due = min(waited) if waited and not over else now
        due = max(due, first) if first else due
    elif still and told.sent_at:
        due = moment(told.sent_at) + timedelta(seconds=receiver.repeat)
    else:
        return Later(None)
    due = max(filter(None, (due, _allowed_at(receiver, recent), moment(told.next_at) if told.next_at else None)))
    if due > now:
        return Later(due)
    alerts = tuple(each for each in records if each in fresh or each in over or each in still)
    return Notice(
        _id(lineage, told, alerts), told.model, told.receiver, told.group, utc(now), alerts, repeats=receiver.repeat
    )


def _is_news(each: AlertRecord, told: Told, receiver: Receiver) -> bool:
    """Whether it fires and the receiver thinks that it does not; or fired for long enough, and was never told."""
    episode, status = told.alerts.get(each.fingerprint, (0, "resolved"))
    if each.resolved_at is None:
        return status == "resolved" or (not receiver.resolved and each.episode > episode)
    lasted = moment(each.resolved_at) - moment(each.fired_at)
    missed = each.episode > episode and each.resolved_at > told.since and status == "resolved"
    return missed and lasted >= timedelta(seconds=receiver.wait)


def _is_over(each: AlertRecord, told: Told, receiver: Receiver) -> bool:
    _, status = told.alerts.get(each.fingerprint, (0, "resolved"))
    return receiver.resolved and each.resolved_at is not None and status == "firing"


def _allowed_at(receiver: Receiver, recent: Sequence[str]) -> datetime | None:
    """When the limit lets the next notice through; None: at once."""
    if receiver.limit is None:
        return None
    count, seconds = receiver.limit
    newest = sorted(recent, reverse=True)[:count]
    return moment(newest[-1]) + timedelta(seconds=seconds) if len(newest) == count else None


def _id(lineage: str, told: Told, alerts: Sequence[AlertRecord]) -> str:
    said = [[each.fingerprint, each.episode, each.status, each.alert.summary] for each in alerts]
    of = [lineage, told.model, told.receiver, told.group, told.sequence, said]
    return digest(of).removeprefix("blake3:")[:32]


def sent(told: Told, notice: Notice, records: Sequence[AlertRecord], receiver: Receiver) -> Told:
    """What the receiver knows once it got the notice. Alerts that are gone from the records are forgotten."""
    known = {each.fingerprint for each in records}
    kept = {fingerprint: said for fingerprint, said in told.alerts.items() if fingerprint in known}
    said = {each.fingerprint: (each.episode, each.status) for each in notice.alerts}
    most = receiver.limit[0] if receiver.limit else 0
    return replace(
        told,
        sequence=told.sequence + 1,
        sent_at=notice.at,
        alerts={**kept, **said},
        recent=(*told.recent, notice.at)[-most:] if most else (),
        failures=0,
        next_at=None,
        error="",
    )


def failed(told: Told, error: str, now: datetime, wait: float) -> Told:
    """The same after a notice that did not get through; the next try is after `wait` seconds."""
    return replace(told, failures=told.failures + 1, next_at=utc(now + timedelta(seconds=wait)), error=error)


def _since(at: str, now: datetime) -> float:
    return (now - moment(at)).total_seconds()
