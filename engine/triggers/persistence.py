"""k of the last n windows: an alarm counts when it persists. Pure.

Inconclusive windows (too few rows, labels still to come, a detector that failed) count neither way: the last n are
the last n that say something. Windows that were looked at before the trigger was last handled, or that show another
release, are over: a retrain for the same evidence twice would learn nothing from it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from engine.core.canonical import Json, utc
from engine.core.verdict import Verdict
from engine.triggers.decision import NotDue
from engine.triggers.facts import Facts, Past, Window


@dataclass(frozen=True)
class Said:
    """What one window says, and the figures behind it in words."""

    window: Window
    verdict: Verdict
    text: str


@dataclass(frozen=True)
class Persistence:
    """Alarms among the windows that count. `alarms` are newest first, `silent` the inconclusive ones."""

    count: int
    of: int
    conclusive: tuple[Said, ...]
    silent: tuple[Said, ...]

    @property
    def alarms(self) -> tuple[Said, ...]:
        return tuple(said for said in self.conclusive if said.verdict is Verdict.FAIL)

    @property
    def persists(self) -> bool:
        return len(self.alarms) >= self.count

    def text(self, what: str) -> str:
        """`drift in 1 of the last 3 windows, 2 needed`; how many of them there are when there are fewer."""
        if not self.conclusive:
            found = "no window says anything yet"
        elif len(self.conclusive) == 1:
            found = f"{what} in {len(self.alarms)} window, the only one so far"
        else:
            found = f"{what} in {len(self.alarms)} of the last {len(self.conclusive)} windows"
        needed = "" if self.persists else f", {self.count} of {self.of} needed"
        if needed and len(self.conclusive) == self.of:
            needed = f", {self.count} needed"
        silent = f" ({len(self.silent)} inconclusive)" if self.silent else ""
        return found + needed + silent

    def details(self) -> dict[str, Json]:
        """For the record: every window with what it says."""
        said = sorted([*self.conclusive, *self.silent], key=lambda each: each.window.end, reverse=True)
        rows: list[Json] = [
            {
                "id": each.window.id,
                "start": utc(each.window.start),
                "end": utc(each.window.end),
                "verdict": each.verdict.value,
                "text": each.text,
            }
            for each in said
        ]
        return {"alarms": len(self.alarms), "needed": self.count, "of": self.of, "windows": rows}


def persistence_of(
    settings: Mapping[str, Any],
    facts: Facts,
    past: Past,
    judge: Callable[[Window], tuple[Verdict, str]],
    known_at: Callable[[Window], datetime] = lambda window: window.end,
) -> Persistence:
    """Judge the windows that count, newest first, until `of` of them said something.

    `known_at` says since when a window can say it: one that was not known when the trigger was handled still counts.
    """
    conclusive: list[Said] = []
    silent: list[Said] = []
    for window in _counted(facts, past, known_at):
        said = Said(window, *judge(window))
        if said.verdict in (Verdict.PASS, Verdict.FAIL):
            conclusive.append(said)
        elif len(silent) < settings["windows"]:
            silent.append(said)
        if len(conclusive) == settings["windows"]:
            break
    return Persistence(settings["count"], settings["windows"], tuple(conclusive), tuple(silent))


def while_on_trial(trigger: str, found: str, facts: Facts, details: Mapping[str, Json]) -> NotDue:
    """What persists is answered already: the next release is on trial, and a further one would put it aside."""
    return NotDue(trigger, f"{found}; version {facts.on_trial} is on trial for it", None, details)


def _counted(facts: Facts, past: Past, known_at: Callable[[Window], datetime]) -> Sequence[Window]:
    champion = facts.champion
    if champion is None:
        return ()
    return [
        window
        for window in facts.windows
        if window.version == champion.version and (past.handled_at is None or known_at(window) > past.handled_at)
    ]
