"""A retrain only when a person asks for it: `{type: manual}`."""

from __future__ import annotations

from typing import Literal

from engine.spec.fields import TriggerBlock


class Block(TriggerBlock):
    """`retrain_trigger: {type: manual}`."""

    type: Literal["manual"]
    """Retrain only on request."""
