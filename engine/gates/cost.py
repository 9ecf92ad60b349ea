"""A million predictions may not cost more than so much: `{cost_per_million: 1.50, cpu_hour: 0.04}`.

Processor time of predictions of one row each, as for `latency_p99`, at a price for an hour of one processor. What
serves them costs more than the model alone: compare models by it, do not budget by it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field

from engine.gates.answers import answer_of
from engine.gates.block import GateBlock
from engine.gates.figure import Bound, judge_figure, too_few
from engine.gates.latency import LEAST
from engine.gates.result import GateResult, counted, finite

_PER_SECOND = 1e6 / 3600


class Block(GateBlock):
    """`validation: {cost_per_million, cpu_hour, bound}`."""

    cost_per_million: Annotated[float, Field(gt=0)] | Annotated[int, Field(gt=0)]
    """The most that a million predictions may cost, in the currency of cpu_hour."""
    cpu_hour: Annotated[float, Field(gt=0)] | Annotated[int, Field(gt=0)]
    """The price of an hour of one processor."""
    bound: Bound = "point"
    """Judge the estimate, or the cautious end of its interval."""


def assess(block: Block, evaluation: Mapping[str, Any]) -> GateResult:
    """See the module."""
    found = answer_of(block, evaluation)
    if isinstance(found, GateResult):
        return found
    count, remedy = counted(found.get("predictions")), "Give it more hold-out rows, or a quicker model."
    few = too_few("the cost", count, "predictions", LEAST, remedy)
    if few is not None:
        return few
    price = _PER_SECOND * block.cpu_hour
    seconds = {name: finite(found.get(name)) for name in ("value", "low", "high")}
    costs = {name: None if value is None else value * price for name, value in seconds.items()}
    remedy = "Make the model smaller or its preprocessing simpler, or allow a higher cost."
    label = "cost of a million predictions"
    return judge_figure(label, costs, float(block.cost_per_million), side="max", bound=block.bound, remedy=remedy)
