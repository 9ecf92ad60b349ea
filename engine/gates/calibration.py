"""Probabilities have to mean what they say: `{calibration: 0.05}`.

The expected calibration error (Naeini, Cooper and Hauskrecht 2015) over bins of equally many rows: the mean distance
between the predicted probability and the share of rows where it came true; of the positive class of two, of the
predicted class of many. It cannot be negative, so that of few rows it is above 0 for a perfect model too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engine.gates.answers import answer_of
from engine.gates.block import GateBlock
from engine.gates.figure import Bound, judge_figure, too_few
from engine.gates.result import GateResult, counted
from engine.spec.fields import PositiveFraction

LEAST = 100


class Block(GateBlock):
    """`validation: {calibration, bound}`."""

    calibration: PositiveFraction
    """The largest expected calibration error."""
    bound: Bound = "point"
    """Judge the estimate, or the cautious end of its interval."""


def assess(block: Block, evaluation: Mapping[str, Any]) -> GateResult:
    """See the module; `inconclusive` with fewer than `LEAST` rows or one class alone."""
    found = answer_of(block, evaluation)
    if isinstance(found, GateResult):
        return found
    few = too_few("the calibration error", counted(found.get("rows")), "rows", LEAST, "Give it more hold-out rows.")
    if few is not None:
        return few
    remedy = "Calibrate it (sklearn.calibration.CalibratedClassifierCV), or train without weighting classes."
    return judge_figure("calibration error", found, block.calibration, side="max", bound=block.bound, remedy=remedy)
