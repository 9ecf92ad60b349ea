"""The paired comparison: its values, its pairing, and how often it is wrong."""

from __future__ import annotations

import os
from collections.abc import Iterator

import numpy as np
import pytest

from engine.core.verdict import Verdict
from engine.gates.asking import ask_of, key_of
from engine.gates.champion import Block, assess
from engine.stats.classification import point_values
from engine.stats.paired import Comparison, Said, compare
from engine.stats.regression import point_values as values

SOAK = os.environ.get("ENGINE_SOAK") == "1"


def models(
    generator: np.random.Generator, rows: int, first: float, second: float, agree: float = 0.8
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Truth, and two classifiers of these accuracies, which for a share of the rows are right or wrong together."""
    truth = generator.integers(0, 2, rows)
    luck = generator.random(rows)
    other = np.where(generator.random(rows) < agree, luck, generator.random(rows))
    return truth, np.where(luck < first, truth, 1 - truth), np.where(other < second, truth, 1 - truth)


def accuracy(truth: np.ndarray, one: np.ndarray, other: np.ndarray, seed: int = 0) -> Comparison:
    return compare(truth, Said(one), Said(other), metric="accuracy", average=None, classes=2, positive=1, seed=seed)


def verdicts(block: Block, rows: int, mine: float, its: float, runs: int, seed: int) -> Iterator[Verdict]:
    generator = np.random.default_rng(seed)
    ask = ask_of(block.model_dump(mode="json", by_alias=True))
    assert ask is not None
    for run in range(runs):
        found = accuracy(*models(generator, rows, mine, its), seed=run)
        answers = {key_of(ask): {"champion": 1, **found.to_json()}}
        yield assess(block, {"rows": {"holdout": rows}, "answers": answers}).verdict


BETTER = Block.model_validate({"champion": "superior", "metric": "accuracy"})
NO_WORSE = Block.model_validate({"champion": "non_inferior", "metric": "accuracy", "margin": 0.01})
RATES = [  # gate, rows, accuracy of the candidate and of the champion, the least and the most that may pass
    pytest.param(BETTER, 2000, 0.85, 0.85, 0.0, 0.05, id="an equal model by superior"),
    pytest.param(BETTER, 300, 0.85, 0.85, 0.0, 0.05, id="an equal model by superior, 300 rows"),
    pytest.param(NO_WORSE, 2000, 0.84, 0.85, 0.0, 0.05, id="worse by the margin by non_inferior"),
    pytest.param(NO_WORSE, 2000, 0.83, 0.85, 0.0, 0.05, id="worse than the margin by non_inferior"),
    pytest.param(BETTER, 2000, 0.87, 0.85, 0.9, 1.0, id="two points better by superior"),
]


@pytest.mark.parametrize(("block", "rows", "mine", "its", "least", "most"), RATES)
def test_how_often_a_candidate_is_promoted(
    block: Block, rows: int, mine: float, its: float, least: float, most: float
) -> None:
    runs = 1000 if SOAK else 60
    passed = sum(verdict is Verdict.PASS for verdict in verdicts(block, rows, mine, its, runs, seed=11))
    print(f"\n{passed} of {runs} pass")
    chance = 0.0 if SOAK else 0.08  # 60 candidates tell little; they are for what is broken outright
    assert least - chance <= passed / runs <= most + chance


def test_values_are_those_of_the_metrics_and_pairs_cancel_out() -> None:
    generator = np.random.default_rng(1)
    truth, one, other = models(generator, 500, 0.9, 0.8)
    shares = np.clip(np.column_stack((1 - one, one)) * 0.6 + generator.random((500, 1)) * 0.2, 0.01, 0.99)
    shares /= shares.sum(axis=1, keepdims=True)
    for metric, average in (("accuracy", None), ("f1_score", "macro"), ("mcc", None), ("roc_auc", None)):
        kwargs = {"metric": metric, "average": average, "classes": 2, "positive": 1, "seed": 0}
        found = compare(truth, Said(one, shares), Said(other, 1 - shares), **kwargs)
        mine = point_values(truth, one, shares, 2, 1)[metric, average]
        its = point_values(truth, other, 1 - shares, 2, 1)[metric, average]
        assert found.candidate == pytest.approx(mine) and found.other == pytest.approx(its)
        assert found.difference == pytest.approx(mine - its)
        assert found.low is not None and found.high is not None and found.low <= mine - its <= found.high
        same = compare(truth, Said(one, shares), Said(one, shares), **kwargs)
        assert (same.difference, same.low, same.high) == (0.0, 0.0, 0.0), "the same model differs by nothing"


def test_numbers_and_many_classes() -> None:
    generator = np.random.default_rng(2)
    truth = generator.normal(size=400)
    near, far = truth + generator.normal(0, 0.5, 400), truth + generator.normal(0, 1, 400)
    found = compare(truth, Said(near), Said(far), metric="rmse", average=None, classes=0, positive=None, seed=0)
    assert found.candidate == pytest.approx(values(truth, near)["rmse"])
    assert found.high is not None and found.high < 0
    largest = compare(truth, Said(near), Said(far), metric="max_error", average=None, classes=0, positive=None, seed=0)
    assert largest.low is None and "no bootstrap interval" in largest.reason
    many = generator.integers(0, 60, 400)
    guess = np.where(generator.random(400) < 0.8, many, generator.integers(0, 60, 400))
    found = compare(many, Said(guess), Said(many), metric="accuracy", average=None, classes=60, positive=None, seed=0)
    assert found.difference == pytest.approx(float((guess == many).mean()) - 1)


@pytest.mark.parametrize("metric", ["roc_auc", "recall", "log_loss"])
def test_what_the_rows_leave_undefined_has_no_difference(metric: str) -> None:
    truth = np.zeros(50, dtype=np.int64)
    said = Said(truth, np.tile([0.9, 0.1], (50, 1)))
    found = compare(truth, said, said, metric=metric, average=None, classes=2, positive=1, seed=0)
    assert metric == "log_loss" or (found.difference is None and found.reason)
    empty = Said(truth[:0], np.zeros((0, 2)))
    assert compare(truth[:0], empty, empty, metric=metric, average=None, classes=2, positive=1, seed=0).reason
    without = compare(truth, Said(truth), said, metric="brier", average=None, classes=2, positive=1, seed=0)
    assert without.difference is None and without.reason == "the candidate gives no probabilities"
