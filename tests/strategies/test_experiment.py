"""An A/B test on simulated traffic: the better release wins, equal ones get no answer, a broken split no winner."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

import numpy as np
import pytest

from engine.core import endpoint as endpoints
from engine.core.evidence import Tally
from engine.core.records import Endpoint
from engine.core.rollout import Abort, Decision, Hold, Promote, Readiness, Rollout, Seen, decide, follow, start
from engine.core.verdict import Verdict
from engine.kinds import STRATEGIES
from engine.strategies.ab_test import Block
from engine.strategies.experiment import METRICS, assess_experiment
from engine.strategies.judging import Assessment

NOON = datetime(2026, 11, 23, 12, tzinfo=timezone.utc)


def rollout(metric: str, **block: Any) -> Rollout:
    live = endpoints.deploy(Endpoint("churn"), 1, fingerprint="a")
    document = Block.model_validate({"strategy": "ab_test", "metric": metric, **block}).model_dump(mode="json")
    begun, after = start(live, 2, STRATEGIES["ab_test"](document), 1, "b", NOON)
    assert begun is not None
    return follow(begun, after, decide(begun, Seen(Readiness.READY, Verdict.INCONCLUSIVE), NOON), NOON)[0]


def traffic(
    requests: int,
    *,
    weight: float = 0.5,
    errors: tuple[float, float] = (0.0, 0.0),
    seconds: tuple[float, float] = (0.02, 0.02),
    accuracy: tuple[float, float] | None = None,
    noise: tuple[float, float] | None = None,
    seed: int = 0,
) -> list[Tally]:
    """So many requests, in flushes of 100; `accuracy` of classes, `noise` of numbers. Rates are (stable, candidate)."""
    chance = np.random.default_rng(seed)
    tallies = []
    for flush in range(requests // 100):
        mine = int(chance.binomial(100, weight))
        for place, (role, count) in enumerate((("stable", 100 - mine), ("candidate", mine))):
            wrong = int(chance.binomial(count, errors[place]))
            taken = np.exp(chance.normal(np.log(seconds[place]), 0.4, count - wrong))
            known = count - wrong if accuracy or noise else 0
            loss = chance.normal(0, noise[place] if noise else 1, known) ** 2
            tallies.append(
                Tally(
                    "churn", 2, place + 1, role, weight, f"2026-11-23T12:{flush // 60:02}:{flush % 60:02}.000000Z",
                    requests=count, keys=count, errors=wrong, error_keys=wrong, timed=count - wrong,
                    latency_sum=float(taken.sum()), latency_squares=float((taken**2).sum()),
                    log_sum=float(np.log(taken).sum()), log_squares=float((np.log(taken) ** 2).sum()),
                    labelled=known, correct=int(chance.binomial(known, accuracy[place])) if accuracy else 0,
                    loss_sum=float(loss.sum()), loss_squares=float((loss**2).sum()),
                )
            )  # fmt: skip
    return tallies


def decision(on: Rollout, found: Assessment, *, after: float = 1) -> Decision:
    return decide(on, Seen(Readiness.READY, found.verdict, found.why), NOON + timedelta(seconds=after))


BETTER: dict[str, tuple[str, tuple[float, float]]] = {
    "accuracy": ("accuracy", (0.7, 0.9)),
    "squared_error": ("noise", (2.0, 1.0)),
    "errors": ("errors", (0.1, 0.02)),
    "latency": ("seconds", (0.03, 0.02)),
}


def test_every_metric_is_tried() -> None:
    assert set(BETTER) == set(METRICS) == set(Block.model_fields["metric"].annotation.__args__)  # type: ignore[union-attr]


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("weight", [0.5, 0.2])
def test_the_better_release_wins(metric: str, weight: float) -> None:
    name, rates = BETTER[metric]
    found = assess_experiment(rollout(metric), traffic(6_000, weight=weight, **{name: rates}))  # type: ignore[arg-type]
    assert "the candidate has won" in found.why
    assert isinstance(decision(rollout(metric), found), Promote)
    found = assess_experiment(rollout(metric), traffic(6_000, weight=weight, **{name: rates[::-1]}))  # type: ignore[arg-type]
    assert found.verdict is Verdict.FAIL
    assert isinstance(decision(rollout(metric), found), Abort)


@pytest.mark.parametrize("metric", METRICS)
def test_equal_releases_get_no_answer_until_time_is_up(metric: str) -> None:
    same = traffic(4_000, errors=(0.02, 0.02), accuracy=(0.8, 0.8), noise=(1.0, 1.0))
    on = rollout(metric, max_duration="1h")
    found = assess_experiment(on, same)
    assert found.verdict is Verdict.INCONCLUSIVE
    assert isinstance(decision(on, found), Hold)
    late = decision(on, found, after=3601)
    assert isinstance(late, Abort)
    assert "its time is up" in late.why
    assert isinstance(decision(rollout(metric), found, after=10**7), Hold)


@pytest.mark.parametrize("metric", METRICS)
def test_little_or_no_traffic_wins_nothing(metric: str) -> None:
    name, rates = BETTER[metric]
    for tallies in ([], traffic(400, **{name: rates}), traffic(6_000, weight=0.0, **{name: rates})):  # type: ignore[arg-type]
        assert assess_experiment(rollout(metric), tallies).verdict is Verdict.INCONCLUSIVE


def test_without_actual_values_nobody_wins_by_accuracy() -> None:
    found = assess_experiment(rollout("accuracy"), traffic(10_000))
    assert found.verdict is Verdict.INCONCLUSIVE
    assert "0 actual values" in found.why


def test_a_broken_split_lets_nobody_win() -> None:
    tallies = traffic(10_000, accuracy=(0.7, 0.9))
    broken = [replace(tally, keys=tally.keys // 2) if tally.version == 2 else tally for tally in tallies]
    found = assess_experiment(rollout("accuracy", max_duration="1h"), broken)
    assert found.verdict is Verdict.ERROR
    assert isinstance(decision(rollout("accuracy"), found), Hold)
    assert isinstance(decision(rollout("accuracy", max_duration="1h"), found, after=3601), Abort)


def test_a_candidate_that_errs_loses_whatever_is_measured() -> None:
    found = assess_experiment(rollout("accuracy"), traffic(4_000, errors=(0.0, 0.5), accuracy=(0.8, 0.9)))
    assert found.verdict is Verdict.FAIL
    assert "surely more often" in found.why


@pytest.mark.parametrize("metric", METRICS)
def test_false_winners_are_seldom(metric: str) -> None:
    """Looking ten times, of 40 tests: the binomial limit at alpha is 6."""
    answers = 0
    for seed in range(40):
        tallies = traffic(2_000, errors=(0.02, 0.02), accuracy=(0.8, 0.8), noise=(1.0, 1.0), seed=seed)
        on = rollout(metric, min_requests=50)
        found = [assess_experiment(on, tallies[: 4 * look]).verdict for look in range(1, 11)]
        answers += any(verdict in (Verdict.PASS, Verdict.FAIL) for verdict in found)
    assert answers <= 6
