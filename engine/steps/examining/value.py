"""The value of an expression over the hold-out and what the candidate said of it, with a bootstrap interval."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engine.errors import StepError
from engine.spec.expressions import check_expression
from engine.stats.bootstrap import percentile_interval
from engine.stats.expression import column_of, evaluate
from engine.steps.examining.subject import SEED, Subject

RESAMPLES = 200


def measure(request: Mapping[str, Any], subject: Subject) -> dict[str, Any]:
    """`{value, low, high, rows}`; None with the reason where it is undefined. Raises StepError for unknown columns."""
    import numpy as np

    text = request["value"]
    columns = _columns(check_expression(text), subject)
    found = evaluate(text, columns)
    if found.value is None:
        return {"value": None, "reason": found.reason, "rows": found.rows}
    generator, rows, samples = np.random.default_rng(SEED), len(subject.truth), []
    for _ in range(RESAMPLES):
        drawn = generator.integers(0, rows, size=rows)
        again = evaluate(text, {name: column[drawn] for name, column in columns.items()})
        samples.append(np.nan if again.value is None else again.value)
    low, high = percentile_interval(np.array(samples)) or (None, None)
    return {"value": found.value, "low": low, "high": high, "rows": found.rows}


def _columns(names: tuple[str, ...], subject: Subject) -> dict[str, Any]:
    """The columns that an expression reads, by name; what the candidate said goes before columns of that name."""
    said, schema, place = subject.said, subject.schema, subject.schema.positive_number
    columns: dict[str, Any] = {}
    for name in names:
        if name in ("prediction", "actual"):
            values = said.prediction if name == "prediction" else subject.truth
            shown = values.tolist() if schema.is_regression else [schema.classes[number] for number in values]
            columns[name] = column_of(shown)
        elif name == "score" and said.probabilities is not None:
            shares = said.probabilities.max(axis=1) if place is None else said.probabilities[:, place]
            columns[name] = column_of(shares.tolist())
        elif name in ("tp", "fp", "tn", "fn"):
            if place is None:
                raise StepError(f"{name} is of two classes, and there are not two", remedy="Use prediction and actual.")
            called, was = said.prediction == place, subject.truth == place
            hit = called == was if name[0] == "t" else called != was
            columns[name] = column_of((hit & (called if name[1] == "p" else ~called)).tolist())
        else:
            columns[name] = column_of(subject.column(name, "value").tolist())
    return columns
