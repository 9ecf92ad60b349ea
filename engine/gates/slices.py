"""A metric has to hold in every group of rows: `{slices: {by: plan, metric: f1_score, threshold: 0.75}}`.

The block is validated; this version does not assess it.
"""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field, model_validator

from engine.gates.block import GateBlock
from engine.spec.fields import Block as SpecBlock
from engine.spec.fields import Column, Limit, MetricName, check_limit


class Slices(SpecBlock):
    """Which rows belong together and what each group must reach."""

    by: Column | Annotated[list[Column], Field(min_length=1)]
    """A column, or several whose values together name a group."""
    metric: MetricName
    """The metric that is judged in each group."""
    threshold: Limit
    """What each group must reach: a floor, or a ceiling for a metric of which less is better."""
    min_rows: Annotated[int, Field(ge=1)] = 30
    """Groups with fewer rows are inconclusive."""

    @model_validator(mode="after")
    def _threshold_is_in_range(self) -> Slices:
        check_limit(self.metric, "threshold", self.threshold)
        return self


class Block(GateBlock):
    """`validation: {slices: {by, metric, threshold, min_rows}}`."""

    supported: ClassVar[bool] = False

    slices: Slices
    """Groups of rows and what each must reach."""
