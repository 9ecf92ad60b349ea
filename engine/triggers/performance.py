"""A retrain when the live model has become worse: `{type: performance, metric: accuracy, drop: 5%}`."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from engine.spec.fields import MetricName, Persistence, PositiveFraction, TriggerBlock, mistake
from engine.spec.metrics import METRICS


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
