from __future__ import annotations

from datetime import datetime, timedelta, timezone
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from engine.triggers.cron import CronError, parse_cron
from engine.triggers.scheduled import Block
from engine.triggers.wall_clock import next_fire

BERLIN = ZoneInfo("Europe/Berlin")
UTC = timezone.utc


def fires(cron: str, zone: str, start: datetime, end: datetime) -> list[datetime]:
    block = {"cron": cron, "timezone": zone}
    found: list[datetime] = []
    moment = next_fire(block, start)
    while moment is not None and moment <= end:
        assert not found or moment.astimezone(UTC) > found[-1].astimezone(UTC)
        found.append(moment)
        moment = next_fire(block, moment)
    return found


def walls(found: list[datetime]) -> list[str]:
    return [f"{moment:%d %H:%M %z}" for moment in found]


SPRING = (
    datetime(2026, 3, 28, 12, tzinfo=BERLIN),
    datetime(2026, 3, 30, 0, tzinfo=BERLIN),
)  # 02:00 → 03:00 on the 29th
AUTUMN = (
    datetime(2026, 10, 24, 12, tzinfo=BERLIN),
    datetime(2026, 10, 26, 0, tzinfo=BERLIN),
)  # 03:00 → 02:00 on the 25th


@pytest.mark.parametrize(
    ("cron", "days", "expected"),
    [
        ("30 2 * * *", SPRING, ["29 03:00 +0200"]),
        ("15,45 2 * * *", SPRING, ["29 03:00 +0200"]),
        ("0 3 * * *", SPRING, ["29 03:00 +0200"]),
        ("30 1 * * *", SPRING, ["29 01:30 +0100"]),
        ("30 2 * * *", AUTUMN, ["25 02:30 +0200"]),
        ("0 3 * * *", AUTUMN, ["25 03:00 +0100"]),
        ("0 2-3 * * *", AUTUMN, ["25 02:00 +0200", "25 03:00 +0100"]),
    ],
)
def test_a_fixed_time_runs_once_when_the_clock_changes(
    cron: str, days: tuple[datetime, datetime], expected: list[str]
) -> None:
    assert walls(fires(cron, "Europe/Berlin", *days)) == expected


def test_a_rhythm_keeps_to_real_time_when_the_clock_changes() -> None:
    for start, end in (SPRING, AUTUMN):
        found = [moment.astimezone(UTC) for moment in fires("*/30 * * * *", "Europe/Berlin", start, end)]
        assert {later - earlier for earlier, later in pairwise(found)} == {timedelta(minutes=30)}


def test_zones_that_change_at_odd_times() -> None:
    start = datetime(2026, 4, 4, 12, tzinfo=UTC)
    assert len(fires("45 1 * * *", "Australia/Lord_Howe", start, start + timedelta(days=2))) == 2
    start = datetime(2011, 12, 28, 12, tzinfo=UTC)  # Samoa had no 30 December 2011
    found = fires("0 12 * * *", "Pacific/Apia", start, start + timedelta(days=3))
    assert walls(found) == ["28 12:00 -1000", "29 12:00 -1000", "31 00:00 +1400", "31 12:00 +1400"]


def test_rare_schedules() -> None:
    after = datetime(2096, 3, 1, tzinfo=UTC)
    assert next_fire({"cron": "0 0 29 2 *", "timezone": "UTC"}, after) == datetime(2104, 2, 29, tzinfo=UTC)
    sunday = next_fire({"cron": "0 0 * * 0", "timezone": "UTC"}, datetime(2026, 11, 23, 4, tzinfo=UTC))
    assert sunday == datetime(2026, 11, 29, tzinfo=UTC)


FIXED = st.tuples(st.integers(0, 59), st.integers(0, 23)).map(lambda mh: f"{mh[0]} {mh[1]} * * *")
ZONES = st.sampled_from(
    ["Europe/Berlin", "America/New_York", "America/Santiago", "Australia/Lord_Howe", "UTC", "Asia/Kolkata"]
)
MOMENTS = st.datetimes(datetime(2020, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC))


@given(cron=FIXED, zone=ZONES, start=MOMENTS)
def test_a_daily_time_fires_exactly_once_on_every_local_day(cron: str, zone: str, start: datetime) -> None:
    local = start.astimezone(ZoneInfo(zone))
    first = local.replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(seconds=1)
    found = fires(cron, zone, first, first + timedelta(days=20))
    days = [moment.date() for moment in found]
    assert len(days) == len(set(days))
    assert all(later - earlier == timedelta(days=1) for earlier, later in pairwise(days))


@given(cron=FIXED | st.sampled_from(["*/7 * * * *", "5 */3 1,15 * *", "0 0 29 2 *"]), zone=ZONES, after=MOMENTS)
def test_the_next_time_is_later_and_no_time_lies_between(cron: str, zone: str, after: datetime) -> None:
    block = {"cron": cron, "timezone": zone}
    following = next_fire(block, after)
    assert following is not None and following > after
    middle = after + (following.astimezone(UTC) - after) / 2
    assert next_fire(block, middle) == following


def test_an_unknown_zone_and_a_bad_expression_are_refused() -> None:
    for fields in ({"cron": "0 0 * * *", "timezone": "Mars/Base"}, {"cron": "0 0 31 2 *"}, {"cron": 5}):
        with pytest.raises(ValidationError):
            Block.model_validate({"type": "scheduled", **fields})


def test_remedies_of_cron_mistakes_are_themselves_right() -> None:
    for bad in ("@daily", "5/15 * * * *", "0 0 * * FRI-MON", "50-10 * * * *"):
        with pytest.raises(CronError) as caught:
            parse_cron(bad)
        quoted = caught.value.remedy.split('"')[1]
        parse_cron(quoted if " " in quoted else bad.replace(bad.split()[0 if bad[0] == "5" else 4], quoted))
