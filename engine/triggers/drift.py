"""A retrain when live data no longer looks like the reference: `{type: drift, detector: ks, alpha: 0.01}`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from engine.spec.fields import Column, Persistence, Share, TriggerBlock


class Block(TriggerBlock):
    """`retrain_trigger: {type: drift, detector, alpha, …}`."""

    type: Literal["drift"]
    """Retrain when the distribution of the features, or of the predictions, has moved."""
    detector: Literal["auto", "ks", "chi_squared", "psi", "mmd"] = "auto"
    """The test; auto chooses by the type of each column."""
    alpha: Share = 0.01
    """The rate of false alarms over all columns together (Benjamini–Hochberg)."""
    min_effect: Share | None = None
    """How large the change must be besides being significant; each test has its own default."""
    columns: list[Column] | None = None
    """Only these columns; all features if left out."""
    predictions: bool = True
    """Also watch the predictions, the strongest single signal."""
    reference: Literal["holdout", "production"] = "holdout"
    """What live data is compared with: never the training rows."""
    window: Annotated[int, Field(ge=1, le=10_000_000)] | None = None
    """Rows in a window; windows do not overlap."""
    min_rows: Annotated[int, Field(ge=30, le=10_000_000)] = 500
    """Under this many rows a window is inconclusive."""
    persistence: Persistence = Field(default={"count": 2, "windows": 3}, validate_default=False)
    """How many windows of how many must agree, like 2 of 3."""
