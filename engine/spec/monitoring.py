"""The blocks of `monitoring`: how the live model's predictions are watched, window by window."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, PlainValidator, WithJsonSchema, model_validator

from engine.spec.expressions import ExpressionError, check_expression
from engine.spec.fields import (
    Block,
    Fraction,
    Limit,
    MetricName,
    Persistence,
    Role,
    Seconds,
    check_limit,
    mistake,
)

DEFAULT_ROWS, DEFAULT_LABELS = 1000, 500
OnBreach = Literal["alert", "retrain", "rollback"]


def _expression(value: object) -> str:
    if not isinstance(value, str):
        raise mistake("value is not an expression", 'Write it like sum(prediction == "yes") * 12.5, in quotes.')
    try:
        check_expression(value)
    except ExpressionError as error:
        raise mistake(f"value {error}", error.remedy) from None
    return value


Expression = Annotated[
    str,
    PlainValidator(_expression),
    WithJsonSchema(
        {"type": "string", "minLength": 1, "examples": ['sum(prediction == "yes" and actual == "no") * 12.5']}
    ),
]


class Labels(Block):
    """How actual values become known."""

    delay: Seconds | None = None
    """How long after a prediction its actual value is known. Until then what a window says of performance is
    provisional and breaches nothing. If left out, every window is judged by the labels that it has."""
    min: Annotated[int, Field(ge=1, le=10_000_000)] = DEFAULT_LABELS
    """Under this many labelled predictions in a window its performance is inconclusive."""


class Windows(Block):
    """How the predictions of the live release are cut into windows, which do not overlap."""

    rows: Annotated[int, Field(ge=30, le=10_000_000)] | None = None
    """Predictions in a window."""
    duration: Seconds | None = None
    """The time that a window covers, counted from midnight UTC of 1 January 1970; with rows, whichever ends first."""

    @model_validator(mode="after")
    def _ends(self) -> Windows:
        if self.rows is None and self.duration is None:
            raise mistake("a window never ends without rows or duration", "Give one, like rows: 1000.")
        return self


class Watch(Block):
    """The fields of whatever can be breached."""

    on_breach: OnBreach = "alert"
    """What follows when it is breached: engine up says so; besides, a retrain, or the release that was live before."""
    persistence: Persistence = Field(default={"count": 1, "windows": 1}, validate_default=False)
    """How many windows of how many must breach it, like 2 of 3."""


class MetricWatch(Watch):
    """A metric of the live release on the predictions whose actual values are known."""

    metric: MetricName
    """The metric."""
    threshold: Limit | None = None
    """The worst acceptable value: breached when the whole confidence interval is worse. Measured only if left out."""

    @model_validator(mode="after")
    def _can_be_reached(self) -> MetricWatch:
        if self.threshold is not None:
            check_limit(self.metric, "threshold", self.threshold)
        elif {"on_breach", "persistence"} & self.model_fields_set:
            raise mistake(f"{self.metric} has no threshold that could be breached", "Add threshold.")
        return self


class Kpi(Watch):
    """A business figure of a window, from the columns of the prediction log."""

    name: Role
    """What it is called."""
    value: Expression
    """Aggregates (sum, mean, count, min, max) of row-wise expressions over prediction, actual, score, latency (seconds)
    and the features; column("odd name") for a feature whose name is no word. Rows that lack a value are left out."""
    min: Annotated[float, Field(allow_inf_nan=False)] | None = None
    """The least acceptable value."""
    max: Annotated[float, Field(allow_inf_nan=False)] | None = None
    """The largest acceptable value."""

    @model_validator(mode="after")
    def _limits_make_sense(self) -> Kpi:
        if self.min is not None and self.max is not None and self.min > self.max:
            raise mistake(f"min {self.min:g} is above max {self.max:g}", "Exchange them.")
        if self.min is None and self.max is None and {"on_breach", "persistence"} & self.model_fields_set:
            raise mistake(f"{self.name} has no limit that could be breached", "Add min or max.")
        return self


class Quality(Watch):
    """Limits of what is wrong with a feature in a window; breached when its share is surely larger. The data contract
    is watched with them."""

    missing: Fraction = 0.05
    """The share of rows in which a feature is missing, beyond its share in the hold-out."""
    out_of_range: Fraction = 0.05
    """The share of a feature's values outside what the hold-out holds."""
    unseen: Fraction = 0.05
    """The share of a feature's values that are no category of the hold-out."""


class Service(Watch):
    """Limits of how the live release answers."""

    error_rate: Fraction | None = None
    """The share of predictions that it may fail."""
    latency_p99: Seconds | None = None
    """The time within which it must answer 99 % of requests."""

    @model_validator(mode="after")
    def _has_a_limit(self) -> Service:
        if self.error_rate is None and self.latency_p99 is None:
            raise mistake("service has no limit", "Give error_rate, latency_p99 or both.")
        return self
