"""A retrain when the live model has grown old: `{type: freshness, max_age: 30d}`."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal

from engine.core.canonical import utc
from engine.spec.fields import Seconds, TriggerBlock
from engine.spec.units import format_duration
from engine.triggers.decision import Decision, Due, NotDue, Unknown, spoken

if TYPE_CHECKING:
    from engine.triggers.facts import Facts

AGAIN = timedelta(days=1)
"""How long after a try that brought no younger release the next one is due, if `max_age` is no shorter."""


class Block(TriggerBlock):
    """`retrain_trigger: {type: freshness, max_age}`."""

    type: Literal["freshness"]
    """Retrain when the live release is older than max_age."""
    max_age: Seconds
    """How old the live release may become."""


def evaluate(block: Mapping[str, Any], facts: Facts) -> Decision:
    """Due when the live release has been live for `max_age`; then each day until a younger one is live."""
    if facts.champion is None:
        return Unknown("freshness", "nothing is live yet")
    most = timedelta(seconds=block["max_age"])
    due_at = facts.champion.live_since + most
    handled = facts.past_of(block).handled_at
    if handled is not None and handled >= due_at:
        due_at = handled + min(most, AGAIN)
    allowed = format_duration(block["max_age"])
    details = {
        "version": facts.champion.version,
        "live_since": utc(facts.champion.live_since),
        "max_age": block["max_age"],
        "due_at": utc(due_at),
    }
    said = f"version {facts.champion.version} is live since {spoken(facts.champion.live_since)}"
    if facts.now < due_at:
        return NotDue("freshness", f"{said}, {allowed} allowed; next {spoken(due_at)}", due_at, details)
    return Due("freshness", f"{said}, more than {allowed} ago", details, (), block["force"])
