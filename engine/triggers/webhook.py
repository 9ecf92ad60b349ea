"""A retrain when another system asks for it over HTTP: `{type: webhook}`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from engine.core.records import EventKind
from engine.spec.fields import StepName, TriggerBlock
from engine.triggers.decision import Decision
from engine.triggers.requests import requested

if TYPE_CHECKING:
    from engine.triggers.facts import Facts


class Block(TriggerBlock):
    """`retrain_trigger: {type: webhook, event}`."""

    type: Literal["webhook"]
    """Retrain when a signed request arrives."""
    event: StepName | None = None
    """Only requests that name this event; all if left out."""


def evaluate(block: Mapping[str, Any], facts: Facts) -> Decision:
    """Due while a delivery waits in the inbox whose event is the one that is asked for."""
    return requested(block, facts, EventKind.WEBHOOK)
