"""A model whose triggers are asked again and again, and whose retrains change the facts, all in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

from engine import kinds
from engine.core.canonical import utc
from engine.core.records import Aftermath, Event, EventKind, TriggerEvaluation
from engine.core.verdict import Verdict
from engine.spec.binding import Binder
from engine.spec.yaml_tree import parse_tree
from engine.triggers import group
from engine.triggers.decision import Due, Outcome
from engine.triggers.drift import settings_key
from engine.triggers.evaluation import judged_of, past_of, record_of
from engine.triggers.facts import Champion, DataNow, DriftCheck, Facts, Snapshot, Window

START = datetime(2026, 3, 2, 8, tzinfo=timezone.utc)  # a Monday
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


def resolved(text: str) -> dict[str, Any]:
    """A `retrain_trigger` as the spec's loader resolves it."""
    binder = Binder(kinds.KINDS)
    parsed = parse_tree(f"trigger: {text}".encode(), "spec.yaml")
    assert parsed.root is not None
    block = binder.trigger(parsed.root.fields["trigger"])
    assert not binder.diagnostics, binder.diagnostics
    assert block is not None
    return block


def event(id: str, kind: EventKind = EventKind.MANUAL, name: str = "", reason: str = "new prices") -> Event:
    return Event(id, "churn", kind, name, reason, "ana", utc(START))


class TriggeredModel:
    """`churn`, live as version 1 since a day before START, trained on 1,000 rows then."""

    def __init__(self, trigger: str | None, **facts: Any) -> None:
        self.block = resolved(trigger) if trigger else None
        snapshot = Snapshot("blake3:old", 1_000, START - DAY)
        champion = Champion(1, START - DAY, snapshot, {"accuracy": 0.9, "rmse": 2.0})
        self.facts = Facts("churn", START, champion, snapshot, DataNow("blake3:old", 1_000), **facts)
        self.stored: list[TriggerEvaluation] = []
        self.retrains: list[datetime] = []

    def ask(self, after: timedelta = timedelta(0), **facts: Any) -> Outcome:
        """Let time pass, look, and keep what was said."""
        self.facts = replace(self.facts, now=self.facts.now + after, **facts)
        due = [each for each in self.stored if each.status == "due"]
        self.facts = replace(self.facts, past=past_of(self.stored, due))
        judged = group.evaluate(self.block, self.facts, kinds.TRIGGERS)
        record = record_of(judged, self.facts)
        assert judged_of(record) == judged, "what is stored is what was said"
        self.stored.insert(0, record)
        return judged.outcome

    def settle(self, aftermath: Aftermath) -> None:
        """What became of the due evaluation: a release is live at once; nothing new leaves everything as it was."""
        outcome = judged_of(self.stored[0]).outcome
        assert isinstance(outcome, Due)
        now = self.facts.now
        self.stored[0] = replace(self.stored[0], aftermath=aftermath, settled_at=utc(now))
        taken = set(outcome.events)
        events = tuple(each for each in self.facts.events if each.id not in taken)
        self.facts = replace(self.facts, events=events)
        if aftermath is Aftermath.NOTHING_NEW:
            return
        self.retrains.append(now)
        data = self.facts.data
        assert data is not None
        snapshot = Snapshot(data.digest, data.rows, now)
        self.facts = replace(self.facts, attempted=snapshot)
        if aftermath is Aftermath.RELEASED:
            assert self.facts.champion is not None
            champion = Champion(self.facts.champion.version + 1, now, snapshot, self.facts.champion.metrics)
            self.facts = replace(self.facts, champion=champion)

    def check(self, drift: str, *, days: Sequence[int] | None = None) -> None:
        """Windows of a day each, oldest first: `d` drift, `.` none, `?` inconclusive. They end at midnight."""
        assert self.block is not None and self.facts.champion is not None
        key = settings_key(_drift_of(self.block))
        verdicts = {"d": Verdict.FAIL, ".": Verdict.PASS, "?": Verdict.INCONCLUSIVE}
        for letter in drift:
            start = self.facts.windows[0].end if self.facts.windows else START - timedelta(hours=8)
            check = DriftCheck(verdicts[letter], 0.3, ("tenure",), "tenure: KS 0.30")
            window = Window(f"{start:%m-%d}", start, start + DAY, self.facts.champion.version, {key: check})
            self.facts = replace(self.facts, windows=(window, *self.facts.windows))
            self.facts = replace(self.facts, now=max(self.facts.now, window.end))


def _drift_of(block: Mapping[str, Any]) -> Mapping[str, Any]:
    members = [*block.get("any_of", ()), *block.get("all_of", ())]
    return next(member for member in members if member.get("type") == "drift")
