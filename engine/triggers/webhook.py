"""A retrain when another system asks for it over HTTP: `{type: webhook}`."""

from __future__ import annotations

from typing import Literal

from engine.spec.fields import StepName, TriggerBlock


class Block(TriggerBlock):
    """`retrain_trigger: {type: webhook, event}`."""

    type: Literal["webhook"]
    """Retrain when a signed request arrives."""
    event: StepName | None = None
    """Only requests that name this event; all if left out."""
