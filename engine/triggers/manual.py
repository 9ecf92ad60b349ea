"""A retrain only when a person asks for it: `{type: manual}`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from engine.core.records import EventKind
from engine.spec.fields import TriggerBlock
from engine.triggers.decision import Decision
from engine.triggers.requests import requested

if TYPE_CHECKING:
    from engine.triggers.facts import Facts


class Block(TriggerBlock):
    """`retrain_trigger: {type: manual}`."""

    type: Literal["manual"]
    """Retrain only on request."""


def evaluate(block: Mapping[str, Any], facts: Facts) -> Decision:
    """Due while a person's request waits in the inbox."""
    return requested(block, facts, EventKind.MANUAL)
