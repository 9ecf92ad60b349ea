"""Do two releases predict alike? A test of binned predictions that may be looked at all the time, and how large it is.

Requests go to the candidate with probability w, the weight of that moment. If both releases predict alike, a prediction
in a bin is the candidate's with probability w too, whatever the traffic is like and however it drifts. In each bin the
likelihood ratios of a density ratio r, with odds w·r : 1 − w, are averaged over a grid on both sides of 1; the bins'
e-processes are multiplied, as each moves on predictions of its own. Source of the conditional argument: Lindon and
Malek 2020, arXiv 2011.03567; of products and averages of e-processes: Ramdas, Grünwald, Vovk and Shafer 2023,
Statistical Science 38, 576.

With enough traffic any two releases differ, so a shift also has to be large: by the population stability index (PSI)
with pseudocounts, between histograms that are compared within each weight. Only sums by weight matter. Predictions
count as independent: where a key sticks to a release and sends many requests, count its first.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

from engine.stats import inputs

if TYPE_CHECKING:
    from engine.stats.bootstrap import Floats

LARGE = 0.2  # PSI from here on is a large shift, by convention
RATIOS = (0.1, 0.25, 0.5, 2 / 3, 0.8, 1.25, 1.5, 2.0, 4.0, 10.0)
_UNCHANGED = 0.5  # prior probability that a bin is as it was, so that quiet bins cost log(2) at most
_PSEUDOCOUNT = 0.5


@dataclass(frozen=True)
class ScoreBatch:
    """Predictions by bin, (bins,) each, while the candidate's weight was `weight`, fraction 0–1.

    At weight 0 and 1 there is nothing to compare with: such a batch counts for nothing. Raises ValueError for a weight
    outside 0–1, fewer than two bins, lengths that differ, and counts that are negative, broken or NaN.
    """

    weight: float
    stable: tuple[int, ...]
    candidate: tuple[int, ...]

    def __post_init__(self) -> None:
        inputs.share("weight", self.weight)
        if len(self.stable) != len(self.candidate) or len(self.stable) < 2:
            raise ValueError(
                f"{len(self.stable)} and {len(self.candidate)} bins; two or more are needed, as many of both"
            )
        for number in (*self.stable, *self.candidate):
            inputs.count("a count", number)


@dataclass(frozen=True)
class Shift:
    """Evidence of a shift, and its size.

    `log_e` is that of all batches, `log_e_max` the highest after any. `psi` and `total_variation` (fraction 0–1 of
    predictions that would have to move) are None as long as no weight has predictions of both releases. `noise` is the
    PSI that releases without a shift stay below in 95 of 100 looks. predictions: counts that were compared.
    """

    log_e: float = 0.0
    log_e_max: float = 0.0
    psi: float | None = None
    noise: float | None = None
    total_variation: float | None = None
    predictions: int = 0

    def shifted(self, alpha: float, large: float = LARGE) -> bool:
        """Is there a shift that is both real and large? Wrong with probability `alpha` at most, over all looks."""
        inputs.positive("large", large)
        if self.psi is None or self.noise is None:
            return False
        return self.log_e_max >= -math.log(inputs.level(alpha)) and self.psi >= max(large, self.noise)


def shift(batches: Iterable[ScoreBatch]) -> Shift:
    """The evidence of batches in the order of time. Raises ValueError when they differ in the number of bins."""
    import numpy as np

    used = [batch for batch in batches if 0 < batch.weight < 1]
    if not used:
        return Shift()
    if len({len(batch.stable) for batch in used}) > 1:
        raise ValueError("the batches differ in the number of bins")
    weights = np.array([batch.weight for batch in used])
    stable = np.array([batch.stable for batch in used], dtype=np.float64)
    candidate = np.array([batch.candidate for batch in used], dtype=np.float64)
    process = log_e_process(weights, stable, candidate)
    sizes = _sizes(weights, stable, candidate)
    predictions = int(stable.sum() + candidate.sum())
    return Shift(float(process[-1]), max(0.0, float(process.max())), *sizes, predictions)


def log_e_process(weights: Any, stable: Any, candidate: Any) -> Floats:
    """Log of the evidence after each batch, of many rollouts at once.

    weights: (batches,), strictly between 0 and 1; stable, candidate: (…, batches, bins) → (…, batches).
    """
    import numpy as np

    weights = np.asarray(weights, dtype=np.float64)[:, None]
    candidate = np.asarray(candidate, dtype=np.float64)
    both = candidate + stable
    total = np.full(both.shape, math.log(_UNCHANGED))
    prior = math.log((1 - _UNCHANGED) / len(RATIOS))
    for ratio in RATIOS:
        steps = candidate * math.log(ratio) - both * np.log1p(weights * (ratio - 1))
        total = np.logaddexp(total, prior + np.cumsum(steps, axis=-2))
    return np.asarray(total.sum(axis=-1), dtype=np.float64)


def population_stability_index(reference: Any, current: Any) -> float:
    """PSI of two histograms: Σ (q − p)·log(q/p), with half a count added to every bin so that it is always finite.

    reference, current: (bins,) counts of at least 0. Raises ValueError when one of them is empty.
    """
    import numpy as np

    reference, current = np.asarray(reference, dtype=np.float64), np.asarray(current, dtype=np.float64)
    if not (reference.sum() > 0 and current.sum() > 0):
        raise ValueError("a histogram without counts has no stability index")
    p, q = ((h + _PSEUDOCOUNT) / (h.sum() + _PSEUDOCOUNT * h.size) for h in (reference, current))
    return float(((q - p) * np.log(q / p)).sum())


def chi_squared_quantile(probability: float, degrees: int) -> float:
    """By the cube-root approximation of Wilson and Hilferty (1931): within 0.3 % from 5 degrees of freedom on."""
    inputs.inner_share("probability", probability)
    spread = 2 / (9 * inputs.positive("degrees", degrees))
    return float(degrees * max(0.0, 1 - spread + NormalDist().inv_cdf(probability) * math.sqrt(spread)) ** 3)


def _sizes(weights: Floats, stable: Floats, candidate: Floats) -> tuple[float | None, float | None, float | None]:
    """PSI, its noise and total variation. stable, candidate: (batches, bins).

    Histograms are compared within each weight and averaged by precision, n·m / (n + m); so traffic that drifts while
    the weight ramps makes no shift. Each average is worth `count` predictions, of the variance that it has.
    """
    import numpy as np

    strata, place = np.unique(weights, return_inverse=True)
    sums = np.zeros((2, strata.size, stable.shape[1]))
    np.add.at(sums[0], place, stable)
    np.add.at(sums[1], place, candidate)
    sums = sums[:, (sums.sum(axis=-1) > 0).all(axis=0)]
    if sums.shape[1] == 0:
        return None, None, None
    n = sums.sum(axis=-1)
    precision = n[0] * n[1] / (n[0] + n[1])
    precision /= precision.sum()
    shares = (precision[:, None] * sums / n[..., None]).sum(axis=1)
    count = 1 / (precision**2 / n).sum(axis=-1)
    psi = population_stability_index(shares[0] * count[0], shares[1] * count[1])
    noise = chi_squared_quantile(0.95, stable.shape[1] - 1) * float((1 / count).sum())
    return psi, noise, float(np.abs(shares[0] - shares[1]).sum() / 2)
