"""Whether the candidate's probabilities mean what they say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engine.errors import StepError
from engine.stats import calibration
from engine.steps.examining.subject import SEED, Subject


def measure(_request: Mapping[str, Any], subject: Subject) -> dict[str, Any]:
    """See `engine.stats.calibration`. Raises StepError for a model without probabilities."""
    subject.classes_only("calibration")
    said, place = subject.said, subject.schema.positive_number
    if said.probabilities is None:
        raise StepError("the model gives no probabilities", remedy="Take the gate out, or train one that does.")
    if place is not None:
        return calibration.measure(said.probabilities[:, place], subject.truth == place, SEED)
    return calibration.measure(said.probabilities.max(axis=1), subject.truth == said.probabilities.argmax(axis=1), SEED)
