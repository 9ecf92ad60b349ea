"""Metrics equal scikit-learn's on generated data, ties, absent classes and weights included."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as sk

from engine.spec.metrics import METRICS
from engine.stats import classification, regression


def expected_labels(truth: Any, predicted: Any, positive: int | None) -> dict[tuple[str, str | None], float]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # classes without rows, on which both sides agree
        found: dict[tuple[str, str | None], float] = {
            ("accuracy", None): sk.accuracy_score(truth, predicted),
            ("balanced_accuracy", None): sk.balanced_accuracy_score(truth, predicted),
            ("mcc", None): sk.matthews_corrcoef(truth, predicted),
            ("cohen_kappa", None): sk.cohen_kappa_score(truth, predicted),
        }
        for name, function in (
            ("precision", sk.precision_score),
            ("recall", sk.recall_score),
            ("f1_score", sk.f1_score),
        ):
            for average in ("macro", "micro", "weighted"):
                found[name, average] = function(truth, predicted, average=average, zero_division=0)
            if positive is not None and (truth == positive).any():
                found[name, None] = function(truth, predicted, pos_label=positive, zero_division=0)
    return found


@given(st.integers(2, 5), st.integers(1, 60), st.integers(0, 2**32 - 1))
def test_metrics_of_labels(classes: int, rows: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    truth, predicted = generator.integers(0, classes, rows), generator.integers(0, classes, rows)
    positive = 1 if classes == 2 else None
    matrix = classification.confusion_matrix(truth, predicted, classes)
    found = classification.label_metrics(matrix, positive)
    for key, value in expected_labels(truth, predicted, positive).items():
        np.testing.assert_allclose(float(found[key]), value, atol=1e-12, err_msg=str(key))


@given(st.integers(2, 200), st.integers(0, 2**32 - 1), st.sampled_from([3, 1000]), st.booleans())
def test_metrics_of_ranks_with_weights(rows: int, seed: int, levels: int, weighted: bool) -> None:
    generator = np.random.default_rng(seed)
    positive = generator.integers(0, 2, rows).astype(bool)
    positive[:2] = [True, False]
    score = generator.integers(0, levels, rows) / levels
    weights = generator.integers(0, 4, rows).astype(float) if weighted else None
    if weights is not None:
        weights[:2] = 1
    area, precision = classification.Ranking.of(score, positive).scores(weights)
    np.testing.assert_allclose(area, sk.roc_auc_score(positive, score, sample_weight=weights))
    np.testing.assert_allclose(precision, sk.average_precision_score(positive, score, sample_weight=weights))


@pytest.mark.parametrize("classes", [2, 4])
def test_metrics_of_probabilities(classes: int) -> None:
    generator = np.random.default_rng(classes)
    truth = np.r_[np.arange(classes), generator.integers(0, classes, 300)]
    probabilities = generator.dirichlet(np.ones(classes), truth.size)
    probabilities[0] = np.eye(classes)[1]  # certain, and wrong
    positive = 1 if classes == 2 else None
    found = classification.point_values(truth, probabilities.argmax(axis=1), probabilities, classes, positive)
    np.testing.assert_allclose(found["log_loss", None], sk.log_loss(truth, probabilities))
    one_hot = np.eye(classes)[truth]
    if classes == 2:
        np.testing.assert_allclose(found["brier", None], sk.brier_score_loss(truth, probabilities[:, 1]))
        np.testing.assert_allclose(found["roc_auc", None], sk.roc_auc_score(truth, probabilities[:, 1]))
    else:
        np.testing.assert_allclose(found["brier", None], ((probabilities - one_hot) ** 2).sum(axis=1).mean())
        for average in ("macro", "weighted"):
            area = sk.roc_auc_score(truth, probabilities, multi_class="ovr", average=average)
            np.testing.assert_allclose(found["roc_auc", average], area)
    for average in ("macro", "weighted"):
        precision = sk.average_precision_score(one_hot, probabilities, average=average)
        np.testing.assert_allclose(found["average_precision", average], precision)


def test_metrics_of_values() -> None:
    generator = np.random.default_rng(0)
    truth = generator.normal(5, 2, 201)
    predicted = truth + generator.normal(0.2, 0.5, 201)
    found = regression.point_values(truth, predicted)
    expected = {
        "rmse": sk.root_mean_squared_error(truth, predicted),
        "mse": sk.mean_squared_error(truth, predicted),
        "mae": sk.mean_absolute_error(truth, predicted),
        "median_absolute_error": sk.median_absolute_error(truth, predicted),
        "mape": sk.mean_absolute_percentage_error(truth, predicted),
        "r2": sk.r2_score(truth, predicted),
        "explained_variance": sk.explained_variance_score(truth, predicted),
        "max_error": sk.max_error(truth, predicted),
    }
    assert found.keys() == expected.keys() == {n for n, m in METRICS.items() if "regression" in m.tasks}
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, err_msg=name)


@given(st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_weights_are_repetitions(rows: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    truth, predicted = generator.normal(size=rows), generator.normal(size=rows)
    weights = np.bincount(generator.integers(0, rows, rows), minlength=rows)
    repeated = regression.ErrorScores.of(np.repeat(truth, weights), np.repeat(predicted, weights)).at(None)
    weighted = regression.ErrorScores.of(truth, predicted).at(weights.astype(float))
    if len(set(np.repeat(truth, weights))) > 1:
        np.testing.assert_allclose(weighted, repeated, rtol=1e-7, atol=1e-9)


def test_what_the_rows_do_not_tell_is_undefined() -> None:
    truth, predicted = np.zeros(20, dtype=int), np.r_[np.ones(1, dtype=int), np.zeros(19, dtype=int)]
    probabilities = np.tile([0.7, 0.3], (20, 1))
    found = classification.measure(truth, predicted, probabilities, 2, 1, 0)
    for metric in ("recall", "f1_score", "roc_auc", "average_precision"):
        assert found[metric, None].value is None
        assert found[metric, None].reason
    assert found["precision", None].value == 0
    assert found["accuracy", None].value == 0.95
    constant = regression.measure(np.ones(9), np.ones(9), 0)
    assert constant["r2", None].value is None
    assert constant["rmse", None].value == 0


def test_every_metric_of_the_table_is_computed() -> None:
    generator = np.random.default_rng(0)
    for task, classes, positive in (("binary", 2, 1), ("multiclass", 3, None)):
        truth = generator.integers(0, classes, 90)
        probabilities = generator.dirichlet(np.ones(classes), 90)
        found = classification.measure(truth, probabilities.argmax(axis=1), probabilities, classes, positive, 0)
        wanted = {m.name: m for m in METRICS.values() if task in m.tasks}
        assert {name for name, average in found if average is None} == wanted.keys()
        for metric in wanted.values():
            for average in metric.averages:
                assert (metric.name, average) in found or average == "binary" != positive
        for estimate in found.values():
            assert estimate.low is not None and estimate.high is not None and estimate.value is not None
            assert estimate.low <= estimate.value <= estimate.high or estimate.high - estimate.low < 1e-9
