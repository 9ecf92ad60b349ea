"""The schedule against a brute-force cron, over every change of ten zones' clocks, and against other projects' tables.

ENGINE_SOAK=1: 100,000 random expressions and times instead of 1,000; around every change all quarter hours of a day,
and rhythms at all changes instead of each zone's first four.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from functools import cache
from zoneinfo import ZoneInfo

import pytest
from brute_cron import BruteCron, minute_of, numbers
from cron_tables import DAYS, DIFFERENT, FIRES, PARSED, REFUSED

from engine.triggers.cron import CronError, parse_cron
from engine.triggers.scheduled import Block
from engine.triggers.wall_clock import next_fire

SOAK = os.environ.get("ENGINE_SOAK") == "1"
UTC = timezone.utc
DAY = timedelta(days=1)
ZONES = {  # with the years whose changes are looked at
    "Europe/Berlin": (2020, 2035),
    "Europe/London": (2020, 2035),
    "America/New_York": (2020, 2035),
    "America/Santiago": (2020, 2035),
    "Australia/Lord_Howe": (2020, 2035),  # half an hour
    "Africa/Casablanca": (2020, 2035),  # back for Ramadan
    "Africa/Cairo": (2020, 2035),  # at midnight
    "Asia/Tehran": (2020, 2035),  # until 2022, at midnight
    "Pacific/Apia": (2020, 2035),  # until 2021
    "America/Sao_Paulo": (2010, 2019),  # at midnight, until 2019
}


def fires(cron: str, zone: str, start: datetime, end: datetime) -> list[datetime]:
    """All moments (UTC) in [start, end)."""
    found = []
    moment = next_fire({"cron": cron, "timezone": zone}, start - timedelta(seconds=1))
    while moment is not None and moment < end:
        found.append(moment.astimezone(UTC))
        moment = next_fire({"cron": cron, "timezone": zone}, moment)
    return found


@cache
def changes(zone: str) -> tuple[datetime, ...]:
    """Every moment at which the zone's clock is put forward or back."""
    first, last = ZONES[zone]
    at, found = datetime(first, 1, 1, tzinfo=UTC), []

    def offset(moment: datetime) -> timedelta | None:
        return moment.astimezone(ZoneInfo(zone)).utcoffset()

    while at.year <= last:
        if offset(at) != offset(at + DAY / 2):
            quarters = [at + timedelta(minutes=15 * n) for n in range(1, 49)]
            found += [q for q in quarters if offset(q) != offset(q - timedelta(minutes=15))]
        at += DAY / 2
    return tuple(found)


def clock_times(change: datetime, zone: str) -> Iterator[tuple[int, int]]:
    """Hours and minutes around a change; in the soak every quarter hour of the day and the minutes beside it."""
    wall = change.astimezone(ZoneInfo(zone))
    for minutes in range(-720 if SOAK else -120, 720 if SOAK else 120, 15 if SOAK else 60):
        for beside in (-1, 0, 1) if SOAK else (0,):
            at = wall + timedelta(minutes=minutes + beside)
            yield at.hour, at.minute


def test_there_are_changes_to_look_at() -> None:
    counts = {zone: len(changes(zone)) for zone in ZONES}
    assert counts["Europe/Berlin"] == counts["Australia/Lord_Howe"] == 32
    assert counts["Asia/Tehran"] == 6
    assert counts["America/Sao_Paulo"] == 19
    assert sum(counts.values()) == 248


@pytest.mark.parametrize("zone", ZONES)
def test_no_change_of_a_clock_loses_or_doubles_a_run(zone: str) -> None:
    """A daily time runs once on each of the days around every change; a rhythm runs in every matching real minute."""
    for number, change in enumerate(changes(zone)):
        midnight = datetime.combine(change.astimezone(ZoneInfo(zone)).date() - DAY, datetime.min.time(), ZoneInfo(zone))
        start = midnight.astimezone(UTC)
        end = datetime.combine(midnight.date() + 3 * DAY, datetime.min.time(), ZoneInfo(zone)).astimezone(UTC)
        for hour, minute in set(clock_times(change, zone)):
            found = fires(f"{minute} {hour} * * *", zone, start, end)
            days = Counter(moment.astimezone(ZoneInfo(zone)).date() for moment in found)
            assert days == {midnight.date() + n * DAY: 1 for n in range(3)}, (change, hour, minute)
        if number >= 4 and not SOAK:
            continue
        for cron in ("*/30 * * * *", "0 * * * *", "15,45 */2 * * *", "0,30 0-3 * * *", "59 23 * * *", "0 0 * * *"):
            assert fires(cron, zone, start, end) == BruteCron(cron, zone).fires(start, end), (change, cron)


def random_field(pick: random.Random, index: int) -> str:
    low, high = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))[index]
    first, last = sorted(pick.choices(range(low, high + 1), k=2))
    step = pick.randint(1, high)
    one = [str(first), f"{first}-{last}", f"{first}-{last}/{step}", f"*/{step}"]
    return pick.choice(["*", "*", pick.choice(one), ",".join(pick.choices(one, k=pick.randint(1, 3)))])


def test_two_implementations_agree() -> None:
    """Random expressions, zones and times; what neither finds within ten days, or refuses, agrees too."""
    pick = random.Random(20260101)
    agreed = 0
    for _ in range(100_000 if SOAK else 1_000):
        cron, zone = " ".join(random_field(pick, index) for index in range(5)), pick.choice(list(ZONES))
        try:
            parse_cron(cron)
        except CronError as error:
            assert "never fires" in str(error), cron
            continue
        start = datetime(2020, 1, 1, tzinfo=UTC) + timedelta(minutes=pick.randrange(15 * 365 * 1440))
        span = timedelta(days=pick.choice([1, 1, 1, 10]))
        expected = BruteCron(cron, zone).run_minutes(
            start - DAY, start + span
        )  # from a day before: gaps are seen whole
        following = next_fire({"cron": cron, "timezone": zone}, start - timedelta(seconds=1))
        later = [minute for minute in expected if minute >= minute_of(start)]
        if later:
            assert following is not None, cron
            assert minute_of(following) == later[0], (cron, zone, start)
            agreed += 1
        else:
            assert following is None or following >= start + span, (cron, zone, start)
    assert agreed > (30_000 if SOAK else 250)


@pytest.mark.parametrize(("project", "cron", "zone", "start", "expected"), FIRES)
def test_times_that_other_projects_expect(project: str, cron: str, zone: str, start: str, expected: str) -> None:
    moment: datetime | None = datetime.fromisoformat(start).replace(tzinfo=ZoneInfo(zone))
    for text in expected.split(", "):
        assert moment is not None
        moment = next_fire({"cron": cron, "timezone": zone}, moment)
        assert f"{moment:%d %H:%M %z}" == text


@pytest.mark.parametrize(("project", "cron", "start", "expected"), DAYS)
def test_days_that_other_projects_expect(project: str, cron: str, start: str, expected: str) -> None:
    moment: datetime | None = datetime.fromisoformat(start).replace(tzinfo=UTC)
    for text in expected.split(", "):
        assert moment is not None
        moment = next_fire({"cron": cron, "timezone": "UTC"}, moment)
        assert f"{moment:%Y-%m-%d %H:%M}" == text


@pytest.mark.parametrize(("project", "cron", "index", "expected"), PARSED)
def test_numbers_that_other_projects_read(project: str, cron: str, index: int, expected: set[int]) -> None:
    parse_cron(cron)
    assert numbers(cron.split()[index], index) == expected
    assert {int(number) for number in parse_cron(cron).expression.split()[index].split(",")} == expected


@pytest.mark.parametrize(("project", "cron"), REFUSED)
def test_what_other_projects_refuse(project: str, cron: str) -> None:
    with pytest.raises(CronError):
        parse_cron(cron)


@pytest.mark.parametrize(("project", "cron", "what"), DIFFERENT)
def test_what_debian_does_not_know_is_refused(project: str, cron: str, what: str) -> None:
    with pytest.raises(CronError) as caught:
        parse_cron(cron)
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("cron", "warned"),
    [
        ("0 0 13 * 5", True),
        ("0 0 1-7 * mon", True),
        ("0 0 */2 * 1", False),  # begins with *: both have to hold
        ("0 0 1-7 * */7", False),
        ("0 0 1 * *", False),
        ("0 0 * * 1", False),
    ],
)
def test_day_or_weekday_is_warned_of_where_it_is_or(cron: str, warned: bool) -> None:
    block = Block.model_validate({"type": "scheduled", "cron": cron})
    assert bool(block.warnings()) is warned


@pytest.mark.parametrize("cron", ["0 0 31 2 *", "0 0 31 4,6,9,11 *", "0 0 30-31 2 */2"])
def test_never_is_refused(cron: str) -> None:
    with pytest.raises(CronError, match="never fires"):
        parse_cron(cron)
