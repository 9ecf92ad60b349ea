"""The metric has to reach a limit: `{metric: f1_score, threshold: 0.85}`, `{metric: rmse, max: 40}`.

`threshold` is a floor for a metric of which more is better and a ceiling for one of which less is; `min` and `max`
say it outright. `bound: lower` asks it of the cautious end of the confidence interval instead of the point estimate.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import model_validator

from engine.core.verdict import Verdict
from engine.gates.block import GateBlock, check_average
from engine.gates.result import GateResult, Measured, at_least, at_most, limit_text, measured
from engine.spec.fields import Limit, MetricName, check_limit, mistake
from engine.spec.metrics import METRICS, Average


class Block(GateBlock):
    """`validation: {metric, threshold | min | max, average, bound}`."""

    metric: MetricName
    """The metric that is judged."""
    threshold: Limit | None = None
    """What it must reach: a floor, or a ceiling for a metric of which less is better."""
    min: Limit | None = None
    """The least that it may be."""
    max: Limit | None = None
    """The most that it may be."""
    average: Average | None = None
    """How a metric of several classes is averaged; binary for two classes, macro for more by default."""
    bound: Literal["point", "lower"] = "point"
    """Judge the estimate, or the cautious end of its confidence interval."""

    @model_validator(mode="after")
    def _limits_make_sense(self) -> Block:
        given = {"threshold": self.threshold, "min": self.min, "max": self.max}
        limits = {name: limit for name, limit in given.items() if limit is not None}
        if not limits:
            raise mistake(f"{self.metric} has no limit", "Add threshold, min or max.")
        if "threshold" in limits and len(limits) > 1:
            raise mistake("threshold stands alone", "Write threshold, or min and max.")
        for name, limit in limits.items():
            check_limit(self.metric, name, limit)
        if self.min is not None and self.max is not None and self.min > self.max:
            raise mistake(f"min {self.min:g} is above max {self.max:g}", "Exchange them.")
        check_average(self.metric, self.average)
        return self

    @property
    def floor(self) -> float | None:
        """The limit that the metric must reach, if there is one."""
        if self.threshold is not None and METRICS[self.metric].better == "higher":
            return self.threshold
        return self.min

    @property
    def ceiling(self) -> float | None:
        """The limit that the metric must not exceed, if there is one."""
        if self.threshold is not None and METRICS[self.metric].better == "lower":
            return self.threshold
        return self.max


def assess(block: Block, evaluation: Mapping[str, Any]) -> GateResult:
    """`pass` or `fail` from the metric of `evaluation`; `error` or `inconclusive` when it cannot be judged."""
    found = measured(evaluation, block.metric, block.average)
    if isinstance(found, GateResult):
        return found
    if block.bound == "lower" and (found.low is None or found.high is None):
        return GateResult(
            Verdict.INCONCLUSIVE,
            f"{found.text} has no confidence interval",
            remedy="Give it more hold-out rows, or judge the estimate with bound: point.",
        )
    if block.floor is not None:
        below = _against_floor(block, found, block.floor)
        if below.verdict is not Verdict.PASS or block.ceiling is None:
            return below
    assert block.ceiling is not None  # a block has a floor or a ceiling
    return _against_ceiling(block, found, block.ceiling)


def _against_floor(block: Block, found: Measured, limit: float) -> GateResult:
    value = found.low if block.bound == "lower" and found.low is not None else found.value
    return _result(block, found, value, limit, at_least(value, limit), ("≥", "<"), "raise")


def _against_ceiling(block: Block, found: Measured, limit: float) -> GateResult:
    value = found.high if block.bound == "lower" and found.high is not None else found.value
    return _result(block, found, value, limit, at_most(value, limit), ("≤", ">"), "lower")


def _result(
    block: Block, found: Measured, value: float, limit: float, holds: bool, signs: tuple[str, str], verb: str
) -> GateResult:
    end = "" if block.bound == "point" else f" (its {'lower' if signs[0] == '≥' else 'upper'} bound is judged)"
    text = f"{found.against(limit)} {signs[0] if holds else signs[1]} {limit_text(limit)}{end}"
    if holds:
        return GateResult(Verdict.PASS, text, value, limit)
    remedy = f"Improve the data, the features or training to {verb} {found.name}, or change the limit in validation."
    return GateResult(Verdict.FAIL, text, value, limit, remedy)
