"""Worse inputs may cost only so much: `{robustness: missing, share: 10%, metric: roc_auc, max_loss: 0.02}`.

`missing` empties that share of the cells of every feature, `noise` adds to every number normal noise of that share of
its feature's standard deviation. The metric is compared with that of the untouched rows, in pairs: passing takes the
cautious end of the interval.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import model_validator

from engine.core.verdict import Verdict
from engine.gates.answers import answer_of
from engine.gates.block import GateBlock, check_average
from engine.gates.result import GateResult, at_most, finite, limit_text, number
from engine.spec.fields import Limit, MetricName, PositiveFraction, mistake
from engine.spec.metrics import METRICS, Average


class Block(GateBlock):
    """`validation: {robustness, share, metric, average, max_loss}`."""

    robustness: Literal["missing", "noise"]
    """How the inputs are made worse."""
    share: PositiveFraction = 0.1
    """How much: the share of emptied cells, or the noise as a share of each standard deviation."""
    metric: MetricName
    """The metric that is compared."""
    average: Average | None = None
    """How a metric of several classes is averaged."""
    max_loss: Limit
    """The loss that is still acceptable, in the metric's unit."""

    @model_validator(mode="after")
    def _makes_sense(self) -> Block:
        if self.max_loss <= 0:
            raise mistake(f"max_loss {self.max_loss:g} is not above 0", "Write it like 0.02.")
        check_average(self.metric, self.average)
        return self


def assess(block: Block, evaluation: Mapping[str, Any]) -> GateResult:
    """See the module."""
    found = answer_of(block, evaluation)
    if isinstance(found, GateResult):
        return found
    worse = (
        f"{block.share:.0%} of the cells missing" if block.robustness == "missing" else f"noise of {block.share:.0%}"
    )
    label = f"{block.metric} with {worse}"
    higher = METRICS[block.metric].better == "higher"
    values = {name: finite(found.get(name)) for name in ("candidate", "other", "difference", "low", "high")}
    before, after, difference = values["other"], values["candidate"], values["difference"]
    if before is None or after is None or difference is None:
        reason = found.get("reason") or "it is not a finite number"
        return GateResult(Verdict.INCONCLUSIVE, f"{label} is undefined: {reason}", remedy="Give it more hold-out rows.")
    end = values["low"] if higher else values["high"]
    loss = -difference if higher else difference
    text = f"{label} {number(after)} instead of {number(before)}"
    if end is None:
        text += f" has no interval: {found.get('reason') or 'none was computed'}"
        return GateResult(Verdict.INCONCLUSIVE, text, loss, block.max_loss, "Give it more hold-out rows.")
    cautious = -end if higher else end
    text += f": a loss of {number(loss)}, at most {number(cautious)}"
    if not at_most(loss, block.max_loss):
        remedy = "Train with such rows, or with a model that minds them less."
        return GateResult(Verdict.FAIL, f"{text} > {limit_text(block.max_loss)}", loss, block.max_loss, remedy)
    if not at_most(cautious, block.max_loss):
        text += f", not surely ≤ {limit_text(block.max_loss)}"
        return GateResult(Verdict.INCONCLUSIVE, text, loss, block.max_loss, "Give it more hold-out rows.")
    return GateResult(Verdict.PASS, f"{text} ≤ {limit_text(block.max_loss)}", loss, block.max_loss)
