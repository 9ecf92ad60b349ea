"""A retrain when another model of the project has a new release: `{type: upstream, model: embeddings}`."""

from __future__ import annotations

from typing import Literal

from engine.spec.fields import ModelName, TriggerBlock


class Block(TriggerBlock):
    """`retrain_trigger: {type: upstream, model, event}`."""

    type: Literal["upstream"]
    """Retrain after another model."""
    model: ModelName
    """The other model."""
    event: Literal["registered", "deployed"] = "deployed"
    """What must have happened to it."""
