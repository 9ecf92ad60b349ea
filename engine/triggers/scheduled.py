"""A retrain at the times of a cron expression: `{type: scheduled, cron: "0 0 * * 0", timezone: Europe/Berlin}`.

When that is, across daylight-saving changes too, is said by `triggers.wall_clock`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import PlainValidator, WithJsonSchema

from engine.spec.fields import TriggerBlock, mistake, show
from engine.triggers.cron import CronError, parse_cron
from engine.triggers.wall_clock import zone_of


def _read_cron(value: Any) -> str:
    if not isinstance(value, str):
        raise mistake(f"{show(value)} is not a cron expression", 'Write five fields in quotes, like "0 0 * * 0".')
    try:
        parse_cron(value)
    except CronError as error:
        raise mistake(str(error), error.remedy) from None
    return " ".join(value.split())


def _read_zone(value: Any) -> str:
    remedy = "Write a name of the tz database, like Europe/Berlin, or UTC."
    if not isinstance(value, str):
        raise mistake(f"{show(value)} is not a time zone", remedy)
    try:
        zone_of(value)
    except (ValueError, OSError, KeyError):
        raise mistake(f"there is no time zone {show(value)}", remedy) from None
    return value


class Block(TriggerBlock):
    """`retrain_trigger: {type: scheduled, cron, timezone}`."""

    type: Literal["scheduled"]
    """Retrain at fixed times."""
    cron: Annotated[
        str,
        PlainValidator(_read_cron),
        WithJsonSchema({"type": "string", "pattern": r"^\s*(\S+\s+){4}\S+\s*$", "examples": ["0 0 * * 0"]}),
    ]
    """Minute, hour, day of the month, month, day of the week."""
    timezone: Annotated[
        str, PlainValidator(_read_zone), WithJsonSchema({"type": "string", "examples": ["Europe/Berlin", "UTC"]})
    ] = "UTC"
    """The zone of the wall clock that the cron expression is about."""

    def warnings(self) -> Sequence[tuple[str, str, str]]:
        """A day of the month and a weekday together mean either, which few expect."""
        if not parse_cron(self.cron).either_day:
            return ()
        message = f'"{self.cron}" fires on the days of the month and on the weekdays, not only where both hold'
        return (("cron", message, "Put * for one of the two unless either is meant."),)
