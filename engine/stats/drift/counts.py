"""Two samples of categories, or of two outcomes: chi-squared, shares, values never seen before, lost variety."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from engine.stats.drift.numbers import Comparison, chi_squared_p_value

if TYPE_CHECKING:
    from engine.stats.bootstrap import Floats

LEAST_EXPECTED = 5.0  # rows, of a category in the smaller sample (Cochran 1954, Biometrics 10, 417)


def paired_counts(reference: Mapping[str, int], rest: int, batch: Mapping[str, int]) -> tuple[Floats, Floats]:
    """Counts of the same categories, side by side. `rest`: reference rows of categories whose names are not kept.

    Categories that expect fewer than `LEAST_EXPECTED` rows in the smaller sample are pooled. That depends on both
    samples' sum alone, so that it does not favour either. → (k,), (k,)
    """
    import numpy as np

    if rest:  # a name that is not kept may be one of the rest
        unknown = sum(count for name, count in batch.items() if name not in reference)
        reference = {**reference, "": reference.get("", 0) + rest}
        batch = {name: count for name, count in batch.items() if name in reference}
        batch[""] = batch.get("", 0) + unknown
    names = sorted(reference.keys() | batch.keys())
    both = np.array([[reference.get(name, 0) for name in names], [batch.get(name, 0) for name in names]], dtype=float)
    totals = both.sum(axis=1)
    if not totals.all():
        return both[0], both[1]
    expected = both.sum(axis=0) * totals.min() / totals.sum()
    rare = expected < LEAST_EXPECTED
    if rare.sum() < 2:
        return both[0], both[1]
    pooled = np.column_stack((both[:, ~rare], both[:, rare].sum(axis=1)))
    return pooled[0], pooled[1]


def chi_squared(reference: Floats, batch: Floats) -> Comparison:
    """Pearson's test of homogeneity, as `scipy.stats.chi2_contingency(correction=False)`. (k,), (k,) counts.

    The effect is Cramér's V as it would be with samples of equal size, so that it does not shrink when one of them is
    much the larger: √(½ Σ (p − q)² / (p + q)), 0–1; for small changes half of Cohen's w.
    """
    import numpy as np

    filled = (reference + batch) > 0
    a, b = reference[filled], batch[filled]
    n, m = a.sum(), b.sum()
    total = a + b
    statistic = float(sum(((x - total * s / (n + m)) ** 2 / (total * s / (n + m))).sum() for x, s in ((a, n), (b, m))))
    p, q = a / n, b / m
    effect = math.sqrt(float(np.sum((p - q) ** 2 / (p + q))) / 2)
    return Comparison(statistic, effect, chi_squared_p_value(statistic, a.size - 1))


def two_shares(hits: int, n: int, batch_hits: int, m: int) -> Comparison:
    """Do two samples have the same share of something? The effect is the difference of shares, the statistic z.

    Pooled z-test; Fisher's exact one where fewer than `LEAST_EXPECTED` are expected in a cell.
    """
    share, batch_share = hits / n, batch_hits / m
    pooled = (hits + batch_hits) / (n + m)
    error = math.sqrt(pooled * (1 - pooled) * (1 / n + 1 / m))
    if error == 0:
        return Comparison(0.0, 0.0, 1.0)
    z = (batch_share - share) / error
    if min(pooled, 1 - pooled) * min(n, m) < LEAST_EXPECTED:
        from scipy.stats import fisher_exact

        p = float(fisher_exact([[hits, n - hits], [batch_hits, m - batch_hits]])[1])
    else:
        p = math.erfc(abs(z) / math.sqrt(2))
    return Comparison(z, abs(batch_share - share), p)


def unseen(reference: Mapping[str, int], batch: Mapping[str, int]) -> Comparison | None:
    """Are there more values that the reference never had than it leads to expect? None if there is nothing to test.

    Good and Turing's estimate of their share is that of values which occur once in the reference (Good 1953,
    Biometrika 40, 237). The p-value is Fisher's, one-sided; the effect the share beyond the estimate; the statistic
    the share of unseen values itself.
    """
    from scipy.stats import hypergeom

    n, m = sum(reference.values()), sum(batch.values())
    once = sum(1 for count in reference.values() if count == 1)
    new = sum(count for name, count in batch.items() if name not in reference)
    if once + new == 0 or not n or not m:
        return None
    p = float(hypergeom.sf(new - 1, n + m, once + new, m))
    return Comparison(new / m, max(0.0, new / m - once / n), min(1.0, p))


def lost_variety(others: int, n: int, m: int) -> Comparison:
    """A batch of `m` equal values, where `others` of the reference's `n` differ from it. The effect is their share.

    The p-value is exact: the chance that none of the others fell into the batch (hypergeometric).
    """
    log_p = sum(
        sign * math.lgamma(value + 1) for sign, value in ((1, n), (-1, n - others), (1, n + m - others), (-1, n + m))
    )
    return Comparison(others / n, others / n, min(1.0, math.exp(log_p)))
