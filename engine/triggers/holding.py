"""What holds back a retrain that is due: cooldown, budget, quiet hours, a freeze. Pure.

Each says until when; the answer is the first moment at which none of them holds any more.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, timezone
from typing import Any

from engine.spec.units import format_duration
from engine.triggers.decision import spoken
from engine.triggers.facts import Past
from engine.triggers.wall_clock import first_after, zone_of

_LOOKS = 1_000  # so many ends of quiet hours and freezes are looked past


@dataclass(frozen=True)
class Holding:
    """Why a retrain may not start, and when it may."""

    reason: str
    until: datetime


def hold(block: Mapping[str, Any], past: Past, now: datetime) -> Holding | None:
    """What holds a trigger or a group now; None when it may start. `reason` is of what holds it now."""
    first: Holding | None = None
    at = now
    for _ in range(_LOOKS):
        found = max(_holdings(block, past, at), key=lambda each: each.until, default=None)
        if found is None:
            break
        first = first or found
        at = found.until
    return Holding(first.reason, at) if first else None


def _holdings(block: Mapping[str, Any], past: Past, at: datetime) -> Iterator[Holding]:
    if block["cooldown"]:
        yield from _cooldown(block["cooldown"], past, at)
    if block["budget"]:
        yield from _budget(block["budget"], past, at)
    if block.get("quiet_hours"):
        yield from _quiet(block["quiet_hours"], at)
    for freeze in block.get("freeze") or ():
        yield from _freeze(freeze, at)


def _cooldown(seconds: float, past: Past, at: datetime) -> Iterator[Holding]:
    if past.retrains and at < (until := past.retrains[0] + timedelta(seconds=seconds)):
        last = spoken(past.retrains[0])
        yield Holding(f"cooldown of {format_duration(seconds)}, the last retrain began {last}", until)


def _budget(budget: Mapping[str, int], past: Past, at: datetime) -> Iterator[Holding]:
    """At most `count` retrains within any `period`: the oldest of the last `count` has to be that long ago."""
    if len(past.retrains) >= budget["count"]:
        until = past.retrains[budget["count"] - 1] + timedelta(seconds=budget["period"])
        if at < until:
            yield Holding(f"budget of {budget['count']} in {format_duration(budget['period'])} is used up", until)


def _quiet(quiet: Mapping[str, Any], at: datetime) -> Iterator[Holding]:
    """Wall-clock time in [from, to), over midnight too."""
    zone = zone_of(quiet["timezone"])
    start, end = time.fromisoformat(quiet["from"]), time.fromisoformat(quiet["to"])
    clock = at.astimezone(zone).time()
    inside = start <= clock < end if start < end else clock >= start or clock < end
    if inside:
        hours = f"quiet hours {quiet['from']} to {quiet['to']} {quiet['timezone']}"
        yield Holding(hours, first_after(end, zone, at))


def _freeze(freeze: Mapping[str, Any], at: datetime) -> Iterator[Holding]:
    """Whole days of a zone, both ends included."""
    zone = zone_of(freeze["timezone"])
    last = date.fromisoformat(freeze["to"])
    if date.fromisoformat(freeze["from"]) <= at.astimezone(zone).date() <= last:
        morning = datetime.combine(last + timedelta(days=1), time(), zone)
        yield Holding(f"freeze {freeze['from']} to {freeze['to']}", morning.astimezone(timezone.utc))
