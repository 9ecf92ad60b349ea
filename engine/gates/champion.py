"""The candidate is held against the champion on the same rows: `{champion: non_inferior, margin: 0.005}`.

`better` asks for an improvement, `non_inferior` for no loss beyond `margin`. The block is validated; comparing needs
the champion's predictions, which this version does not keep beside the candidate's.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import model_validator

from engine.gates.block import GateBlock, check_average
from engine.spec.fields import Limit, MetricName, mistake
from engine.spec.metrics import Average


class Block(GateBlock):
    """`validation: {champion, metric, margin, average}`."""

    supported: ClassVar[bool] = False

    champion: Literal["better", "non_inferior"]
    """How it must compare with the champion."""
    metric: MetricName
    """The metric that is compared."""
    margin: Limit | None = None
    """The loss that is still acceptable, in the metric's unit; with champion: non_inferior."""
    average: Average | None = None
    """How a metric of several classes is averaged."""

    @model_validator(mode="after")
    def _margin_belongs_to_non_inferior(self) -> Block:
        if self.champion == "non_inferior" and self.margin is None:
            raise mistake("champion: non_inferior needs a margin", "Add margin, like 0.005.")
        if self.champion == "better" and self.margin is not None:
            raise mistake("margin applies to champion: non_inferior only", "Take it out.")
        if self.margin is not None and self.margin <= 0:
            raise mistake(f"margin {self.margin:g} is not above 0", "Write it like 0.005.")
        check_average(self.metric, self.average)
        return self
