"""How differently from the champion the candidate answers, on the candidate's hold-out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engine.stats.bootstrap import percentile_interval, resampled, resamples_for
from engine.steps.examining.champion import champion_says
from engine.steps.examining.subject import SEED, Subject


def measure(_request: Mapping[str, Any], subject: Subject) -> dict[str, Any]:
    """`{champion, value, low, high}`: the share of rows with another class, or the mean distance by the target's
    spread."""
    import numpy as np

    says = champion_says(subject)
    if isinstance(says, dict):
        return says
    version, said = says
    if subject.schema.is_regression:
        spread = float(np.std(subject.truth))
        if not spread > 0:
            return {"champion": version, "value": None, "reason": "the target is constant in the hold-out"}
        apart = np.abs(subject.said.prediction - said.prediction) / spread
    else:
        apart = (subject.said.prediction != said.prediction).astype(np.float64)
    rows = len(apart)
    drawn = resampled(lambda weights: [float(weights @ apart / rows)], rows, resamples_for(rows), SEED)
    low, high = percentile_interval(drawn[:, 0]) or (None, None)
    return {"champion": version, "value": float(apart.mean()), "low": low, "high": high}
