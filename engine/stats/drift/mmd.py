"""Maximum mean discrepancy of two samples of rows, with a permutation test (Gretton et al. 2012, JMLR 13, 723).

Gaussian kernel, bandwidth by the median heuristic over the reference's own distances; the unbiased estimate, so that
it may be below 0. Statistic and bandwidth are those of alibi-detect's MMDDrift; its p-value leaves out the "+ 1".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from engine.stats.drift.numbers import Comparison

if TYPE_CHECKING:
    from engine.stats.bootstrap import Floats

ROWS = 1_000  # of each sample that are compared: the kernel of both takes 32 MB
_BLOCK = 100  # permutations at once


def mmd(reference: Floats, batch: Floats, permutations: int, seed: int, sigma: float | None = None) -> Comparison:
    """Have two samples the same distribution? reference: (n, d), batch: (m, d), finite, at least two rows each.

    p = (k + 1) / (permutations + 1), where k permuted values are as large; the same seed gives the same p. The effect
    is the squared discrepancy, 0–2. Memory: 16·(n + m)² bytes; the caller draws rows.
    """
    import numpy as np

    n, m = len(reference), len(batch)
    every = np.concatenate((reference, batch)).astype(np.float64, copy=False)
    distances = squared_distances(every)
    width = median_bandwidth(distances[:n, :n]) if sigma is None else sigma
    kernel = np.exp(distances / (-2 * width**2), out=distances) if width > 0 else (distances == 0).astype(np.float64)
    np.fill_diagonal(kernel, 0)
    chosen = np.zeros((n + m, 1))
    chosen[n:] = 1
    value = float(_discrepancies(kernel, chosen, n, m)[0])
    generator = np.random.default_rng(seed)
    reached = 0
    # Sums of the same kernel in another order differ by rounding; a permutation that gives the same value counts.
    least = value - 1e-12
    for start in range(0, permutations, _BLOCK):
        chosen = np.zeros((n + m, min(_BLOCK, permutations - start)))
        for each in chosen.T:
            each[generator.permutation(n + m)[:m]] = 1
        reached += int((_discrepancies(kernel, chosen, n, m) >= least).sum())
    return Comparison(value, max(0.0, value), (reached + 1) / (permutations + 1))


def squared_distances(rows: Floats) -> Floats:
    """(n, d) → (n, n), at least 0."""
    import numpy as np

    squares = np.einsum("ij,ij->i", rows, rows)
    found = rows @ rows.T
    found *= -2
    found += squares[:, None]
    found += squares[None, :]
    return np.maximum(found, 0, out=found)


def median_bandwidth(distances: Floats) -> float:
    """√(half the median squared distance between different rows). distances: (n, n)."""
    import numpy as np

    n = len(distances)
    rank = n + (n * n - n) // 2 - 1
    return float(np.sqrt(0.5 * np.partition(distances.ravel(), rank)[rank]))


def _discrepancies(kernel: Floats, chosen: Any, n: int, m: int) -> Floats:
    """Of k choices of a batch at once. kernel: (n + m,)², its diagonal 0; chosen: (n + m, k) of 0 and 1 → (k,)."""
    import numpy as np

    within = np.einsum("ij,ij->j", chosen, kernel @ chosen)
    between = kernel.sum(axis=1) @ chosen - within
    outside = kernel.sum() - 2 * between - within
    result: Floats = outside / (n * (n - 1)) + within / (m * (m - 1)) - 2 * between / (n * m)
    return result
