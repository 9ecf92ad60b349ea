"""Bootstrap intervals: seeded, as wide as theory says, and covering as often as they promise."""

from __future__ import annotations

import os
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from engine.stats import classification, regression
from engine.stats.bootstrap import (
    MIN_RESAMPLES,
    percentile_interval,
    resampled,
    resampled_counts,
    resampled_weights,
    resamples_for,
)

SOAK = bool(os.environ.get("ENGINE_SOAK"))


def test_resamples_have_as_many_rows_as_the_data() -> None:
    for weights in resampled_weights(50, 20, 0):
        assert weights.sum() == 50
    counts = resampled_counts(np.array([5, 0, 15]), 100, 0)
    assert (counts.sum(axis=1) == 20).all()
    assert (counts[:, 1] == 0).all()
    assert (resampled_counts(np.zeros(3, dtype=np.int64), 4, 0) == 0).all()


def test_the_seed_decides() -> None:
    def mean(weights: NDArray[np.float64]) -> list[float]:
        return [float(weights @ np.arange(30.0)) / 30]

    first, same, other = (resampled(mean, 30, 50, seed) for seed in (1, 1, 2))
    assert (first == same).all()
    assert (first != other).any()


def test_the_interval_of_a_mean_is_as_wide_as_theory_says() -> None:
    values = np.random.default_rng(0).normal(3, 2, 400)
    samples = resampled(lambda w: [w @ values / w.sum()], 400, 4000, 0)[:, 0]
    interval = percentile_interval(samples)
    assert interval is not None
    half = 1.959964 * values.std() / np.sqrt(400)
    np.testing.assert_allclose(interval, (values.mean() - half, values.mean() + half), atol=0.02)


def test_the_interval_of_an_area_agrees_with_hanley_and_mcneil() -> None:
    generator = np.random.default_rng(5)
    positive = np.arange(600) < 200
    score = generator.normal(size=600) + positive
    ranking = classification.Ranking.of(score, positive)
    area = ranking.scores(None)[0]
    samples = resampled(lambda w: ranking.scores(w)[:1], 600, 1500, 0)[:, 0]
    q1, q2 = area / (2 - area), 2 * area**2 / (1 + area)  # Hanley and McNeil 1982, equation 1
    variance = (area * (1 - area) + 199 * (q1 - area**2) + 399 * (q2 - area**2)) / (200 * 400)
    np.testing.assert_allclose(samples.std(), np.sqrt(variance), rtol=0.1)


def test_too_many_undefined_resamples_leave_no_interval() -> None:
    samples = np.linspace(0, 1, 100)
    assert percentile_interval(samples) is not None
    samples[:6] = np.nan
    assert percentile_interval(samples) is None
    assert percentile_interval(np.zeros(0)) is None


def test_large_tables_get_fewer_resamples() -> None:
    assert resamples_for(1000) == 1000
    assert resamples_for(10_000) == 500
    assert resamples_for(10**7) == MIN_RESAMPLES


def _f1(generator: np.random.Generator, rows: int) -> tuple[float | None, float | None]:
    truth = (generator.random(rows) < 0.3).astype(np.int64)
    predicted = np.where(generator.random(rows) < 0.8, truth, 1 - truth)
    estimate = classification.measure(truth, predicted, None, 2, 1, int(generator.integers(2**31)))["f1_score", None]
    return estimate.low, estimate.high


def _area(generator: np.random.Generator, rows: int) -> tuple[float | None, float | None]:
    truth = (generator.random(rows) < 0.3).astype(np.int64)
    score = 1 / (1 + np.exp(-(generator.normal(size=rows) + truth)))
    probabilities = np.column_stack((1 - score, score))
    found = classification.measure(truth, truth, probabilities, 2, 1, int(generator.integers(2**31)))
    estimate = found["roc_auc", None]
    return estimate.low, estimate.high


def _error(generator: np.random.Generator, rows: int) -> tuple[float | None, float | None]:
    error = generator.normal(0, 2, rows)
    estimate = regression.measure(np.zeros(rows), error, int(generator.integers(2**31)))["rmse", None]
    return estimate.low, estimate.high


# True values: F1 = 2·0.24 / (2·0.24 + 0.06 + 0.14); AUC = Φ(1/√2); RMSE = the standard deviation.
@pytest.mark.parametrize(
    ("draw", "true"), [(_f1, 0.48 / 0.68), (_area, 0.7602499), (_error, 2.0)], ids=["f1", "roc_auc", "rmse"]
)
def test_coverage(draw: Callable[[np.random.Generator, int], tuple[float | None, float | None]], true: float) -> None:
    """95 % intervals of 300 rows hold the true value in about 95 of 100 samples (ENGINE_SOAK=1: 2,000 samples)."""
    generator = np.random.default_rng(11)
    count = 2000 if SOAK else 40
    held = 0
    for _ in range(count):
        low, high = draw(generator, 300)
        assert low is not None and high is not None
        held += low <= true <= high
    slack = 3 * np.sqrt(0.95 * 0.05 / count)
    assert 0.935 - slack <= held / count <= 0.96 + slack
