"""One metric of a model on some rows, with its bootstrap interval: for parts of the hold-out, of which there are
many."""

from __future__ import annotations

import math
from typing import Any

from engine.spec.metrics import METRICS
from engine.stats.bootstrap import percentile_interval, resampled, resampled_counts
from engine.stats.classification import ProbabilityScores, confusion_matrix, label_metrics
from engine.stats.estimate import Estimate
from engine.stats.paired import Said
from engine.stats.regression import SMOOTH, ErrorScores, point_values

RESAMPLES = 400


def estimate(
    truth: Any, said: Said, *, metric: str, average: str | None, classes: int, positive: int | None, seed: int
) -> Estimate:
    """The metric; None with the reason where the rows leave it undefined.

    truth: (n,) class numbers, or values with `classes` 0. Raises KeyError for a metric that is not of the task.
    """
    import numpy as np

    if len(truth) == 0:
        return Estimate(None, reason="there are no rows")
    key = (metric, average)
    with np.errstate(invalid="ignore", divide="ignore"):
        if classes == 0:
            value = point_values(truth, said.prediction)[metric]
            if metric not in SMOOTH:
                return _estimate(value, None)
            errors, place = ErrorScores.of(truth, said.prediction), SMOOTH.index(metric)
            return _estimate(value, resampled(lambda w: errors.at(w)[place], len(truth), RESAMPLES, seed))
        if METRICS[metric].needs == "labels":
            matrix = confusion_matrix(truth, said.prediction, classes)
            tables = resampled_counts(matrix.ravel(), RESAMPLES, seed).reshape(-1, classes, classes)
            return _estimate(float(label_metrics(matrix, positive)[key]), label_metrics(tables, positive)[key])
        if METRICS[metric].tasks == ("regression",):
            raise KeyError(metric)
        if said.probabilities is None:
            return Estimate(None, reason="the model gives no probabilities")
        scores = ProbabilityScores.of(truth, said.probabilities, positive)
        at = scores.keys.index(key) if key in scores.keys else None
        if at is None:
            raise KeyError(metric)
        drawn = resampled(lambda w: scores.at(w)[at], len(truth), RESAMPLES, seed)
        return _estimate(float(scores.at(None)[at]), drawn)


def _estimate(value: float, samples: Any) -> Estimate:
    if not math.isfinite(value):
        return Estimate(None, reason="its rows leave it undefined")
    interval = percentile_interval(samples) if samples is not None else None
    return Estimate(value) if interval is None else Estimate(value, *interval)
