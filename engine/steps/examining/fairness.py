"""How alike the candidate treats groups of the hold-out's rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engine.errors import StepError
from engine.stats import fairness
from engine.steps.examining.groups import groups_by
from engine.steps.examining.subject import SEED, Subject


def measure(request: Mapping[str, Any], subject: Subject) -> dict[str, Any]:
    """See `engine.stats.fairness.measure`. Raises StepError where there are not two classes."""
    place = subject.schema.positive_number
    if place is None:
        raise StepError(
            "fairness is about being selected or not, and there are not two classes", remedy="Take the gate out."
        )
    groups, names = groups_by(subject, request["by"], "fairness.by")
    found = fairness.measure(
        groups,
        names,
        subject.truth == place,
        subject.said.prediction == place,
        criterion=request["fairness"],
        min_rows=request["min_rows"],
        seed=SEED,
    )
    return {**found, "positive": subject.schema.positive}
