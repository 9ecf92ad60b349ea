"""Two models on the same rows: the difference of a metric, with an interval by the paired bootstrap.

Both models are resampled with the same rows (Efron and Tibshirani 1993, chapter 15; for classifiers Demšar 2006 and
Berg-Kirkpatrick et al. 2012), so that what is hard for both cancels out. Metrics of predicted classes need the counts
of (truth, one prediction, the other) alone, which are multinomial. The interval is the percentile one, 93 % wide: each
end is missed by 3.5 % nominally, which leaves room under 5 % for what the percentile interval misses on few rows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from engine.spec.metrics import METRICS
from engine.stats.bootstrap import percentile_interval, resampled, resampled_counts, resamples_for
from engine.stats.classification import ProbabilityScores, label_metrics
from engine.stats.regression import SMOOTH, ErrorScores, point_values

if TYPE_CHECKING:
    from engine.stats.bootstrap import Floats, Ints

CONFIDENCE = 0.93
_MOST_NUMBERS = 4_000_000  # in memory at a time


@dataclass(frozen=True)
class Comparison:
    """A metric of a candidate and of another model on the same rows; `difference` is candidate minus other.

    `low`, `high`: ends of the difference's interval, None with the `reason` where there is none.
    """

    candidate: float | None
    other: float | None
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    reason: str = ""

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return dict(vars(self))


@dataclass(frozen=True)
class Said:
    """What a model said of n rows. prediction: (n,) class numbers or values; probabilities: (n, k) or None."""

    prediction: Any
    probabilities: Floats | None = None


def compare(
    truth: Any,
    candidate: Said,
    other: Said,
    *,
    metric: str,
    average: str | None,
    classes: int,
    positive: int | None,
    seed: int,
) -> Comparison:
    """Compare two models by a metric. truth: (n,) class numbers, or values with `classes` 0."""
    if len(truth) == 0:
        return Comparison(None, None, reason="there are no rows")
    if classes == 0:
        return _values(truth, candidate, other, metric, seed)
    if METRICS[metric].needs == "labels":
        return _labels(truth, candidate, other, (metric, average), classes, positive, seed)
    return _probabilities(truth, candidate, other, (metric, average), positive, seed)


def _labels(
    truth: Ints, candidate: Said, other: Said, key: Any, classes: int, positive: int | None, seed: int
) -> Comparison:
    import numpy as np

    codes = (truth * classes + candidate.prediction) * classes + other.prediction
    cells, counts = np.unique(codes, return_counts=True)  # of k³ cells most are empty
    places = (cells // classes, cells // classes**2 * classes + cells % classes)

    def values(draws: Any) -> Floats:
        """Of both models. draws: (m, cells) counts → (m, 2)."""
        both = []
        for at in places:
            matrices = np.zeros((len(draws), classes**2))
            for cell, place in enumerate(at):
                matrices[:, place] += draws[:, cell]
            both.append(label_metrics(matrices.reshape(-1, classes, classes), positive)[key])
        return np.column_stack(both)

    with np.errstate(invalid="ignore", divide="ignore"):
        [(mine, its)] = values(counts[None])
        draws = resampled_counts(counts, resamples_for(1), seed)
        parts = max(1, len(draws) * classes**2 // _MOST_NUMBERS)  # of many classes a few draws at a time
        drawn = np.concatenate([values(part) for part in np.array_split(draws, parts)])
    return _compared(float(mine), float(its), drawn[:, 0] - drawn[:, 1])


def _probabilities(truth: Ints, candidate: Said, other: Said, key: Any, positive: int | None, seed: int) -> Comparison:
    if candidate.probabilities is None or other.probabilities is None:
        who = "the candidate" if candidate.probabilities is None else "the champion"
        return Comparison(None, None, reason=f"{who} gives no probabilities")
    mine = ProbabilityScores.of(truth, candidate.probabilities, positive)
    its = ProbabilityScores.of(truth, other.probabilities, positive)
    place = mine.keys.index(key)
    count = resamples_for(truth.size, passes=max(2, 2 * candidate.probabilities.shape[1] // 3))
    drawn = resampled(lambda weights: mine.at(weights)[place] - its.at(weights)[place], truth.size, count, seed)
    return _compared(float(mine.at(None)[place]), float(its.at(None)[place]), drawn)


def _values(truth: Floats, candidate: Said, other: Said, metric: str, seed: int) -> Comparison:
    values, others = point_values(truth, candidate.prediction), point_values(truth, other.prediction)
    if metric not in SMOOTH:
        return Comparison(
            _finite(values[metric]),
            _finite(others[metric]),
            _finite(values[metric] - others[metric]),
            reason="no bootstrap interval exists for it",
        )
    mine, its = ErrorScores.of(truth, candidate.prediction), ErrorScores.of(truth, other.prediction)
    place, count = SMOOTH.index(metric), resamples_for(truth.size, passes=2)
    drawn = resampled(lambda weights: mine.at(weights)[place] - its.at(weights)[place], truth.size, count, seed)
    return _compared(values[metric], others[metric], drawn)


def _compared(mine: float, its: float, drawn: Any) -> Comparison:
    difference = _finite(mine - its)
    if difference is None:
        return Comparison(_finite(mine), _finite(its), reason="the hold-out leaves it undefined")
    interval = percentile_interval(drawn, CONFIDENCE)
    if interval is None:
        return Comparison(mine, its, difference, reason="too many resamples leave it undefined")
    return Comparison(mine, its, difference, *interval)


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
