"""Curves and summaries for people: ROC, precision–recall, calibration, residuals. At most `POINTS` points each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from engine.stats.classification import Ranking

if TYPE_CHECKING:
    from engine.stats.bootstrap import Floats, Ints

POINTS = 200
BINS = 10


def classification_curves(truth: Ints, probabilities: Floats | None, positive: int | None) -> dict[str, Any]:
    """ROC, precision–recall and calibration of the positive class of two, or ROC of each class against the rest.

    truth: (n,) class numbers; probabilities: (n, k) or None (then there are no curves).
    """
    if probabilities is None or truth.size == 0:
        return {}
    if positive is None:
        each = [roc_curve(truth == number, probabilities[:, number]) for number in range(probabilities.shape[1])]
        return {"roc": each}
    of_class, score = truth == positive, probabilities[:, positive]
    return {
        "roc": [roc_curve(of_class, score)],
        "precision_recall": precision_recall_curve(of_class, score),
        "calibration": calibration(of_class, score),
    }


def roc_curve(positive: Any, score: Floats) -> dict[str, list[float]] | None:
    """False and true positive rates from the highest threshold down. positive: (n,) booleans; score: (n,)."""
    import numpy as np

    at, everything = Ranking.of(score, positive).groups(None)
    true, called = np.cumsum(at), np.cumsum(everything)
    false = called - true
    if true[-1] == 0 or false[-1] == 0:
        return None
    kept = _thinned(true.size)
    return {
        "false_positive_rate": _rounded(np.concatenate(([0.0], false[kept] / false[-1]))),
        "true_positive_rate": _rounded(np.concatenate(([0.0], true[kept] / true[-1]))),
    }


def precision_recall_curve(positive: Any, score: Floats) -> dict[str, list[float]] | None:
    """Precision and recall from the highest threshold down. positive: (n,) booleans; score: (n,)."""
    import numpy as np

    at, everything = Ranking.of(score, positive).groups(None)
    true, called = np.cumsum(at), np.cumsum(everything)
    if true[-1] == 0:
        return None
    kept = _thinned(true.size)
    return {"recall": _rounded(true[kept] / true[-1]), "precision": _rounded(true[kept] / called[kept])}


def calibration(positive: Any, score: Floats) -> dict[str, list[float]]:
    """Mean predicted probability and observed share in bins of equal width, with their rows; empty bins left out."""
    import numpy as np

    places = np.clip((score * BINS).astype(np.int64), 0, BINS - 1)
    rows = np.bincount(places, minlength=BINS)
    used = rows > 0
    predicted = np.bincount(places, weights=score, minlength=BINS)[used] / rows[used]
    observed = np.bincount(places, weights=positive.astype(np.float64), minlength=BINS)[used] / rows[used]
    return {"predicted": _rounded(predicted), "observed": _rounded(observed), "rows": rows[used].tolist()}


def residual_summary(truth: Floats, predicted: Floats) -> dict[str, Any]:
    """Mean, standard deviation and quantiles of truth − prediction, and its histogram. truth, predicted: (n,)."""
    import numpy as np

    residual = truth - predicted
    if residual.size == 0:
        return {}
    levels = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)
    counts, edges = np.histogram(residual, bins=30)
    return {
        "mean": float(residual.mean()),
        "standard_deviation": float(residual.std()),
        "quantiles": {f"{level:g}": float(q) for level, q in zip(levels, np.quantile(residual, levels), strict=True)},
        "histogram": {"edges": edges.tolist(), "counts": counts.tolist()},
    }


def _thinned(size: int) -> Any:
    import numpy as np

    return np.unique(np.linspace(0, size - 1, min(size, POINTS)).round().astype(np.int64))


def _rounded(values: Any) -> list[float]:
    return [round(float(value), 6) for value in values]
