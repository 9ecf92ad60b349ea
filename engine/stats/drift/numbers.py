"""Two samples of numbers: Kolmogorov–Smirnov, Wasserstein, Jensen–Shannon and the population stability index.

All take sorted, finite values. `reference` may be a sketch: then `n` is the number of rows that it stands for.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from engine.stats.shift import population_stability_index

if TYPE_CHECKING:
    from engine.stats.bootstrap import Floats, Ints

BINS = 10  # of equal reference counts
_EXACT_ROWS = 140  # up to here SciPy takes other sums
_DOUBLED = 2.2  # of n·d²: both sides at once are too improbable to matter
_BLOCK = 1 << 16  # numbers looked up at once, so that memory stays small
_CELLS = 1 << 16  # of the grid that finds a number's place among a reference's points
_PLACED = 1 << 14  # numbers placed at once: what is worked out of them stays in the processor's cache


@dataclass(frozen=True)
class Comparison:
    """A test's statistic, the size of the change and the p-value."""

    statistic: float
    effect: float
    p: float


def ks_distance(reference: Floats, batch: Floats) -> float:
    """The largest distance of two distribution functions. Both (k,) and (m,), sorted, not empty.

    It is taken at a point of the smaller sample, or just before one, so that only those are looked up.
    """
    import numpy as np

    few, many = (reference, batch) if len(reference) <= len(batch) else (batch, reference)
    k, m = len(few), len(many)
    largest = 0.0
    for start in range(0, k, _BLOCK):
        block = few[start : start + _BLOCK]
        ranks = np.arange(start, start + len(block))
        above = (ranks + 1) / k - np.searchsorted(many, block, side="right") / m
        below = np.searchsorted(many, block, side="left") / m - ranks / k
        largest = max(largest, float(above.max()), float(below.max()))
    return largest


@dataclass(frozen=True)
class Placed:
    """A batch of `n` finite numbers by its places among a reference's points, which is all that KS needs of it.

    below, up_to: (k,) how many numbers are less than each point, and at most as large. low, high: of the numbers.
    """

    n: int
    low: float
    high: float
    below: Ints
    up_to: Ints


def place(points: Floats, values: Floats) -> Placed:
    """The places of a batch, without sorting it. points: (k,) sorted, finite, not empty. values: (m,) in any order.

    What is not finite is left out. A grid of equal cells over the points says between which of them a number lies, but
    for cells that hold several points: there a binary search does.
    """
    import numpy as np

    with np.errstate(over="ignore", invalid="ignore"):  # a range that is too wide or narrow for a grid has one cell
        return _placed(points, values)


def _placed(points: Floats, values: Floats) -> Placed:
    import numpy as np

    distinct = points[np.concatenate(([True], points[1:] > points[:-1]))]
    low, wide = distinct[0], distinct[-1] - distinct[0]
    scale = _CELLS / wide if wide > 0 else 0.0
    scale = scale if np.isfinite(scale) else 0.0

    def cells(numbers: Floats) -> Ints:
        found = np.subtract(numbers, low)
        np.multiply(found, scale, out=found)
        places: Ints = np.clip(found, 0, _CELLS - 1, out=found).astype(np.intp)  # rounding keeps the order
        return places

    held = np.bincount(cells(distinct), minlength=_CELLS)
    first, crowded = np.cumsum(held) - held, held > 1
    ends = np.append(distinct, np.inf)
    between, at = np.zeros(len(ends), dtype=np.int64), np.zeros(len(ends), dtype=np.int64)
    least, most = np.inf, -np.inf
    for start in range(0, len(values), _PLACED):
        block = values[start : start + _PLACED]
        finite = np.isfinite(block)
        block = block if finite.all() else block[finite]
        if not len(block):
            continue
        least, most = min(least, block.min()), max(most, block.max())
        cell = cells(block)
        places = first[cell]  # of the first point in its cell, or behind it
        places += ends[places] < block
        hard = np.flatnonzero(crowded[cell])
        places[hard] = np.searchsorted(distinct, block[hard])
        between += np.bincount(places, minlength=len(ends))
        at += np.bincount(places[ends[places] == block], minlength=len(ends))
    up_to = np.cumsum(between)
    each = np.searchsorted(distinct, points)
    return Placed(int(up_to[-1]), float(least), float(most), (up_to - at)[each], up_to[each])


def ks_placed(n: int, batch: Placed) -> Comparison:
    """`ks` of a batch that is placed among the reference's points, of which there are no more than of its numbers."""
    import numpy as np

    k, m = len(batch.below), batch.n
    ranks = np.arange(k)
    above, below = (ranks + 1) / k - batch.up_to / m, batch.below / m - ranks / k
    distance = max(0.0, float(above.max()), float(below.max()))
    return Comparison(distance, distance, ks_p_value(distance, n, m))


def ks_p_value(distance: float, n: int, m: int) -> float:
    """The asymptotic p-value of the two-sided test, as `scipy.stats.ks_2samp(method="asymp")` has it.

    Source: Hodges 1958, Arkiv för Matematik 3, 469; for ties it is conservative. Where SciPy doubles the one-sided
    probability (beyond n·d² = 2.2 of more than 140 rows) its sum is taken term by term in C; here at once.
    """
    import numpy as np
    from scipy.stats import kstwo

    effective = round(float(n) * float(m) / (float(n) + float(m)))
    if effective > _EXACT_ROWS and effective * distance**2 >= _DOUBLED and distance < 0.5:
        return min(1.0, 2 * _one_sided(distance, effective))
    return float(np.clip(kstwo.sf(distance, effective), 0, 1))


def _one_sided(distance: float, n: int) -> float:
    """P(D⁺ > distance) of n values. Source: Birnbaum and Tingey 1951, Ann. Math. Stat. 22, 592, equation 3.0."""
    import numpy as np

    j = np.arange(int(n * (1 - distance)) + 1, dtype=np.float64)
    below = distance + j / n
    above = np.maximum(1 - below, 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        power = np.where(j == n, 0, (n - j) * np.log(above))  # 0 to the power of 0 is 1
    terms = np.exp(_log_binomials(n)[: len(j)] + (j - 1) * np.log(below) + power)
    return distance * float(terms.sum())


@lru_cache(maxsize=8)
def _log_binomials(n: int) -> Floats:
    """The logarithms of n over 0 … n."""
    import numpy as np
    from scipy.special import gammaln

    j = np.arange(n + 1, dtype=np.float64)
    every: Floats = gammaln(n + 1.0) - gammaln(j + 1) - gammaln(n - j + 1)
    return every


def ks(reference: Floats, n: int, batch: Floats) -> Comparison:
    """Kolmogorov and Smirnov's two-sample test; the effect is the distance itself, 0–1."""
    distance = ks_distance(reference, batch)
    return Comparison(distance, distance, ks_p_value(distance, n, len(batch)))


def wasserstein(reference: Floats, n: int, batch: Floats) -> Comparison:
    """The earth mover's distance, in the unit of the values; the effect is in robust standard deviations.

    These are the reference's interquartile range / 1.349, or its standard deviation where that is 0. Where the
    reference is constant the effect is 1 unless the batch is the same constant. The distance has no distribution of
    its own that is free of the data's, so that significance is that of Kolmogorov and Smirnov on the same values.
    """
    import numpy as np

    # Two sorted runs: a stable sort merges them.
    every = np.sort(np.concatenate((reference, batch)), kind="stable")
    at = every[:-1]
    apart = np.abs(
        np.searchsorted(reference, at, side="right") / len(reference)
        - np.searchsorted(batch, at, side="right") / len(batch)
    )
    distance = float((apart * np.diff(every)).sum())
    scale = spread(reference)
    effect = distance / scale if scale > 0 else float(distance > 0)
    return Comparison(distance, effect, ks_p_value(ks_distance(reference, batch), n, len(batch)))


def spread(reference: Floats) -> float:
    """A robust standard deviation: interquartile range / 1.349, or the standard deviation where that is 0."""
    import numpy as np

    low, high = np.quantile(reference, [0.25, 0.75])
    return float((high - low) / 1.349) if high > low else float(reference.std())


def histograms(reference: Floats, n: int, batch: Floats, bins: int = BINS) -> tuple[Floats, Floats]:
    """Counts in bins of equal reference counts, the outer ones open; fewer bins where values are tied.

    Each bin ends with a value of the reference and includes it. → (bins,), (bins,); the first sums to `n`.
    """
    import numpy as np

    places = (np.arange(1, bins) * len(reference) / bins).astype(np.int64)
    ends = np.unique(reference[places])
    ends = ends[ends < reference[-1]] if ends.size and ends[-1] == reference[-1] else ends
    if ends.size == 0:  # one value holds nearly all: below it, it, above it
        ends = np.unique([np.nextafter(reference[len(reference) // 2], -np.inf), reference[len(reference) // 2]])
    counts = []
    for values, rows in ((reference, n), (batch, len(batch))):
        ranks = np.concatenate(([0], np.searchsorted(values, ends, side="right"), [len(values)]))
        counts.append(np.diff(ranks) * (rows / len(values)))
    return counts[0], counts[1]


def psi(reference: Floats, batch: Floats) -> Comparison:
    """The population stability index of two histograms, (bins,) counts each.

    Under no drift PSI / (1/n + 1/m) has a chi-squared distribution with bins − 1 degrees of freedom, for PSI is then
    twice a Kullback–Leibler divergence to second order (Yurdakul and Naranjo 2020, Journal of Risk Model Validation
    14, 89). So "significant and at least 0.2" is a threshold of max(0.2, quantile × (1/n + 1/m)).
    """
    value = population_stability_index(reference, batch)
    noise = 1 / float(reference.sum()) + 1 / float(batch.sum())
    return Comparison(value, value, chi_squared_p_value(value / noise, reference.size - 1))


def jensen_shannon(reference: Floats, batch: Floats) -> Comparison:
    """The Jensen–Shannon distance (base 2, 0–1) of two histograms, as `scipy.spatial.distance.jensenshannon` has it.

    Under no drift 8·n·m/(n + m) times the divergence in natural logarithms has, to second order, a chi-squared
    distribution with bins − 1 degrees of freedom.
    """
    import numpy as np
    from scipy.special import rel_entr

    n, m = float(reference.sum()), float(batch.sum())
    p, q = reference / n, batch / m
    middle = (p + q) / 2
    divergence = max(0.0, float((rel_entr(p, middle) + rel_entr(q, middle)).sum() / 2))
    distance = math.sqrt(divergence / math.log(2))
    filled = int(np.count_nonzero(middle))
    return Comparison(distance, distance, chi_squared_p_value(8 * n * m / (n + m) * divergence, filled - 1))


def chi_squared_p_value(statistic: float, degrees: int) -> float:
    """The upper tail of the chi-squared distribution; 1 without degrees of freedom."""
    from scipy.special import chdtrc

    return float(chdtrc(degrees, statistic)) if degrees > 0 else 1.0
