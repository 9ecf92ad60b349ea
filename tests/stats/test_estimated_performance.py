"""Performance estimated without labels: against direct formulas, and against labels that were held back."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics

from engine.stats.estimated_performance import Calibration, calibrate, estimate_accuracy, estimate_binary

AS_IT_IS = Calibration("positive", (0.0, 1.0), (0.0, 1.0))


def simulated(rows: int, seed: int, centre: float = 0.0, confident: float = 1.0) -> tuple[np.ndarray, ...]:
    """Scores of a model whose log odds are `confident` times what they should be, its predictions and the truth."""
    generator = np.random.default_rng(seed)
    odds = generator.normal(centre, 1.5, rows)
    truth = generator.random(rows) < 1 / (1 + np.exp(-odds))
    scores = 1 / (1 + np.exp(-confident * odds))
    return scores, scores > 0.5, truth


def test_metrics_of_classes_are_those_of_the_expected_confusion_matrix() -> None:
    scores, predicted, _ = simulated(400, 1)
    found = estimate_binary(scores, predicted, AS_IT_IS, 0)
    hits, missed = scores[predicted].sum(), scores[~predicted].sum()
    false, passed = (1 - scores)[predicted].sum(), (1 - scores)[~predicted].sum()
    direct = {
        "accuracy": (hits + passed) / 400,
        "precision": hits / (hits + false),
        "recall": hits / (hits + missed),
        "specificity": passed / (passed + false),
        "f1_score": 2 * hits / (2 * hits + false + missed),
    }
    for name, value in direct.items():
        assert found[name].value == pytest.approx(value, abs=1e-12), name


def test_metrics_of_probabilities_are_those_of_rows_that_are_both_classes() -> None:
    scores, predicted, _ = simulated(200, 2)
    scores = scores.round(2)  # with ties
    found = estimate_binary(scores, predicted, AS_IT_IS, 0)
    above = (scores[:, None] > scores[None, :]) + 0.5 * (scores[:, None] == scores[None, :])
    weights = scores[:, None] * (1 - scores)[None, :]
    assert found["roc_auc"].value == pytest.approx((above * weights).sum() / weights.sum(), abs=1e-12)
    twice = np.concatenate((scores, scores)), np.repeat([1, 0], 200), np.concatenate((scores, 1 - scores))
    expected = {
        "roc_auc": metrics.roc_auc_score(twice[1], twice[0], sample_weight=twice[2]),
        "average_precision": metrics.average_precision_score(twice[1], twice[0], sample_weight=twice[2]),
        "brier": metrics.brier_score_loss(twice[1], twice[0], sample_weight=twice[2]),
    }
    kept = (twice[0] > 0) & (twice[0] < 1)
    expected["log_loss"] = metrics.log_loss(twice[1][kept], twice[0][kept], sample_weight=twice[2][kept])
    for name, value in expected.items():
        assert found[name].value == pytest.approx(value, abs=1e-9), name


def test_an_overconfident_model_under_covariate_shift_is_estimated_as_it_turns_out() -> None:
    """With the calibration close to 19 in 20 intervals hold what came; without it hardly any does."""
    calibration = calibrate(*simulated(20_000, 3, confident=2.5)[::2], "positive")
    assert isinstance(calibration, Calibration)
    held = dict.fromkeys(("accuracy", "f1_score", "roc_auc", "brier", "mcc"), 0)
    naive = 0
    for seed in range(40):
        scores, predicted, truth = simulated(1000, 100 + seed, centre=0.8, confident=2.5)
        found = estimate_binary(scores, predicted, calibration, seed)
        came = {
            "accuracy": metrics.accuracy_score(truth, predicted),
            "f1_score": metrics.f1_score(truth, predicted),
            "roc_auc": metrics.roc_auc_score(truth, scores),
            "brier": metrics.brier_score_loss(truth, scores),
            "mcc": metrics.matthews_corrcoef(truth, predicted),
        }
        for name, value in came.items():
            low, high = found[name].low, found[name].high
            assert low is not None and high is not None
            held[name] += low <= value <= high
        plain = estimate_binary(scores, predicted, AS_IT_IS, seed)["accuracy"]
        naive += (plain.low or 0) <= came["accuracy"] <= (plain.high or 0)
    assert min(held.values()) >= 33, held
    assert naive <= 4


def test_a_changed_concept_is_not_seen() -> None:
    """Why it warns and never promotes."""
    calibration = calibrate(*simulated(5000, 3)[::2], "positive")
    scores, predicted, truth = simulated(2000, 4)
    found = estimate_binary(scores, predicted, calibration, 0)["accuracy"]  # type: ignore[arg-type]
    assert found.value is not None and found.low is not None
    assert metrics.accuracy_score(~truth, predicted) < 0.4 < found.low


def test_the_accuracy_of_many_classes() -> None:
    generator = np.random.default_rng(0)
    scores = generator.uniform(0.3, 1, 8000)
    right = generator.random(8000) < scores**2
    calibration = calibrate(scores, right, "correct")
    assert isinstance(calibration, Calibration)
    window = generator.uniform(0.3, 0.7, 3000)
    found = estimate_accuracy(window, calibration, 0)["accuracy"]
    assert found.value == pytest.approx((window**2).mean(), abs=0.02)
    assert (found.low or 1) < found.value < (found.high or 0)


def test_a_calibration_needs_enough_rows_of_both_outcomes() -> None:
    scores, _, truth = simulated(99, 1)
    assert calibrate(scores, truth, "positive") == "the hold-out has 99 rows, and a calibration needs 100"
    assert calibrate(np.ones(200), np.ones(200), "positive") == "the hold-out has one outcome only"


def test_the_same_seed_gives_the_same_interval() -> None:
    scores, predicted, _ = simulated(300, 5)
    assert estimate_binary(scores, predicted, AS_IT_IS, 7) == estimate_binary(scores, predicted, AS_IT_IS, 7)
    assert estimate_binary(scores, predicted, AS_IT_IS, 7) != estimate_binary(scores, predicted, AS_IT_IS, 8)


def test_what_the_predictions_leave_undefined_has_no_value() -> None:
    found = estimate_binary(np.zeros(50), np.zeros(50, dtype=bool), AS_IT_IS, 0)
    assert found["roc_auc"].value is None
    assert found["recall"].value is None
    assert found["accuracy"].value == 1
