"""Performance without labels: confidence-based performance estimation (CBPE).

The probabilities of a model are calibrated on the hold-out by isotonic regression (Zadrozny and Elkan 2002). If they
are right, a window's expected confusion matrix is the sum over rows of p at the prediction and 1 - p against it, and
every metric follows from it; so do expected ranks, log loss and Brier score (NannyML's documentation, "Confidence-based
Performance Estimation"; Kivimäki et al., arXiv 2407.08649). It sees a shift of the features, not one of the concept:
what is estimated may warn and never proves anything.

The interval is where the metric itself would lie in 95 % of windows with these rows: labels are drawn by the calibrated
probabilities, seeded. It does not cover an error of the calibration.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from engine.stats.bootstrap import percentile_interval
from engine.stats.classification import Ranking, label_metrics
from engine.stats.estimate import Estimate

if TYPE_CHECKING:
    from engine.stats.bootstrap import Floats

MIN_ROWS = 100  # of the hold-out, with both outcomes among them, for a calibration
_DRAWS = 500
_RANKED_DRAWS = 100
_EPSILON = 2.220446049250313e-16
_RANKED = ("roc_auc", "average_precision")
_MEANS = ("log_loss", "brier")


@dataclass(frozen=True)
class Calibration:
    """A growing step-wise linear map from scores to probabilities: knots of an isotonic regression.

    `of`: `positive`, the score is of the positive class; `correct`, of the predicted one.
    """

    of: str
    scores: tuple[float, ...]
    probabilities: tuple[float, ...]

    def __call__(self, scores: Any) -> Floats:
        """Calibrated probabilities. scores: (n,) → (n,)."""
        import numpy as np

        found: Floats = np.interp(scores, self.scores, self.probabilities)
        return found


def calibrate(scores: Any, outcomes: Any, of: str) -> Calibration | str:
    """A calibration from the hold-out, or why there is none. scores: (n,) in [0, 1]; outcomes: (n,) booleans."""
    import numpy as np

    outcomes = np.asarray(outcomes, dtype=np.float64)
    if outcomes.size < MIN_ROWS:
        return f"the hold-out has {outcomes.size:,} rows, and a calibration needs {MIN_ROWS}"
    if outcomes.min() == outcomes.max():
        return "the hold-out has one outcome only"
    from sklearn.isotonic import IsotonicRegression

    fitted = IsotonicRegression(y_min=0.0, y_max=1.0, out_of_bounds="clip").fit(scores, outcomes)
    return Calibration(of, tuple(fitted.X_thresholds_.tolist()), tuple(fitted.y_thresholds_.tolist()))


def estimate_binary(scores: Floats, predicted: Any, calibration: Calibration, seed: int) -> dict[str, Estimate]:
    """Every metric of a two-class model. scores: (n,) of the positive class; predicted: (n,) booleans, positive or not.

    The positive class is number 1 of the confusion matrix.
    """
    import numpy as np

    predicted = np.asarray(predicted, dtype=bool)
    p = calibration(scores)
    values = {name: float(value) for name, value in _of_counts(_expected(p, predicted)).items()}
    values |= _of_scores(scores, p)
    drawn = _drawn(scores, predicted, p, np.random.default_rng(seed))
    return {name: _estimate(value, drawn.get(name)) for name, value in sorted(values.items())}


def estimate_accuracy(scores: Floats, calibration: Calibration, seed: int) -> dict[str, Estimate]:
    """The accuracy of a model of many classes. scores: (n,) of the predicted class."""
    import numpy as np

    p = calibration(scores)
    generator = np.random.default_rng(seed)
    drawn = np.array([(generator.random(p.size) < p).mean() for _ in range(_DRAWS)])
    return {"accuracy": _estimate(float(p.mean()), drawn)}


def _expected(p: Floats, predicted: Any) -> Any:
    """The expected confusion matrix, truth by prediction. p: (n,), predicted: (n,) → (2, 2)."""
    import numpy as np

    right, wrong = p[predicted].sum(), p[~predicted].sum()
    return np.array([[(1 - p)[~predicted].sum(), (1 - p)[predicted].sum()], [wrong, right]])


def _of_counts(matrix: Any) -> Mapping[str, Any]:
    """Metrics by name. matrix: (…, 2, 2)."""
    return {name: value for (name, average), value in label_metrics(matrix, 1).items() if average is None}


def _of_scores(scores: Floats, p: Floats) -> dict[str, float]:
    """Expected values of the metrics of probabilities: each row is positive with weight p and negative with 1 - p."""
    import numpy as np

    doubled = Ranking.of(np.concatenate((scores, scores)), np.repeat([True, False], scores.size))
    area, precision = doubled.scores(np.concatenate((p, 1 - p)))
    clipped = np.clip(scores, _EPSILON, 1 - _EPSILON)
    loss = -(p * np.log(clipped) + (1 - p) * np.log(1 - clipped)).mean()
    brier = (p * (1 - scores) ** 2 + (1 - p) * scores**2).mean()
    return {"roc_auc": area, "average_precision": precision, "log_loss": float(loss), "brier": float(brier)}


def _drawn(scores: Floats, predicted: Any, p: Floats, generator: Any) -> dict[str, Floats]:
    """The metrics of windows whose labels were drawn. Each: (draws,)."""
    import numpy as np

    ranking = Ranking.of(scores, np.zeros(scores.size, dtype=bool))
    clipped = np.clip(scores, _EPSILON, 1 - _EPSILON)
    matrices, ranked, means = [], [], []
    for number in range(_DRAWS):
        truth = generator.random(p.size) < p
        right, wrong = (truth & predicted).sum(), (truth & ~predicted).sum()
        called = predicted.sum() - right
        matrices.append([[p.size - right - wrong - called, called], [wrong, right]])
        means.append((-np.log(np.where(truth, clipped, 1 - clipped)).mean(), ((truth - scores) ** 2).mean()))
        if number < _RANKED_DRAWS:
            drawn = Ranking(ranking.order, truth[ranking.order].astype(np.float64), ranking.starts)
            ranked.append(drawn.scores(None))
    by_name: dict[str, Floats] = dict(_of_counts(np.array(matrices)))
    by_name |= dict(zip(_RANKED, np.array(ranked).T, strict=True))
    return by_name | dict(zip(_MEANS, np.array(means).T, strict=True))


def _estimate(value: float, drawn: Floats | None) -> Estimate:
    import math

    if not math.isfinite(value):
        return Estimate(None, reason="the predictions leave it undefined")
    interval = None if drawn is None else percentile_interval(drawn)
    return Estimate(value, *interval) if interval else Estimate(value, reason="too many draws leave it undefined")
