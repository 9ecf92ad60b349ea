"""Events of the inbox that ask for a retrain. Pure.

An event is due from its arrival until it is handled, so that none is lost while a trigger is held. Several that wait
are taken up together: one retrain answers them all.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engine.core.records import Event, EventKind
from engine.triggers.decision import Decision, Due, NotDue
from engine.triggers.facts import Facts

SHOWN = 20  # events in the details of an evaluation; all of them are taken up


def requested(block: Mapping[str, Any], facts: Facts, kind: EventKind) -> Decision:
    """Due while events of this kind (and of `block["event"]`, if it names one) wait."""
    wanted = block.get("event")
    ofkind = [event for event in facts.events if event.kind is kind]
    waiting = [event for event in ofkind if wanted is None or event.event == wanted]
    if not waiting:
        none = f'no event "{wanted}"' if wanted else "no event" if kind is EventKind.WEBHOOK else "no request"
        others = f", {len(ofkind)} of other names" if ofkind else ""
        return NotDue(block["type"], f"{none}{others}", None, {"other_events": len(ofkind)})
    more = f", and {len(waiting) - 1} more" if len(waiting) > 1 else ""
    return Due(
        block["type"],
        f"{_said(waiting[0])}{more}",
        {"waiting": len(waiting), "events": [_shown(event) for event in waiting[:SHOWN]]},
        tuple(event.id for event in waiting),
        block["force"],
    )


def _said(event: Event) -> str:
    what = f"event {event.event}" if event.event and event.kind is EventKind.WEBHOOK else "asked for"
    by = f" by {event.actor}" if event.actor else ""
    return f"{what}{by}{f': {event.reason}' if event.reason else ''}"


def _shown(event: Event) -> dict[str, str]:
    return {
        "id": event.id,
        "event": event.event,
        "reason": event.reason,
        "actor": event.actor,
        "received_at": event.received_at,
    }
