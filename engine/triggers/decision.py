"""What a trigger says: `Due`, `NotDue` or `Unknown`, and `Held` for what is due but may not start yet. Pure.

A kind's `evaluate(block, facts)` gives a `Decision`; `triggers.group` combines them and may turn a `Due` into a `Held`.
`trigger` is the kind (`scheduled`), or `any_of` and `all_of` of a group. `reason` is one line for people, `details`
are the figures behind it, JSON. Moments are aware datetimes here, and UTC text in JSON.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any, TypeAlias

from engine.core.canonical import Json, utc
from engine.errors import assert_never


@dataclass(frozen=True)
class Due:
    """A retrain shall start now. `events` are the inbox's ids that this takes up; `force`: even with nothing new."""

    trigger: str
    reason: str
    details: Mapping[str, Json] = field(default_factory=dict)
    events: tuple[str, ...] = ()
    force: bool = False


@dataclass(frozen=True)
class Held:
    """Due since `since`, but not to start before `until`. It stays due when its cause has passed meanwhile.

    `reason` is why it waits: `cooldown of 1d: the last retrain began Mon 2026-11-23 04:00 UTC`.
    """

    trigger: str
    reason: str
    until: datetime
    since: datetime
    due: Due


@dataclass(frozen=True)
class NotDue:
    """No retrain now. Before `next_at` looking again is of no use; None: it depends on what happens."""

    trigger: str
    reason: str
    next_at: datetime | None = None
    details: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True)
class Unknown:
    """It cannot be said, for something was not observed. Never makes a retrain due."""

    trigger: str
    reason: str
    details: Mapping[str, Json] = field(default_factory=dict)


Decision: TypeAlias = Due | NotDue | Unknown
Outcome: TypeAlias = Due | Held | NotDue | Unknown


def status_of(outcome: Outcome) -> str:  # noqa: RET503 - the last case raises
    """`due`, `held`, `not_due` or `unknown`: how an outcome is stored."""
    match outcome:
        case Due():
            return "due"
        case Held():
            return "held"
        case NotDue():
            return "not_due"
        case Unknown():
            return "unknown"
        case _:
            assert_never(outcome)


def text_of(outcome: Outcome) -> str:  # noqa: RET503 - the last case raises
    """An outcome in one line: `not due: drift in 1 of the last 3 windows, 2 needed`."""
    match outcome:
        case Due():
            return f"due: {outcome.reason}"
        case Held():
            return f"held until {spoken(outcome.until)}: {outcome.reason}; due: {outcome.due.reason}"
        case NotDue():
            return f"not due: {outcome.reason}"
        case Unknown():
            return f"unknown: {outcome.reason}"
        case _:
            assert_never(outcome)


def outcome_json(outcome: Outcome) -> dict[str, Any]:  # noqa: RET503 - the last case raises
    """An outcome as JSON. `outcome_of` reads it back."""
    common = {"trigger": outcome.trigger, "status": status_of(outcome), "reason": outcome.reason}
    match outcome:
        case Due():
            return common | {
                "details": dict(outcome.details),
                "events": list(outcome.events),
                "force": outcome.force,
            }
        case Held():
            moments = {"until": utc(outcome.until), "since": utc(outcome.since)}
            return common | moments | {"due": outcome_json(outcome.due)}
        case NotDue():
            next_at = utc(outcome.next_at) if outcome.next_at else None
            return common | {"next_at": next_at, "details": dict(outcome.details)}
        case Unknown():
            return common | {"details": dict(outcome.details)}
        case _:
            assert_never(outcome)


def outcome_of(document: Mapping[str, Any]) -> Outcome:
    """The outcome that `outcome_json` wrote. Raises KeyError or ValueError for anything else."""
    trigger, reason = document["trigger"], document["reason"]
    match document["status"]:
        case "due":
            return _due(document)
        case "held":
            due = _due(document["due"])
            return Held(trigger, reason, moment(document["until"]), moment(document["since"]), due)
        case "not_due":
            next_at = moment(document["next_at"]) if document["next_at"] else None
            return NotDue(trigger, reason, next_at, document["details"])
        case "unknown":
            return Unknown(trigger, reason, document["details"])
        case other:
            raise ValueError(f"no outcome of a trigger: {other!r}")


def _due(document: Mapping[str, Any]) -> Due:
    events = tuple(document["events"])
    return Due(document["trigger"], document["reason"], document["details"], events, document["force"])


def moment(text: str) -> datetime:
    """A recorded moment. Raises ValueError."""
    return datetime.fromisoformat(text.replace("Z", "+00:00")).astimezone(timezone.utc)


def spoken(at: datetime) -> str:
    """A moment for people: `Sun 2026-11-29 00:00 UTC`."""
    return f"{at.astimezone(timezone.utc):%a %Y-%m-%d %H:%M} UTC"
