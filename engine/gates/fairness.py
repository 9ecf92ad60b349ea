"""Groups of people have to be treated alike: `{fairness: equal_opportunity, by: gender, max_difference: 0.1}`.

`demographic_parity` compares selection rates, `equal_opportunity` true positive rates, `equalized_odds` true and
false positive rates (Hardt, Price and Srebro 2016). The block is validated; this version does not assess it.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field, model_validator

from engine.gates.block import GateBlock
from engine.spec.fields import Column, Fraction, mistake


class Block(GateBlock):
    """`validation: {fairness, by, max_difference | min_ratio, min_rows}`."""

    supported: ClassVar[bool] = False

    fairness: Literal["demographic_parity", "equal_opportunity", "equalized_odds"]
    """Which rates must be alike."""
    by: Column
    """The column that names the groups."""
    max_difference: Fraction | None = None
    """The largest difference between any two groups."""
    min_ratio: Fraction | None = None
    """The smallest ratio of the smallest rate to the largest."""
    min_rows: Annotated[int, Field(ge=1)] = 30
    """Groups with fewer rows are inconclusive."""

    @model_validator(mode="after")
    def _one_limit(self) -> Block:
        if (self.max_difference is None) == (self.min_ratio is None):
            raise mistake("fairness needs one limit", "Write max_difference or min_ratio, one of them.")
        return self
