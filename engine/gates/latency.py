"""One prediction has to be quick: `{latency_p99: 20ms}`.

The model predicts single rows of the hold-out, one after the other, in a process of its own on the machine that
applies. That is the model alone: no gateway, no network, no other load.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engine.gates.answers import answer_of
from engine.gates.block import GateBlock
from engine.gates.figure import Bound, judge_figure, too_few
from engine.gates.result import GateResult, counted
from engine.spec.fields import Seconds

LEAST = 100
"""Fewer predictions say nothing of the slowest in a hundred."""


class Block(GateBlock):
    """`validation: {latency_p99, bound}`, in seconds once read."""

    latency_p99: Seconds
    """99 of 100 predictions of one row must take no longer."""
    bound: Bound = "point"
    """Judge the estimate, or the cautious end of its interval."""


def assess(block: Block, evaluation: Mapping[str, Any]) -> GateResult:
    """See the module; `inconclusive` with fewer than `LEAST` predictions."""
    found = answer_of(block, evaluation)
    if isinstance(found, GateResult):
        return found
    count, remedy = counted(found.get("predictions")), "Give it more hold-out rows, or a quicker model."
    few = too_few("latency p99", count, "predictions", LEAST, remedy)
    if few is not None:
        return few
    remedy = "Make the model smaller or its preprocessing simpler, or allow more time."
    return judge_figure(
        "latency p99", found, block.latency_p99, side="max", bound=block.bound, remedy=remedy, show=_ms, show_limit=_ms
    )


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.3g} ms" if seconds < 1 else f"{seconds:.3g} s"
