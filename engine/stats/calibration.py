"""The expected calibration error of probabilities, with a bootstrap interval.

Naeini, Cooper and Hauskrecht (2015), over bins of equally many rows (Nguyen and O'Connor 2015): the mean over rows of
the distance between a bin's mean probability and the share of its rows where it came true.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from engine.stats.bootstrap import percentile_interval, resampled, resamples_for

if TYPE_CHECKING:
    from engine.stats.bootstrap import Floats

BINS = 10


def measure(probability: Floats, came_true: Any, seed: int) -> dict[str, Any]:
    """`{value, low, high, rows, bins}`. probability: (n,) in [0, 1]; came_true: (n,) booleans."""
    import numpy as np

    order = np.argsort(probability, kind="stable")
    said, was = probability[order], np.asarray(came_true)[order].astype(np.float64)
    rows = len(said)
    if rows == 0:
        return {"value": None, "reason": "there are no rows", "rows": 0}
    if was.min() == was.max():
        return {"value": None, "reason": "the outcome is the same in every row", "rows": rows}
    starts = np.unique(np.linspace(0, rows, BINS + 1).astype(int)[:-1])

    def error(weights: Floats) -> list[float]:
        weights = weights[order]
        gaps = np.add.reduceat(weights * (said - was), starts)
        return [float(np.abs(gaps).sum() / weights.sum())]

    value = error(np.ones(rows))[0]
    interval = percentile_interval(resampled(error, rows, resamples_for(rows, 2), seed)[:, 0]) or (None, None)
    sizes = np.diff([*starts, rows])
    bins = [
        {"rows": int(size), "said": float(said[at : at + size].mean()), "was": float(was[at : at + size].mean())}
        for at, size in zip(starts, sizes, strict=True)
    ]
    return {"value": value, "low": interval[0], "high": interval[1], "rows": rows, "bins": bins}
