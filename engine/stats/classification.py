"""Metrics of a classifier with bootstrap intervals, equal to scikit-learn's on the same rows.

Classes are numbers 0 … k-1 here. Metrics of predicted classes come from the confusion matrix alone, those of
probabilities from weighted ranks (Mann and Whitney 1947 for ROC AUC; average precision is the step-wise sum) and from
means over rows. Where the rows leave a metric undefined (no row of the class, say) its value is NaN, never 0 or 1;
precision without any predicted row of the class is 0, as in scikit-learn.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from engine.stats.bootstrap import resampled, resampled_counts, resamples_for
from engine.stats.estimate import Estimate, Key, estimates

if TYPE_CHECKING:
    from engine.stats.bootstrap import Floats, Ints

_PER_CLASS = ("precision", "recall", "f1_score", "specificity")
_UNDEFINED = {
    "recall": "no hold-out row is of the positive class",
    "f1_score": "no hold-out row is of the positive class",
    "specificity": "all hold-out rows are of the positive class",
    "cohen_kappa": "truth and prediction are one and the same class throughout",
    "roc_auc": "the hold-out does not hold every class",
    "average_precision": "the hold-out does not hold every class",
}


def confusion_matrix(truth: Ints, predicted: Ints, classes: int) -> Ints:
    """Counts by truth (rows) and prediction (columns). truth, predicted: (n,) → (classes, classes)."""
    import numpy as np

    return np.bincount(truth * classes + predicted, minlength=classes * classes).reshape(classes, classes)


def measure(
    truth: Ints, predicted: Ints, probabilities: Floats | None, classes: int, positive: int | None, seed: int
) -> dict[Key, Estimate]:
    """Every metric of a classifier, by metric and average.

    truth, predicted: (n,) class numbers; probabilities: (n, classes) or None. `positive` is the positive class of two,
    None for more. The entry with the default average (binary for two classes, macro for more) is under `(name, None)`.
    """
    points = point_values(truth, predicted, probabilities, classes, positive)
    matrix = confusion_matrix(truth, predicted, classes)
    drawn = resampled_counts(matrix.ravel(), resamples_for(1), seed).reshape(-1, classes, classes)
    samples: dict[Key, Floats] = dict(label_metrics(drawn, positive))
    if probabilities is not None:
        scores = ProbabilityScores.of(truth, probabilities, positive)
        count = resamples_for(truth.size, passes=max(1, classes // 3))
        by_key = resampled(scores.at, truth.size, count, seed)
        samples |= {key: by_key[:, i] for i, key in enumerate(scores.keys)}
    return estimates(points, samples, _UNDEFINED)


def point_values(
    truth: Ints, predicted: Ints, probabilities: Floats | None, classes: int, positive: int | None
) -> dict[Key, float]:
    """Every metric without an interval, NaN where undefined; arguments as for `measure`."""
    matrix = confusion_matrix(truth, predicted, classes)
    points = {key: float(value) for key, value in label_metrics(matrix, positive).items()}
    if probabilities is not None:
        scores = ProbabilityScores.of(truth, probabilities, positive)
        points |= dict(zip(scores.keys, scores.at(None).tolist(), strict=True))
    return points


def label_metrics(matrix: Any, positive: int | None) -> dict[Key, Any]:
    """Metrics of predicted classes. matrix: (…, k, k) counts, truth by prediction → arrays of shape (…)."""
    import numpy as np

    matrix = np.asarray(matrix, dtype=np.float64)
    total = matrix.sum(axis=(-2, -1))
    hits = np.diagonal(matrix, axis1=-2, axis2=-1)
    support, called = matrix.sum(axis=-1), matrix.sum(axis=-2)
    negatives = total[..., None] - support
    right_negatives = total[..., None] - support - called + hits
    with np.errstate(divide="ignore", invalid="ignore"):
        recall = hits / support
        metrics: dict[Key, Any] = {
            ("accuracy", None): hits.sum(axis=-1) / total,
            ("balanced_accuracy", None): _mean(recall, support > 0),
            ("mcc", None): _matthews(hits, support, called, total),
            ("cohen_kappa", None): _kappa(hits, support, called, total),
        }
        per_class = {
            "precision": _ratio_or(hits, called, 0.0),
            "recall": _ratio_or(hits, support, 0.0),
            "f1_score": _ratio_or(2 * hits, support + called, 0.0),
            "specificity": _ratio_or(right_negatives, negatives, 0.0),
        }
        micro_specificity = right_negatives.sum(axis=-1) / negatives.sum(axis=-1)
    seen = support + called > 0
    for name in _PER_CLASS:
        values = per_class[name]
        micro = micro_specificity if name == "specificity" else metrics["accuracy", None]
        averaged = {
            "macro": _mean(values, seen),
            "micro": micro,
            "weighted": _mean(values, support),
        }
        metrics |= {(name, average): value for average, value in averaged.items()}
        metrics[name, None] = averaged["macro"]
        if positive is not None:
            needed = (negatives if name == "specificity" else support)[..., positive] > 0
            defined = needed | (name == "precision") & (total > 0)
            metrics[name, None] = metrics[name, "binary"] = np.where(defined, values[..., positive], np.nan)
    return metrics


def _ratio_or(top: Any, bottom: Any, otherwise: float) -> Any:
    import numpy as np

    return np.where(bottom > 0, top / bottom, otherwise)


def _mean(values: Any, weights: Any) -> Any:
    """Weighted mean over the last axis; NaN without weight. Values of no weight may be NaN."""
    import numpy as np

    weights = np.asarray(weights, dtype=np.float64)
    return np.where(weights > 0, values * weights, 0.0).sum(axis=-1) / weights.sum(axis=-1)


def _matthews(hits: Any, support: Any, called: Any, total: Any) -> Any:
    """Gorodkin's k-class correlation (2004); 0 when truth or prediction is constant, as in scikit-learn."""
    import numpy as np

    covariance = hits.sum(axis=-1) * total - (support * called).sum(axis=-1)
    spread = (total**2 - (called**2).sum(axis=-1)) * (total**2 - (support**2).sum(axis=-1))
    return np.where(total > 0, np.where(spread > 0, covariance / np.sqrt(spread), 0.0), np.nan)


def _kappa(hits: Any, support: Any, called: Any, total: Any) -> Any:
    """Cohen's kappa (1960); NaN when chance alone agrees always."""
    by_chance = (support * called).sum(axis=-1) / total**2
    return (hits.sum(axis=-1) / total - by_chance) / (1 - by_chance)


@dataclass(frozen=True)
class Ranking:
    """Rows in order of falling score, with the places where a new score begins."""

    order: Ints
    positive: Floats  # (n,) 1 or 0, in that order
    starts: Ints | None  # (groups,), None when all scores differ

    @staticmethod
    def of(score: Floats, positive: Any) -> Ranking:
        """Rank rows by score. score: (n,); positive: (n,) booleans."""
        import numpy as np

        order = np.argsort(-score, kind="stable")
        ranked = score[order]
        changes = np.flatnonzero(np.concatenate(([True], ranked[1:] != ranked[:-1])))
        starts = None if changes.size == score.size else changes
        return Ranking(order, positive[order].astype(np.float64), starts)

    def groups(self, weights: Floats | None) -> tuple[Any, Any]:
        """Weight of the positive and of all rows at each distinct score, from the highest down."""
        import numpy as np

        everything = np.ones_like(self.positive) if weights is None else weights[self.order]
        positives = everything * self.positive
        if self.starts is None:
            return positives, everything
        return np.add.reduceat(positives, self.starts), np.add.reduceat(everything, self.starts)

    def scores(self, weights: Floats | None) -> tuple[float, float]:
        """ROC AUC and average precision; NaN where a class has no weight."""
        import numpy as np

        positives, everything = self.groups(weights)
        true, called = np.cumsum(positives), np.cumsum(everything)
        of_class, others = float(true[-1]), float(called[-1] - true[-1])
        if of_class == 0:
            return np.nan, np.nan
        precision = float(positives @ (true / np.maximum(called, 1e-300))) / of_class
        if others == 0:
            return np.nan, precision
        area = float((everything - positives) @ (true - positives / 2)) / (of_class * others)
        return area, precision


@dataclass(frozen=True)
class ProbabilityScores:
    """The metrics of predicted probabilities as one weighted statistic."""

    keys: tuple[Key, ...]
    rankings: tuple[Ranking, ...]  # one for two classes, else one for each
    rows: Floats  # (n, 2): log loss and Brier score of each row
    truth: Floats  # (n, k): 1 at the true class
    binary: bool

    @staticmethod
    def of(truth: Ints, probabilities: Floats, positive: int | None) -> ProbabilityScores:
        """Sort once what every resample needs sorted. truth: (n,); probabilities: (n, k)."""
        import numpy as np

        one_hot = np.eye(probabilities.shape[1])[truth]
        shares = probabilities / probabilities.sum(axis=1, keepdims=True)
        tiny = np.finfo(np.float64).eps
        at_truth = np.clip(shares[np.arange(truth.size), truth], tiny, 1 - tiny)
        brier = ((probabilities - one_hot) ** 2).sum(axis=1) / (1 if positive is None else 2)
        ranked = range(probabilities.shape[1]) if positive is None else (positive, 1 - positive)
        rankings = tuple(Ranking.of(probabilities[:, c], truth == c) for c in ranked)
        default = (None, "macro", "weighted") if positive is None else (None, "binary", "macro", "weighted")
        keys = [(name, average) for average in default for name in ("roc_auc", "average_precision")]
        rows = np.column_stack((-np.log(at_truth), brier))
        return ProbabilityScores(
            (("log_loss", None), ("brier", None), *keys), rankings, rows, one_hot[:, list(ranked)], positive is not None
        )

    def at(self, weights: Floats | None) -> Floats:
        """All values at these row weights, (n,) or None for 1 each; in the order of `keys`."""
        import numpy as np

        means = self.rows.mean(axis=0) if weights is None else weights @ self.rows / weights.sum()
        support = self.truth.sum(axis=0) if weights is None else weights @ self.truth
        each = np.array([ranking.scores(weights) for ranking in self.rankings])
        macro, weighted = each.mean(axis=0), support @ each / support.sum()
        first = [each[0], each[0]] if self.binary else [macro]
        return np.concatenate((means, *first, macro, weighted))
