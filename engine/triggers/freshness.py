"""A retrain when the live model has grown old: `{type: freshness, max_age: 30d}`."""

from __future__ import annotations

from typing import Literal

from engine.spec.fields import Seconds, TriggerBlock


class Block(TriggerBlock):
    """`retrain_trigger: {type: freshness, max_age}`."""

    type: Literal["freshness"]
    """Retrain when the live release is older than max_age."""
    max_age: Seconds
    """How old the live release may become."""
