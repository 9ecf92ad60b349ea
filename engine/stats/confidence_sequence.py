"""Confidence sequences for means: intervals that hold at all times together, so that looking often costs nothing.

Asymptotic confidence sequences of Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas (arXiv 2103.06476): the bounds of a
Gaussian mixture with the estimated variance in the place of the true one. "Asymptotic" means that the error rate is
right once there is enough data; before `BURN_IN` observations of each release there are no bounds at all. Rare events
(an accuracy near 1) are the hard case: the few that were seen say too little of the variance. Where the quantity is
bounded, give its `span`: spreads are then taken as if two more values lay a span above the mean, and two below.

Two releases are compared within the times of equal weight, and the differences averaged with the precision that each
weight gives them. As requests are assigned at random within it, a mean that drifts while the weight ramps does not
look like a difference (a pooled comparison would: Simpson's paradox). Only sums by weight matter.

Observations count as independent. Where a key sticks to a release and sends many requests, count its first alone: with
20 requests of each key, correlated by 0.5, 95 of 100 comparisons of equal releases end in a false alarm.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from engine.stats import inputs

if TYPE_CHECKING:
    from engine.stats.bootstrap import Floats

BURN_IN = 100  # observations of each release before there are bounds
TUNED_AT = 1000.0  # the effective sample size at which the bounds are as tight as they can be
_ROUNDING = 1e-12  # of a sum of squares
_LEAST = 10  # observations of each release at a weight, before that weight counts

Sides = Literal["both", "lower", "upper"]


@dataclass(frozen=True)
class Moments:
    """Count, sum and sum of squares of a quantity, in its unit and its unit squared.

    Raises ValueError for counts that are negative, broken or NaN, sums that are not finite, and sums that no `count`
    numbers have.
    """

    count: int = 0
    total: float = 0.0
    squares: float = 0.0

    def __post_init__(self) -> None:
        inputs.count("count", self.count)
        inputs.finite("total", self.total)
        inputs.finite("squares", self.squares)
        least = self.total**2 / self.count if self.count else abs(self.total)
        if self.squares < least * (1 - 1e-6) or (self.count == 0 and self.squares != 0):
            raise ValueError(f"no {self.count} numbers have the sum {self.total!r} and sum of squares {self.squares!r}")

    @staticmethod
    def of(values: Any) -> Moments:
        """The moments of numbers. values: (n,)."""
        import numpy as np

        values = np.asarray(values, dtype=np.float64)
        return Moments(int(values.size), float(values.sum()), float((values**2).sum()))

    def __add__(self, other: Moments) -> Moments:
        return Moments(self.count + other.count, self.total + other.total, self.squares + other.squares)


@dataclass(frozen=True)
class MeanBatch:
    """Moments of both releases while the candidate's weight was `weight`, fraction 0–1.

    At weight 0 and 1 there is nothing to compare with: such a batch counts for nothing. Raises ValueError for a weight
    outside 0–1.
    """

    weight: float
    stable: Moments
    candidate: Moments

    def __post_init__(self) -> None:
        inputs.share("weight", self.weight)


@dataclass(frozen=True)
class Bounds:
    """An estimate with its bounds; without enough data the estimate may be None and the bounds are infinite.

    `size` is the effective sample size: n for one mean, the sum of n·m / (n + m) over the weights for a difference.
    """

    estimate: float | None = None
    low: float = -math.inf
    high: float = math.inf
    size: float = 0.0

    def as_ratio(self) -> Bounds:
        """Of a difference of logarithms: the ratio of geometric means, with bounds from 0 to infinity."""
        estimate = None if self.estimate is None else _exp(self.estimate)
        return Bounds(estimate, _exp(self.low), _exp(self.high), self.size)


def mean_bounds(
    moments: Moments,
    alpha: float,
    sides: Sides = "both",
    *,
    span: float = 0.0,
    tuned_at: float = TUNED_AT,
    burn_in: int = BURN_IN,
) -> Bounds:
    """Bounds of a mean that hold at all times together, but for probability `alpha`.

    Of a mean that drifts they bound its average so far. `sides` "lower" or "upper" spends all of alpha on that side;
    the other one is infinite. span: largest possible value minus smallest, 0 where there is none. tuned_at:
    observations. Raises ValueError for numbers out of range.
    """
    _check(alpha, span, tuned_at, burn_in)
    if moments.count == 0:
        return Bounds()
    mean = moments.total / moments.count
    spread = float(_spread(moments.count, moments.total, moments.squares, span))
    if moments.count < max(2, burn_in) or spread <= 0:
        return Bounds(mean, size=moments.count)
    deviation = math.sqrt(spread / (moments.count - 1))
    return _bounds(mean, deviation * float(radius(moments.count, alpha, sides, tuned_at)), sides, moments.count)


def difference_bounds(
    batches: Iterable[MeanBatch],
    alpha: float,
    sides: Sides = "both",
    *,
    span: float = 0.0,
    tuned_at: float = TUNED_AT,
    burn_in: int = BURN_IN,
) -> Bounds:
    """Bounds of the candidate's mean minus the stable release's, at all times together but for probability `alpha`.

    span: largest possible value minus smallest (1 for an accuracy), 0 where there is none. tuned_at: effective sample
    size, see `Bounds`. burn_in: observations of each release. The mean of log(seconds) makes a ratio of latencies:
    `difference_bounds(…).as_ratio()`. Raises ValueError for numbers out of range.
    """
    import numpy as np

    _check(alpha, span, tuned_at, burn_in)
    sums: dict[float, tuple[Moments, Moments]] = {}
    for batch in batches:
        if 0 < batch.weight < 1:
            stable, candidate = sums.get(batch.weight, (Moments(), Moments()))
            sums[batch.weight] = stable + batch.stable, candidate + batch.candidate
    if not sums:
        return Bounds()
    rows = [[(m.count, m.total, m.squares) for m in sums[weight]] for weight in sorted(sums)]
    table = np.array(rows, dtype=np.float64).transpose(1, 2, 0)
    found = stratified_difference(table[0], table[1], span)
    estimate, variance, size, least = (float(value) for value in found)
    if size == 0:
        return Bounds()
    if least < burn_in or variance <= 0:
        return Bounds(estimate, size=size)
    return _bounds(estimate, math.sqrt(variance) * float(radius(size, alpha, sides, tuned_at)), sides, size)


def stratified_difference(stable: Any, candidate: Any, span: float = 0.0) -> tuple[Floats, Floats, Floats, Floats]:
    """Differences of means within each weight, averaged by precision; of many rollouts at once.

    stable, candidate: (…, 3, weights): count, sum, sum of squares. Returns (…) each: the difference (NaN without data),
    the variance of one unit of effective sample size, that size, and the observations of the release that has fewer.
    A weight's variance is the larger of the pooled one and that of the two releases apart, so that neither a release
    whose few values happen to agree nor one that varies more makes the bounds too narrow.
    """
    import numpy as np

    stable, candidate = np.asarray(stable, dtype=np.float64), np.asarray(candidate, dtype=np.float64)
    counts = np.stack((stable[..., 0, :], candidate[..., 0, :]))
    used = (counts >= _LEAST).all(axis=0)
    n, m = np.where(used, counts, _LEAST)
    mean_n, mean_m = stable[..., 1, :] / n, candidate[..., 1, :] / m
    spread_n = _spread(n, stable[..., 1, :], stable[..., 2, :], span)
    spread_m = _spread(m, candidate[..., 1, :], candidate[..., 2, :], span)
    precision = np.where(used, n * m / (n + m), 0)
    size = precision.sum(axis=-1)
    pooled = (spread_n + spread_m) / (n + m - 2)
    apart = (spread_n / (n - 1) / n + spread_m / (m - 1) / m) * n * m / (n + m)
    with np.errstate(invalid="ignore"):
        difference = (precision * (mean_m - mean_n)).sum(axis=-1) / size
        variance = (precision * np.maximum(pooled, apart)).sum(axis=-1) / size
    return difference, variance, size, np.where(used, counts, 0).sum(axis=-1).min(axis=0)


def radius(size: Any, alpha: float, sides: Sides = "both", tuned_at: float = TUNED_AT) -> Any:
    """Half the width of the sequence for a standard deviation of 1. size: (…), above 0 → (…).

    The one-sided form is narrower, and tuned with alpha doubled.
    """
    import numpy as np

    size = np.asarray(size, dtype=np.float64)
    spent = alpha if sides == "both" else 2 * alpha
    time = size * _tuned(spent) / tuned_at  # t·ρ²
    root = np.sqrt(1 + time) / spent
    return np.sqrt(2 * (1 + 1 / time) / size * np.log(root if sides == "both" else 1 + root))


def _spread(count: Any, total: Any, squares: Any, span: float) -> Any:
    """Sum of squared deviations from the mean. One that rounding alone could leave of equal values is 0."""
    import numpy as np

    deviations = squares - total**2 / count
    return np.where(deviations > _ROUNDING * squares, deviations, 0.0) + 4 * span**2


def _tuned(alpha: float) -> float:
    """The t·ρ² at which the two-sided width is least: the root of x = −2 log(alpha) + log(1 + x)."""
    value = start = max(-2 * math.log(min(alpha, 0.999)), 1e-3)
    for _ in range(100):
        value = start + math.log1p(value)
    return value


def _check(alpha: float, span: float, tuned_at: float, burn_in: int) -> None:
    inputs.level(alpha)
    if span:
        inputs.positive("span", span)
    inputs.positive("tuned_at", tuned_at)
    inputs.count("burn_in", burn_in)


def _bounds(estimate: float, half: float, sides: Sides, size: float) -> Bounds:
    low = -math.inf if sides == "upper" else estimate - half
    high = math.inf if sides == "lower" else estimate + half
    return Bounds(estimate, low, high, size)


def _exp(value: float) -> float:
    return math.exp(value) if value < 709 else math.inf
