"""Confidence intervals by the bootstrap (Efron 1979; Efron and Tibshirani 1993, chapter 13: the percentile interval).

Rows are drawn with replacement, as many as there are. A statistic of class counts needs the counts alone, whose
bootstrap distribution is multinomial; any other takes a vector of row weights. Seeded: the same data and seed give
the same interval. Where more than `MAX_UNDEFINED` of the resamples leave a statistic undefined, there is no interval.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats: TypeAlias = NDArray[np.float64]
    Ints: TypeAlias = NDArray[np.int64]

CONFIDENCE = 0.95
MAX_RESAMPLES = 1000
MIN_RESAMPLES = 200
MAX_UNDEFINED = 0.05  # of the resamples
_DRAWS = 5_000_000  # rows drawn in all, unless MIN_RESAMPLES need more


def resamples_for(rows: int, passes: int = 1) -> int:
    """How many resamples `rows` rows afford when a statistic goes over them `passes` times."""
    return max(MIN_RESAMPLES, min(MAX_RESAMPLES, _DRAWS // max(1, rows * passes)))


def resampled_counts(counts: Ints, resamples: int, seed: int) -> Ints:
    """Bootstrap resamples of a table of counts. counts: (k,) → (resamples, k), each row summing to counts.sum()."""
    import numpy as np

    total = int(counts.sum())
    if total == 0:
        return np.zeros((resamples, counts.size), dtype=np.int64)
    return np.random.default_rng(seed).multinomial(total, counts / total, size=resamples)


def resampled_weights(rows: int, resamples: int, seed: int) -> Iterator[Floats]:
    """How often each row was drawn, resample by resample. Yields (rows,) arrays that sum to `rows`."""
    import numpy as np

    generator = np.random.default_rng(seed)
    for _ in range(resamples):
        drawn = generator.integers(0, rows, size=rows)
        yield np.bincount(drawn, minlength=rows).astype(np.float64)


def resampled(statistic: Callable[[Floats], Any], rows: int, resamples: int, seed: int) -> Floats:
    """Values of a weighted statistic over resamples. statistic: (rows,) → (m,) → (resamples, m)."""
    import numpy as np

    return np.array([statistic(weights) for weights in resampled_weights(rows, resamples, seed)], dtype=np.float64)


def percentile_interval(samples: Floats, confidence: float = CONFIDENCE) -> tuple[float, float] | None:
    """The percentile interval of a statistic's bootstrap distribution; None when it is too often undefined.

    samples: (resamples,), NaN where undefined. confidence: fraction 0–1.
    """
    import numpy as np

    defined = samples[np.isfinite(samples)]
    if samples.size == 0 or defined.size < (1 - MAX_UNDEFINED) * samples.size:
        return None
    tail = (1 - confidence) / 2
    low, high = np.quantile(defined, [tail, 1 - tail])
    return float(low), float(high)
