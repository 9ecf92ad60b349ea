"""Metrics of a regressor with bootstrap intervals, equal to scikit-learn's on the same rows.

All but two are ratios of weighted means over rows. The median absolute error is the weighted median. The largest error
has no interval: the bootstrap is not consistent for a maximum (Bickel and Freedman 1981).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from engine.stats.bootstrap import resampled, resamples_for
from engine.stats.estimate import Estimate, Key, estimates

if TYPE_CHECKING:
    from engine.stats.bootstrap import Floats, Ints

SMOOTH = ("rmse", "mse", "mae", "median_absolute_error", "mape", "r2", "explained_variance")
_UNDEFINED = {
    "r2": "the target is constant in the hold-out",
    "explained_variance": "the target is constant in the hold-out",
}


def measure(truth: Floats, predicted: Floats, seed: int) -> dict[Key, Estimate]:
    """Every metric of a regressor. truth, predicted: (n,), finite, in the target's unit."""
    points: dict[Key, float] = {(name, None): value for name, value in point_values(truth, predicted).items()}
    scores = ErrorScores.of(truth, predicted)
    by_name = resampled(scores.at, truth.size, resamples_for(truth.size), seed) if truth.size else None
    samples: dict[Key, Floats] = (
        {} if by_name is None else {(name, None): by_name[:, i] for i, name in enumerate(SMOOTH)}
    )
    return estimates(points, samples, _UNDEFINED)


def point_values(truth: Floats, predicted: Floats) -> dict[str, float]:
    """Every metric without an interval; NaN where undefined. truth, predicted: (n,)."""
    import numpy as np

    values = dict(zip(SMOOTH, ErrorScores.of(truth, predicted).at(None).tolist(), strict=True))
    values["max_error"] = float(np.abs(truth - predicted).max()) if truth.size else np.nan
    return values


@dataclass(frozen=True)
class ErrorScores:
    """The metrics of an error as one weighted statistic."""

    rows: Floats  # (n, 6): error, its square, its size, relative size, centred truth, its square
    ascending: Ints  # rows by size of the error
    sizes: Floats  # those sizes
    constant: bool

    @staticmethod
    def of(truth: Floats, predicted: Floats) -> ErrorScores:
        """Prepare what every resample needs. truth, predicted: (n,)."""
        import numpy as np

        error = truth - predicted
        size = np.abs(error)
        centred = truth - truth.mean() if truth.size else truth
        relative = size / np.maximum(np.abs(truth), np.finfo(np.float64).eps)
        rows = np.column_stack((error, error**2, size, relative, centred, centred**2))
        order = np.argsort(size, kind="stable")
        constant = bool(truth.size == 0 or (truth == truth[0]).all())
        return ErrorScores(rows, order, size[order], constant)

    def at(self, weights: Floats | None) -> Floats:
        """Values in the order rmse, mse, mae, median_absolute_error, mape, r2, explained_variance."""
        import numpy as np

        if self.sizes.size == 0:
            return np.full(len(SMOOTH), np.nan)
        means = self.rows.mean(axis=0) if weights is None else weights @ self.rows / weights.sum()
        error, squared, size, relative, centre, spread = means
        variance = spread - centre**2
        unexplained = squared - error**2
        r2, explained = (
            (np.nan, np.nan) if self.constant or variance <= 0 else (1 - squared / variance, 1 - unexplained / variance)
        )
        return np.array([np.sqrt(squared), squared, size, self._median(weights), relative, r2, explained])

    def _median(self, weights: Floats | None) -> float:
        import numpy as np

        count = self.sizes.size
        if weights is None:
            return float(np.median(self.sizes))
        reached = np.cumsum(weights[self.ascending])
        middle = np.searchsorted(reached, [(count - 1) // 2, count // 2], side="right")
        return float(self.sizes[middle].mean())
