"""The model has to beat one that ignores the features: `{baseline: better}`.

That baseline predicts the most frequent class (and the training frequencies as probabilities), or the training
mean. To pass, the whole confidence interval of the metric must lie on the better side of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from engine.core.verdict import Verdict
from engine.gates.block import GateBlock
from engine.gates.result import TOLERANCE, GateResult, finite, measured, number
from engine.spec.fields import MetricName
from engine.spec.metrics import METRICS

PRIMARY = {"binary": "roc_auc", "multiclass": "balanced_accuracy", "regression": "rmse"}


class Block(GateBlock):
    """`validation: {baseline: better, metric}`."""

    baseline: Literal["better"]
    """The model must be better than one that ignores the features."""
    metric: MetricName | None = None
    """By which metric: roc_auc for two classes, balanced_accuracy for more, rmse for numbers by default."""


def assess(block: Block, evaluation: Mapping[str, Any]) -> GateResult:
    """`pass` when the interval is better than the baseline, `inconclusive` when it straddles it, else `fail`."""
    metric = block.metric or PRIMARY.get(str(evaluation.get("task")))
    if metric is None:
        return GateResult(
            Verdict.ERROR, f"no metric is primary for task {evaluation.get('task')!r}", remedy="Name one."
        )
    found = measured(evaluation, metric)
    if isinstance(found, GateResult):
        return found
    baselines = evaluation.get("baseline")
    baseline = finite(baselines.get(metric)) if isinstance(baselines, Mapping) else None
    if baseline is None:
        return GateResult(
            Verdict.INCONCLUSIVE, f"the baseline has no {metric} to compare with", remedy="Name another metric."
        )
    higher = METRICS[metric].better == "higher"
    cautious = found.low if higher else found.high
    text = f"{found.against(baseline)} against {number(baseline)} without features"
    if not _beats(found.value, baseline, higher):
        return GateResult(Verdict.FAIL, text, found.value, baseline, "The features do not help yet: look at the data.")
    if cautious is None or not _beats(cautious, baseline, higher):
        remedy = "The difference may be chance: give it more hold-out rows."
        return GateResult(Verdict.INCONCLUSIVE, text, found.value, baseline, remedy)
    return GateResult(Verdict.PASS, text, found.value, baseline)


def _beats(value: float, baseline: float, higher: bool) -> bool:
    margin = TOLERANCE * max(1.0, abs(baseline))
    return value > baseline + margin if higher else value < baseline - margin
