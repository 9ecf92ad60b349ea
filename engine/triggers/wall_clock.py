"""When a cron expression fires next on the wall clock of a zone. Pure; imports no pydantic, for plans ask it.

Cron is wall-clock time in its own zone, by Debian's rule for daylight saving (cron(8)): a job at a fixed time
runs once on the day the clock changes, right after the gap if its time is skipped, the first time if its time
comes twice. A job with `*` in its minute or hour keeps to its rhythm in real time.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, time, timedelta, timezone, tzinfo
from typing import Any

from engine.core.canonical import digest_bytes
from engine.triggers.cron import Cron, parse_cron

_MINUTE = timedelta(minutes=1)
_DAY = timedelta(days=1)
_LONGEST_GAP = timedelta(hours=25)  # a zone that crossed the date line skipped a whole day
_HORIZON = timedelta(days=366 * 41)  # a leap day on a given weekday comes back within 40 years


def zone_of(name: str) -> tzinfo:
    """The time zone of this name; raises ValueError or KeyError if there is none."""
    if name == "UTC":
        return timezone.utc
    from zoneinfo import ZoneInfo

    return ZoneInfo(name)


def jitter_of(model: str, most: float | None) -> timedelta:
    """The fixed delay of a model within `most` seconds: a hash of its name, the same on every machine."""
    if not most:
        return timedelta(0)
    share = int(digest_bytes(model.encode()).removeprefix("blake3:")[:12], 16) / 16**12
    return timedelta(seconds=int(share * most))


def next_fire(block: Mapping[str, Any], after: datetime) -> datetime | None:
    """The first time strictly later than `after` (aware) at which the resolved block fires, in its own zone."""
    cron = parse_cron(block["cron"])
    zone = zone_of(block["timezone"])
    search = _next_in_rhythm if cron.rhythmic else _next_fixed
    found = search(cron, zone, after.astimezone(timezone.utc))
    return found.astimezone(zone) if found else None


def first_after(clock: time, zone: tzinfo, after: datetime) -> datetime:
    """The first moment (UTC) strictly later than `after` at which a clock in the zone shows this time, or jumps it."""
    day = after.astimezone(zone).date()
    for ahead in range(4):  # a zone that crossed the date line skipped a whole day
        wall = datetime.combine(day + timedelta(days=ahead), clock)
        second = wall.replace(tzinfo=zone, fold=1).astimezone(timezone.utc)
        for instant in (_instant(wall, zone), second):
            if instant > after:
                return instant
    raise ValueError(f"no {clock} within four days")  # pragma: no cover - every day has every time, or jumps it


def _next_fixed(cron: Cron, zone: tzinfo, after: datetime) -> datetime | None:
    wall = after.astimezone(zone).replace(tzinfo=None) - _LONGEST_GAP
    end = wall + _HORIZON
    while (wall := _next_wall(cron, wall)) < end:
        instant = _instant(wall, zone)
        if instant > after:
            return instant
    return None


def _instant(wall: datetime, zone: tzinfo) -> datetime:
    """The moment (UTC) of a wall-clock time: the first of two, the end of the gap that swallowed it."""
    instant = wall.replace(tzinfo=zone).astimezone(timezone.utc)
    if instant.astimezone(zone).replace(tzinfo=None) == wall:
        return instant
    return _change_after(zone, instant - _LONGEST_GAP, instant + _LONGEST_GAP) or instant


def _next_in_rhythm(cron: Cron, zone: tzinfo, after: datetime) -> datetime | None:
    """Walk from one change of the zone's offset to the next; between them wall-clock time is plain arithmetic."""
    moment = after
    end = after + _HORIZON
    while moment < end:
        offset = moment.astimezone(zone).utcoffset() or timedelta(0)
        found = _next_wall(cron, moment.replace(tzinfo=None) + offset).replace(tzinfo=timezone.utc) - offset
        change = _change_after(zone, moment, min(found, end))
        if change is None:
            return found if found < end else None
        moment = change
        if _matches(cron, moment.astimezone(zone)):
            return moment
    return None


def _matches(cron: Cron, local: datetime) -> bool:
    wall = local.replace(tzinfo=None)
    return not (wall.second or wall.microsecond) and _next_wall(cron, wall - timedelta(seconds=1)) == wall


def _change_after(zone: tzinfo, start: datetime, end: datetime) -> datetime | None:
    """The first moment in (start, end] at which the zone's offset is not that of the moment before."""
    offset = start.astimezone(zone).utcoffset()
    low = start
    while low < end:
        high = min(low + _DAY, end)
        if high.astimezone(zone).utcoffset() != offset:
            return _bisect_change(zone, low, high)
        low = high
    return None


def _bisect_change(zone: tzinfo, low: datetime, high: datetime) -> datetime:
    offset = low.astimezone(zone).utcoffset()
    while high - low > timedelta(seconds=1):
        middle = low + (high - low) / 2
        middle = middle.replace(microsecond=0) if middle.replace(microsecond=0) > low else middle
        if middle.astimezone(zone).utcoffset() == offset:
            low = middle
        else:
            high = middle
    return high.replace(microsecond=0)


def _next_wall(cron: Cron, wall: datetime) -> datetime:
    """The next match after a naive wall-clock time."""
    from croniter import croniter

    found: datetime = croniter(cron.expression, wall, ret_type=datetime, day_or=cron.either_day).get_next()
    return found
