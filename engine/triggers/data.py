"""A retrain when there is new data to learn from: `{type: data, min_new_rows: 1000}`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from engine.spec.fields import TriggerBlock


class Block(TriggerBlock):
    """`retrain_trigger: {type: data, min_new_rows}`."""

    type: Literal["data"]
    """Retrain when the data has changed."""
    min_new_rows: Annotated[int, Field(ge=1, le=10**12)] | None = None
    """Wait for this many new rows; any change if left out."""
