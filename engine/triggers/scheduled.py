"""A retrain at the times of a cron expression: `{type: scheduled, cron: "0 0 * * 0", timezone: Europe/Berlin}`.

When that is, across daylight-saving changes too, is said by `triggers.wall_clock`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import PlainValidator, WithJsonSchema

from engine.core.canonical import utc
from engine.spec.fields import Seconds, TriggerBlock, ZoneName, mistake, show
from engine.triggers.cron import CronError, parse_cron
from engine.triggers.decision import Decision, Due, NotDue, Unknown, spoken
from engine.triggers.wall_clock import jitter_of, next_fire

if TYPE_CHECKING:
    from engine.triggers.facts import Facts

ON_TIME = timedelta(minutes=10)
"""With `catch_up: skip`, how late a time is still taken up."""
COUNTED = 100
"""So many missed times are counted."""


def _read_cron(value: Any) -> str:
    if not isinstance(value, str):
        raise mistake(f"{show(value)} is not a cron expression", 'Write five fields in quotes, like "0 0 * * 0".')
    try:
        parse_cron(value)
    except CronError as error:
        raise mistake(str(error), error.remedy) from None
    return " ".join(value.split())


class Block(TriggerBlock):
    """`retrain_trigger: {type: scheduled, cron, timezone, …}`."""

    type: Literal["scheduled"]
    """Retrain at fixed times."""
    cron: Annotated[
        str,
        PlainValidator(_read_cron),
        WithJsonSchema({"type": "string", "pattern": r"^\s*(\S+\s+){4}\S+\s*$", "examples": ["0 0 * * 0"]}),
    ]
    """Minute, hour, day of the month, month, day of the week."""
    timezone: ZoneName = "UTC"
    """The zone of the wall clock that the cron expression is about."""
    catch_up: Literal["once", "skip"] = "once"
    """After times were missed: one retrain for all of them, or none until the next time."""
    jitter: Seconds | None = None
    """Spread the models that share a schedule over this long: each starts later by a fixed part of it."""

    def warnings(self) -> Sequence[tuple[str, str, str]]:
        """A day of the month and a weekday together mean either, which few expect."""
        if not parse_cron(self.cron).either_day:
            return ()
        message = f'"{self.cron}" fires on the days of the month and on the weekdays, not only where both hold'
        return (("cron", message, "Put * for one of the two unless either is meant."),)


def evaluate(block: Mapping[str, Any], facts: Facts) -> Decision:
    """Due when a time has come since the trigger was last handled, or first seen."""
    late = jitter_of(facts.model, block["jitter"])
    past = facts.past_of(block)
    since = past.handled_at or past.first_seen_at or facts.now
    if facts.attempted is not None:  # whatever trained it: what was missed before that is made good
        since = max(since, facts.attempted.taken_at)
    details = {"cron": block["cron"], "timezone": block["timezone"], "since": utc(since)}
    missed, more = _between(block, since - late, facts.now - late)
    following = next_fire(block, facts.now - late)
    if not missed:
        return _not_due(following, late, details, "")
    count = f"at least {COUNTED}" if more else str(len(missed))
    details |= {"first_missed": utc(missed[0] + late), "missed": len(missed)}
    if block["catch_up"] == "skip":
        start = max(since, facts.now - ON_TIME)
        missed, more = _between(block, start - late, facts.now - late)
        if not missed:
            return _not_due(following, late, details, f"{count} missed, skipped; ")
    first = f"was due {spoken(missed[0] + late)}"
    since_then = len(missed) - 1
    times = f"{'at least ' if more else ''}{since_then} {'time' if since_then == 1 else 'times'}"
    others = f", and {times} since" if since_then else ""
    return Due("scheduled", f"{first}{others}", details, (), block["force"])


def _between(block: Mapping[str, Any], start: datetime, end: datetime) -> tuple[list[datetime], bool]:
    """The times in (start, end], the first `COUNTED` of them, and whether there are more."""
    found: list[datetime] = []
    moment = next_fire(block, start)
    while moment is not None and moment <= end and len(found) < COUNTED:
        found.append(moment)
        moment = next_fire(block, moment)
    return found, moment is not None and moment <= end


def _not_due(following: datetime | None, late: timedelta, details: Mapping[str, Any], skipped: str) -> Decision:
    if following is None:
        return Unknown("scheduled", "no time to come was found", details)
    next_at = following + late
    return NotDue("scheduled", f"{skipped}next {spoken(next_at)}", next_at, details)
