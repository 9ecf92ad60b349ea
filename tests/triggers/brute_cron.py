"""A second cron, written to be obviously right: it walks minute by minute and shares no code with the engine's.

Debian's rule (cron(8)) in its own words: a job with `*` in minute or hour runs in every minute of real time whose
wall clock matches. Any other job runs once for each matching minute of the calendar: when the wall clock first shows
it, or in the first minute after the gap that swallowed it.
"""

from __future__ import annotations

import calendar
from datetime import date, datetime, timedelta, timezone
from functools import lru_cache
from zoneinfo import ZoneInfo

EPOCH = datetime(1970, 1, 1)
QUARTER = 15  # minutes; every offset since 1980 changes at a quarter of an hour UTC
NAMES = {
    3: {calendar.month_abbr[month].lower(): month for month in range(1, 13)},
    4: {calendar.day_abbr[day - 1].lower(): day % 7 for day in range(1, 8)},
}
LOW = (0, 0, 1, 1, 0)
HIGH = (59, 23, 31, 12, 7)


def numbers(field: str, index: int) -> frozenset[int]:
    """The numbers that a field allows, by trying each."""
    for name, number in NAMES.get(index, {}).items():
        field = field.lower().replace(name, str(number))
    return frozenset(
        n for n in range(LOW[index], HIGH[index] + 1) if any(within(n, part, index) for part in field.split(","))
    )


def within(n: int, part: str, index: int) -> bool:
    span, _, step = part.partition("/")
    low, _, high = (f"{LOW[index]}-{HIGH[index]}" if span == "*" else span).partition("-")
    first, last = int(low), int(high or low)
    return first <= n <= last and (n - first) % int(step or 1) == 0


class BruteCron:
    """An expression in a zone."""

    def __init__(self, expression: str, zone: str) -> None:
        self.fields = expression.split()
        self.allowed = [numbers(field, index) for index, field in enumerate(self.fields)]
        self.zone = zone
        self.days: dict[int, bool] = {}
        self.minutes = {hour * 60 + minute for hour in self.allowed[1] for minute in self.allowed[0]}

    def matches(self, wall: int) -> bool:
        """Whether a wall-clock minute (since 1970) is one of the job's."""
        return wall % 1440 in self.minutes and self.day_matches(wall // 1440)

    def day_matches(self, day: int) -> bool:
        if day not in self.days:
            at = date(1970, 1, 1) + timedelta(days=day)
            of_month = at.day in self.allowed[2]
            of_week = bool({at.isoweekday(), at.isoweekday() % 7} & self.allowed[4])
            # cron(5): when both are restricted (neither begins with *), either is enough.
            stars = self.fields[2].startswith("*") or self.fields[4].startswith("*")
            days = of_month and of_week if stars else of_month or of_week
            self.days[day] = at.month in self.allowed[3] and days
        return self.days[day]

    def fires(self, start: datetime, end: datetime) -> list[datetime]:
        """Every moment (UTC) in [start, end) at which it runs; `start` must not be within a day of a change."""
        return [moment_of(minute) for minute in self.run_minutes(start, end)]

    def run_minutes(self, start: datetime, end: datetime) -> list[int]:
        """The same as minutes since 1970."""
        first, last = minute_of(start), minute_of(end)
        if not any(self.day_matches(day) for day in range(first // 1440 - 1, last // 1440 + 2)):
            return []
        shown = walls(self.zone, first, last)
        if self.fields[0].startswith("*") or self.fields[1].startswith("*"):
            return [minute for minute, wall in shown if self.matches(wall)]
        runs = set()
        latest = shown[0][1] - 1  # the latest wall-clock minute that was shown or jumped
        for minute, wall in shown:
            if wall > latest:
                if any(self.matches(due) for due in range(latest + 1, wall + 1)):
                    runs.add(minute)
                latest = wall
        return sorted(runs)


def minute_of(at: datetime) -> int:
    return -(-int((at.astimezone(timezone.utc).replace(tzinfo=None) - EPOCH).total_seconds()) // 60)


def moment_of(minute: int) -> datetime:
    return (EPOCH + timedelta(minutes=minute)).replace(tzinfo=timezone.utc)


@lru_cache(maxsize=4)
def walls(zone: str, first: int, last: int) -> list[tuple[int, int]]:
    """(minute UTC, its wall-clock minute) for every minute in [first, last), all since 1970."""
    found = []
    for quarter in range(first - first % QUARTER, last, QUARTER):
        offset = moment_of(quarter).astimezone(ZoneInfo(zone)).utcoffset()
        assert offset is not None
        ahead = int(offset.total_seconds()) // 60
        found += [(m, m + ahead) for m in range(quarter, quarter + QUARTER) if first <= m < last]
    return found
