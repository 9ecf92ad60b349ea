"""Fitted estimators → functions of prepared rows to predictions and probabilities.

The order of operations is scikit-learn's, so that sums come out the same. Estimators that are not known keep their
own `predict` and `predict_proba`, on rows prepared here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from engine.serving.compiled.blocks import (
    Block,
    Computed,
    Floats,
    HandOverError,
    NotCompilableError,
    Numbers,
    Slots,
    numbers_of,
)
from engine.serving.compiled.transformers import nameless, transformed
from engine.serving.compiled.trees import Walk, forest_walk, histogram_walk

if TYPE_CHECKING:
    from numpy.typing import NDArray

Found: TypeAlias = "tuple[NDArray[Any], Floats | None]"

_OWN_PACKAGES = ("sklearn", "xgboost", "lightgbm")


@dataclass(frozen=True)
class Head:
    """The last step. `answer`: rows (n, width) → class numbers or values, (n,), and probabilities, (n, k).

    `labels` by class number; None when `answer` gives labels or values already. `rows` is what it is given.
    """

    rows: Numbers
    answer: Callable[[Floats], Found]
    labels: Sequence[Any] | None
    is_own: bool = False


def head_of(estimator: Any, block: Block, *, sparse: bool) -> Head:
    """The compiled form of a fitted estimator that is given this block. `sparse`: as a sparse matrix.

    Raises NotCompilableError.
    """
    if getattr(estimator, "n_outputs_", 1) != 1:
        raise NotCompilableError(f"{type(estimator).__name__} of several targets")
    rows = numbers_of(block)
    known = _HEADS.get(f"{type(estimator).__module__}.{type(estimator).__name__}")
    return known(estimator, rows) if known is not None else _own(estimator, rows, sparse)


# ── linear models ────────────────────────────────────────────────────────────────────────────────────────────


def _decision(estimator: Any) -> Callable[[Floats], Floats]:
    import numpy as np

    weights = estimator.coef_.T if estimator.coef_.ndim == 2 else estimator.coef_
    intercept = estimator.intercept_

    def decide(rows: Floats) -> Floats:
        scores: Floats = rows @ weights + intercept
        total = float(np.add.reduce(scores, axis=None))
        if total - total != 0.0:  # NaN or infinity, here or in the rows
            raise HandOverError("values that linear models refuse")
        return scores

    return decide


def _linear_regressor(estimator: Any, rows: Numbers) -> Head:
    decide = _decision(estimator)
    return Head(rows, lambda values: (decide(values).reshape(-1), None), None)


def _linear_classifier(estimator: Any, rows: Numbers) -> Head:
    decide = _decision(estimator)
    labels = estimator.classes_.tolist()
    shares = _shares_of(estimator)
    if len(labels) > 2:

        def several(values: Floats) -> Found:
            scores = decide(values)
            return scores.argmax(axis=1), shares(scores) if shares else None

        return Head(rows, several, labels)

    def two(values: Floats) -> Found:
        scores = decide(values).reshape(-1)
        return scores > 0, shares(scores) if shares else None

    return Head(rows, two, labels)


def _shares_of(estimator: Any) -> Callable[[Floats], Floats] | None:
    """Scores → probabilities, by the estimator's formula; None when it gives none."""
    if not hasattr(estimator, "predict_proba"):
        return None
    logistic = type(estimator).__name__.startswith("LogisticRegression")
    if not logistic and getattr(estimator, "loss", None) != "log_loss":
        raise NotCompilableError(f"the probabilities of {type(estimator).__name__}")
    several = len(estimator.classes_) > 2
    stated = getattr(estimator, "multi_class", "auto")
    if logistic and several and estimator.solver != "liblinear" and stated != "ovr":
        return _softmax
    if logistic and stated == "multinomial":
        raise NotCompilableError("a multinomial LogisticRegression of two classes")
    return _normalised_sigmoids if several else _sigmoid


def _softmax(scores: Floats) -> Floats:
    import numpy as np

    powers: Floats = np.exp(scores - scores.max(axis=1).reshape(-1, 1))
    powers /= powers.sum(axis=1).reshape(-1, 1)
    return powers


def _sigmoid(scores: Floats) -> Floats:
    import numpy as np
    from scipy.special import expit

    shares = np.empty((len(scores), 2))
    expit(scores, out=shares[:, 1])
    np.subtract(1, shares[:, 1], out=shares[:, 0])
    return shares


def _normalised_sigmoids(scores: Floats) -> Floats:
    from scipy.special import expit

    shares: Floats = expit(scores)
    sums = shares.sum(axis=1)
    nothing = sums == 0
    if nothing.any():
        shares[nothing, :] = 1
        sums[nothing] = shares.shape[1]
    shares /= sums.reshape(-1, 1)
    return shares


# ── trees ────────────────────────────────────────────────────────────────────────────────────────────────────


def _tree(estimator: Any, rows: Numbers) -> Head:
    return _forest_of([estimator], estimator, rows)


def _forest(estimator: Any, rows: Numbers) -> Head:
    return _forest_of(estimator.estimators_, estimator, rows)


def _forest_of(members: Sequence[Any], estimator: Any, rows: Numbers) -> Head:
    """The mean of the leaves' values; the shares of a classifier, whose largest names the class."""
    trees = [member.tree_ for member in members]
    values = [tree.value[:, 0, :] for tree in trees]
    walk = forest_walk(trees, values, rows.width, gaps=_takes_gaps(estimator, rows.width))
    count = len(trees)

    def mean(given: Floats) -> Floats:
        sums: Floats = walk(given).cumsum(axis=0)[-1]  # one after the other, as scikit-learn adds them
        return sums / count if count > 1 else sums

    if not hasattr(estimator, "classes_"):
        return Head(rows, lambda given: (mean(given)[:, 0], None), None)

    def vote(given: Floats) -> Found:
        shares = mean(given)
        return shares.argmax(axis=1), shares

    return Head(rows, vote, estimator.classes_.tolist())


def _boosting(estimator: Any, rows: Numbers) -> Head:
    """Gradient boosting: each stage has a tree for each score, whose value is scaled and added."""
    import numpy as np

    initial = estimator.init_
    if initial != "zero" and type(initial).__name__ not in ("DummyClassifier", "DummyRegressor"):
        raise NotCompilableError("gradient boosting that begins with another estimator")
    start = estimator._raw_predict_init(np.zeros((1, rows.width), dtype=np.float32))[0]
    trees = [member.tree_ for member in estimator.estimators_.reshape(-1)]
    values = [estimator.learning_rate * tree.value[:, 0, :] for tree in trees]
    walk = forest_walk(trees, values, rows.width, gaps=False)
    raw = _added(walk, start)
    if not hasattr(estimator, "classes_"):
        return Head(rows, lambda given: (raw(given).reshape(-1), None), None)
    return _boosted_classes(estimator, rows, raw, lambda scores: scores >= 0)


def _histogram_boosting(estimator: Any, rows: Numbers) -> Head:
    import numpy as np

    prepared = rows
    if getattr(estimator, "_preprocessor", None) is not None:
        steps = estimator._preprocessor.transformers_
        own = [(name, step if name == "encoder" else "passthrough", columns) for name, step, columns in steps]
        prepared = numbers_of(_preprocessed(own, rows))
    predictors = [predictor for stage in estimator._predictors for predictor in stage]
    walk = histogram_walk(predictors, estimator._bin_mapper.make_known_categories_bitsets(), prepared.width)
    raw = _added(walk, np.asarray(estimator._baseline_prediction, dtype=np.float64).reshape(-1))
    if hasattr(estimator, "classes_"):
        return _boosted_classes(estimator, prepared, raw, lambda scores: scores > 0)
    inverse = estimator._loss.link.inverse
    return Head(prepared, lambda given: (inverse(raw(given).reshape(-1)), None), None)


def _preprocessed(steps: Sequence[tuple[str, Any, Any]], rows: Numbers) -> Numbers:
    """What the encoder of categories inside histogram boosting makes of the rows."""
    import numpy as np

    parts: list[Slots | Computed] = []
    for _, step, columns in steps:
        indices = np.arange(rows.width)[columns].tolist()
        if indices:
            parts += numbers_of(transformed(step, rows.select(indices))).parts
    return Numbers(tuple(parts))


def _added(walk: Walk, start: Floats) -> Callable[[Floats], Floats]:
    """Rows → scores, (n, k): the trees' values added to the start, stage after stage."""
    import numpy as np

    k = len(start)

    def raw(rows: Floats) -> Floats:
        values = walk(rows)
        trees, n, _ = values.shape
        terms = np.empty((trees // k + 1, n, k))
        terms[0] = start
        for score in range(k):
            terms[1:, :, score] = values[score::k, :, 0]
        found: Floats = terms.cumsum(axis=0)[-1]
        return found

    return raw


def _boosted_classes(
    estimator: Any, rows: Numbers, raw: Callable[[Floats], Floats], is_second: Callable[[Floats], NDArray[Any]]
) -> Head:
    shares_of = estimator._loss.predict_proba if hasattr(estimator, "predict_proba") else None

    def answer(given: Floats) -> Found:
        scores = raw(given)
        if scores.shape[1] == 1:
            scores = scores.reshape(-1)
            classes = is_second(scores)
        else:
            classes = scores.argmax(axis=1)
        return classes, shares_of(scores) if shares_of else None

    return Head(rows, answer, estimator.classes_.tolist())


def _takes_gaps(estimator: Any, width: int) -> bool:
    import numpy as np

    try:
        nameless(estimator).predict(np.full((1, width), np.nan))
    except ValueError:
        return False
    return True


# ── the rest ─────────────────────────────────────────────────────────────────────────────────────────────────


def _dummy(estimator: Any, rows: Numbers) -> Head:
    """A model that ignores the features; not one that draws lots."""
    import numpy as np

    if estimator.strategy in ("stratified", "uniform"):
        raise NotCompilableError(f"{type(estimator).__name__} that draws lots")
    nothing = np.zeros((1, 1))
    prediction = estimator.predict(nothing)
    shares = estimator.predict_proba(nothing) if hasattr(estimator, "predict_proba") else None

    def answer(given: Floats) -> Found:
        n = len(given)
        return np.repeat(prediction, n), None if shares is None else np.repeat(shares, n, axis=0)

    return Head(rows, answer, None)


def _own(estimator: Any, rows: Numbers, sparse: bool) -> Head:
    """An estimator that keeps its own methods."""
    if type(estimator).__module__.partition(".")[0] not in _OWN_PACKAGES:
        raise NotCompilableError(f"{type(estimator).__name__} is not known")
    bare = nameless(estimator)
    predict, predict_proba = bare.predict, getattr(bare, "predict_proba", None)

    def answer(given: Any) -> Found:
        if sparse:
            from scipy.sparse import csr_matrix

            given = csr_matrix(given)
        return predict(given), predict_proba(given) if predict_proba else None

    return Head(rows, answer, None, is_own=True)


_LINEAR = "sklearn.linear_model."
_HEADS: Mapping[str, Callable[[Any, Numbers], Head]] = {
    **dict.fromkeys(
        [
            f"{_LINEAR}_base.LinearRegression",
            *(f"{_LINEAR}_ridge.{name}" for name in ("Ridge", "RidgeCV")),
            *(f"{_LINEAR}_coordinate_descent.{name}" for name in ("Lasso", "LassoCV", "ElasticNet", "ElasticNetCV")),
            *(f"{_LINEAR}_least_angle.{name}" for name in ("Lars", "LassoLars")),
            f"{_LINEAR}_huber.HuberRegressor",
            f"{_LINEAR}_stochastic_gradient.SGDRegressor",
            "sklearn.svm._classes.LinearSVR",
        ],
        _linear_regressor,
    ),
    **dict.fromkeys(
        [
            *(f"{_LINEAR}_logistic.{name}" for name in ("LogisticRegression", "LogisticRegressionCV")),
            *(f"{_LINEAR}_ridge.{name}" for name in ("RidgeClassifier", "RidgeClassifierCV")),
            f"{_LINEAR}_stochastic_gradient.SGDClassifier",
            f"{_LINEAR}_perceptron.Perceptron",
            "sklearn.svm._classes.LinearSVC",
        ],
        _linear_classifier,
    ),
    **dict.fromkeys(
        [
            f"sklearn.tree._classes.{kind}Tree{task}"
            for kind in ("Decision", "Extra")
            for task in ("Classifier", "Regressor")
        ],
        _tree,
    ),
    **dict.fromkeys(
        [
            f"sklearn.ensemble._forest.{name}{task}"
            for name in ("RandomForest", "ExtraTrees")
            for task in ("Classifier", "Regressor")
        ],
        _forest,
    ),
    **dict.fromkeys(
        [f"sklearn.ensemble._gb.GradientBoosting{task}" for task in ("Classifier", "Regressor")], _boosting
    ),
    **dict.fromkeys(
        [
            f"sklearn.ensemble._hist_gradient_boosting.gradient_boosting.HistGradientBoosting{task}"
            for task in ("Classifier", "Regressor")
        ],
        _histogram_boosting,
    ),
    **dict.fromkeys([f"sklearn.dummy.Dummy{task}" for task in ("Classifier", "Regressor")], _dummy),
}
