"""A retrain when there is new data to learn from: `{type: data, min_new_rows: 1000}`."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal

from pydantic import Field

from engine.core.canonical import short, utc
from engine.spec.fields import Seconds, TriggerBlock
from engine.spec.units import format_duration
from engine.triggers.decision import Decision, Due, NotDue, Unknown, spoken
from engine.triggers.facts import DataNow, Facts, Snapshot


class Block(TriggerBlock):
    """`retrain_trigger: {type: data, min_new_rows, max_age}`."""

    type: Literal["data"]
    """Retrain when the data has changed."""
    min_new_rows: Annotated[int, Field(ge=1, le=10**12)] | None = None
    """Wait for this many new rows; any change if left out."""
    max_age: Seconds | None = None
    """Take any change once what was last learned from is older than this."""


def evaluate(block: Mapping[str, Any], facts: Facts) -> Decision:
    """Due when the data is not what was last learned from, and is new enough rows or the last snapshot old enough.

    What a run tried and a gate refused counts as learned from: the same data would be refused again.
    """
    learned, data = facts.learned, facts.data
    if data is None:
        return Unknown("data", "the data was not observed")
    if learned is None:
        return Due("data", "nothing was learned from the data yet", _details(None, data), (), block["force"])
    details = _details(learned, data)
    if data.digest == learned.digest:
        return NotDue("data", f"unchanged since {spoken(learned.taken_at)}", None, details)
    aged_at = learned.taken_at + timedelta(seconds=block["max_age"]) if block["max_age"] else None
    if aged_at is not None and facts.now >= aged_at:
        age = format_duration(block["max_age"])
        return Due("data", f"changed, and the last snapshot is older than {age}", details, (), block["force"])
    if block["min_new_rows"] is not None:
        return _by_rows(block, learned, data, aged_at, details)
    if aged_at is not None:
        return NotDue("data", f"changed; waits until {spoken(aged_at)}", aged_at, details)
    return Due("data", f"changed since {spoken(learned.taken_at)}", details, (), block["force"])


def _by_rows(
    block: Mapping[str, Any], learned: Snapshot, data: DataNow, aged_at: datetime | None, details: Mapping[str, Any]
) -> Decision:
    if data.rows is None or learned.rows is None:
        return Unknown("data", "changed, but its rows were not counted", details)
    new, needed = data.rows - learned.rows, block["min_new_rows"]
    if new >= needed:
        return Due("data", f"{new:,} new rows, {needed:,} wanted", details, (), block["force"])
    said = f"{new:,} of {needed:,} new rows" if new >= 0 else f"changed, and {-new:,} rows fewer than before"
    return NotDue("data", said if aged_at is None else f"{said}; or at {spoken(aged_at)}", aged_at, details)


def _details(learned: Snapshot | None, data: DataNow) -> dict[str, Any]:
    return {
        "digest": short(data.digest),
        "rows": data.rows,
        "learned": short(learned.digest) if learned else None,
        "learned_rows": learned.rows if learned else None,
        "learned_at": utc(learned.taken_at) if learned else None,
    }
