"""A retrain when the live model has become worse: `{type: performance, metric: accuracy, drop: 5%}`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from engine.core.verdict import Verdict
from engine.spec.fields import Fraction, MetricName, Persistence, PositiveFraction, TriggerBlock, mistake
from engine.spec.metrics import METRICS
from engine.triggers.decision import Decision, Due, NotDue, Unknown
from engine.triggers.facts import Facts, Measured, Window
from engine.triggers.persistence import persistence_of, while_on_trial


class Block(TriggerBlock):
    """`retrain_trigger: {type: performance, metric, drop | threshold, …}`."""

    type: Literal["performance"]
    """Retrain when a metric on labelled production data falls."""
    metric: MetricName
    """The metric that is watched."""
    drop: PositiveFraction | None = None
    """How much worse than at release, relative to it, is too much."""
    threshold: Annotated[float, Field(allow_inf_nan=False)] | None = None
    """The worst acceptable value of the metric."""
    min_labels: Annotated[int, Field(ge=1, le=10_000_000)] = 500
    """Under this many labelled predictions a window is inconclusive."""
    min_coverage: Fraction = 0.0
    """Under this share of predictions whose label is known a window is inconclusive."""
    persistence: Persistence = Field(default={"count": 2, "windows": 3}, validate_default=False)
    """How many windows of how many must agree, like 2 of 3."""

    @model_validator(mode="after")
    def _has_one_limit(self) -> Block:
        if (self.drop is None) == (self.threshold is None):
            raise mistake("a performance trigger needs either drop or threshold", "Give one, like drop: 5%.")
        metric = METRICS[self.metric]
        if self.threshold is not None and not metric.contains(self.threshold):
            raise mistake(
                f"{self.metric} cannot be {self.threshold:g}: it ranges from {metric.range_text}",
                "Give a threshold within that range.",
            )
        return self


def limit_of(block: Mapping[str, Any], baseline: Mapping[str, float]) -> float | None:
    """The worst acceptable value. None when it is relative to a release's own value, and there is none.

    `drop: 5%` of a baseline b allows b − 0.05 |b| where higher is better, and b + 0.05 |b| where lower is.
    """
    if block["threshold"] is not None:
        return float(block["threshold"])
    own = baseline.get(block["metric"])
    if own is None or not math.isfinite(own):
        return None
    slack = float(block["drop"]) * abs(own)
    return own - slack if METRICS[block["metric"]].better == "higher" else own + slack


def evaluate(block: Mapping[str, Any], facts: Facts) -> Decision:
    """Due when the metric was beyond its limit in enough of the last windows that have enough labels."""
    metric, champion = block["metric"], facts.champion
    if champion is None:
        return Unknown("performance", "nothing is live yet")
    limit = limit_of(block, champion.metrics)
    if limit is None:
        return Unknown("performance", f"version {champion.version} has no {metric} of its own to compare with")
    found = persistence_of(
        block["persistence"],
        facts,
        facts.past_of(block),
        lambda window: _judge(block, limit, window),
        lambda window: window.labels_final_at or window.end,
    )
    higher = METRICS[metric].better == "higher"
    said = found.text(f"{metric} {'below' if higher else 'above'} {limit:.4g}")
    details = {"metric": metric, "limit": limit, "baseline": champion.metrics.get(metric), **found.details()}
    if found.persists and facts.on_trial is not None:
        return while_on_trial("performance", f"{said}: {found.alarms[0].text}", facts, details)
    if found.persists:
        return Due("performance", f"{said}: {found.alarms[0].text}", details, (), block["force"])
    if not found.conclusive and not found.silent:
        return Unknown(
            "performance",
            f"no window has closed since version {champion.version} went live or this was last handled",
            details,
        )
    return NotDue("performance", said, None, details)


def _judge(block: Mapping[str, Any], limit: float, window: Window) -> tuple[Verdict, str]:
    found = window.metrics.get(block["metric"])
    if found is None:
        return Verdict.INCONCLUSIVE, "not measured"
    if not window.labels_final:
        return Verdict.INCONCLUSIVE, f"labels are still to come: {_coverage(found)}"
    if found.labels < block["min_labels"] or found.labels < block["min_coverage"] * found.predictions:
        return Verdict.INCONCLUSIVE, f"too few labels: {_coverage(found)}"
    if not math.isfinite(found.value):
        return Verdict.ERROR, f"{block['metric']} is not a number"
    beyond = found.value < limit if METRICS[block["metric"]].better == "higher" else found.value > limit
    interval = f" [{found.low:.3f}, {found.high:.3f}]" if found.low is not None and found.high is not None else ""
    text = f"{block['metric']} {found.value:.3f}{interval}, {_coverage(found)}"
    return (Verdict.FAIL if beyond else Verdict.PASS), text


def _coverage(found: Measured) -> str:
    share = found.labels / found.predictions if found.predictions else 0.0
    return f"{found.labels:,} of {found.predictions:,} predictions labelled ({share:.0%})"
