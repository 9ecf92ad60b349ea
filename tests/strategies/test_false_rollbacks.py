"""Whole rollouts through the judge that decides them, looked at after every flush: equal candidates are seldom sent
away, and one that errs twice as often goes within the requests that the plan promised.

`ENGINE_SOAK=1` simulates 2,000 rollouts of each case.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.app.cache import Cache
from engine.app.detecting import BASE_RATE, POWER, RISK, detection_of
from engine.core import endpoint as endpoints
from engine.core.canonical import utc
from engine.core.evidence import BINS, Tally
from engine.core.records import Endpoint
from engine.core.rollout import Rollout, start
from engine.core.stages import Stage, Strategy
from engine.core.verdict import Verdict
from engine.strategies.analysis import Analysis
from engine.strategies.assess import assess

SOAK = os.environ.get("ENGINE_SOAK") == "1"
ROLLOUTS = 2_000 if SOAK else 20
LOOKS = 25
REQUESTS = 800  # between two looks
NOON = datetime(2026, 11, 23, 12, tzinfo=timezone.utc)
ALL = ["errors", "latency", "prediction_shift", "accuracy"]
RAMP = [0.01, 0.05, 0.1, 0.25, 0.5]


class World:
    """What the releases are like at a look, which is `progress` (fraction 0–1) of the way through the rollout."""

    def __init__(self, *, drifts: bool, risk: float = 1.0, errors: float = 0.01) -> None:
        self._drifts, self._risk, self._errors = drifts, risk, errors

    def tally(self, chance: np.random.Generator, role: str, count: int, progress: float, place: Tally) -> Tally:
        """So many requests of one release: errors 1 → 4 %, latency × 3, scores and accuracy too, where it drifts."""
        along = progress if self._drifts else 0.0
        wrong = int(chance.binomial(count, self._errors * (1 + 3 * along) * (self._risk if role == "candidate" else 1)))
        fine = count - wrong
        seconds = np.exp(chance.normal(math.log(0.02) + along * math.log(3), 0.5, fine))
        scores = chance.beta(2.0 + 3 * along, 2.0, fine)
        right = int(chance.binomial(fine, 0.9 - 0.2 * along))
        return replace(
            place,
            requests=count, keys=count, errors=wrong, error_keys=wrong, timed=count - wrong,
            latency_sum=float(seconds.sum()), latency_squares=float((seconds**2).sum()),
            log_sum=float(np.log(seconds).sum()), log_squares=float((np.log(seconds) ** 2).sum()),
            scores=tuple(int(n) for n in np.histogram(scores, BINS, (0, 1))[0]),
            score_sum=float(scores.sum()), score_squares=float((scores**2).sum()),
            labelled=fine, correct=right, loss_sum=float(fine - right), loss_squares=float(fine - right),
        )  # fmt: skip


def rollout(weights: Sequence[float], **analysis: Any) -> Rollout:
    resolved = Analysis.model_validate(analysis).model_dump(mode="json")
    stages = tuple(Stage(weight) for weight in dict.fromkeys(weights))
    live = endpoints.deploy(Endpoint("churn"), 1, fingerprint="a")
    begun, _ = start(live, 2, Strategy("canary", stages, analysis=resolved), 1, "b", NOON)
    assert begun is not None
    return begun


def flushes(world: World, weights: Sequence[float], requests: int, seed: int) -> Iterator[list[Tally]]:
    """What the gateway would write at each look; each new weight is a new generation."""
    chance = np.random.default_rng(seed)
    for look, weight in enumerate(weights):
        mine = int(chance.binomial(requests, weight))
        generation = 2 + len(set(weights[: look + 1])) - 1
        at = utc(NOON + timedelta(seconds=look))
        yield [
            world.tally(chance, role, count, look / len(weights), Tally("churn", generation, version, role, weight, at))
            for version, role, count in ((1, "stable", requests - mine), (2, "candidate", mine))
        ]


def verdicts(begun: Rollout, seen: Iterator[list[Tally]]) -> Iterator[tuple[Verdict, str]]:
    """What the judge says at each look."""
    tallies: list[Tally] = []
    for flush in seen:
        tallies += flush
        found = assess(begun, tallies)
        yield found.verdict, found.why


def at_most(rate: float, alpha: float, rollouts: int) -> bool:
    """Whether a simulated rate is alpha at most, within three standard errors."""
    return rate <= alpha + 3 * math.sqrt(alpha * (1 - alpha) / rollouts)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("world", "weights"),
    [
        (World(drifts=False), [0.1] * LOOKS),
        (World(drifts=False), [0.5] * LOOKS),
        (World(drifts=True), [weight for weight in RAMP for _ in range(LOOKS // len(RAMP))]),
    ],
    ids=["tenth", "half", "drift-and-ramp"],
)
def test_equal_releases_are_sent_away_with_probability_alpha_at_most(
    world: World, weights: list[float], record_property: Any
) -> None:
    begun = rollout(weights, guardrails=ALL)
    away = broken = 0
    for seed in range(ROLLOUTS):
        found = {verdict for verdict, _ in verdicts(begun, flushes(world, weights, REQUESTS, seed))}
        away += Verdict.FAIL in found
        broken += Verdict.ERROR in found
    record_property("false_rollbacks", away / ROLLOUTS)
    record_property("false_holds", broken / ROLLOUTS)
    assert at_most(away / ROLLOUTS, 0.05, ROLLOUTS)
    assert at_most(broken / ROLLOUTS, 0.001, ROLLOUTS)


@pytest.mark.slow
@pytest.mark.parametrize("weight", [0.1, 0.5])
def test_a_doubled_error_rate_is_caught_within_the_requests_promised(
    weight: float, tmp_path: Path, record_property: Any
) -> None:
    begun = rollout([weight])
    assert begun.strategy.analysis is not None
    promised = detection_of(begun.strategy.analysis, weight, Cache(tmp_path / "cache.db"))
    assert promised is not None
    looks = [weight] * LOOKS
    needed = []
    rollouts = ROLLOUTS if SOAK else 40
    for seed in range(rollouts):
        world = World(drifts=False, risk=RISK, errors=BASE_RATE)
        said = verdicts(begun, flushes(world, looks, promised.requests // LOOKS, seed))
        look = next((number for number, (verdict, _) in enumerate(said, 1) if verdict is Verdict.FAIL), None)
        needed.append(math.inf if look is None else look * (promised.requests // LOOKS))
    caught = sum(each <= promised.requests for each in needed) / rollouts
    record_property("promised", promised.requests)
    record_property("caught", caught)
    record_property("median_requests", float(np.median(needed)))
    least = POWER if SOAK else 0.95
    assert caught >= least - 3 * math.sqrt(least * (1 - least) / rollouts)
    assert np.median(needed) > promised.requests / 10, "it is no lazy promise"
