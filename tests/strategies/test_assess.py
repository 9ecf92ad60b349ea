"""A candidate judged by simulated traffic: worse ones fail, equal ones pass, and nothing passes by silence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timezone
from typing import Any

import numpy as np
import pytest

from engine.core import endpoint as endpoints
from engine.core.evidence import BINS, Tally
from engine.core.records import Endpoint
from engine.core.rollout import Rollout, start
from engine.core.stages import Stage, Strategy
from engine.core.verdict import Verdict
from engine.strategies.analysis import Analysis
from engine.strategies.assess import assess
from engine.strategies.judging import Assessment

NOON = datetime(2026, 11, 23, 12, tzinfo=timezone.utc)
ALL = ["errors", "latency", "prediction_shift", "accuracy"]


def rollout(**analysis: Any) -> Rollout:
    live = endpoints.deploy(Endpoint("churn"), 1, fingerprint="a")
    resolved = Analysis.model_validate(analysis).model_dump(mode="json")
    begun, _ = start(live, 2, Strategy("canary", (Stage(0.1), Stage(0.5)), analysis=resolved), 1, "b", NOON)
    assert begun is not None
    return begun


def traffic(
    requests: int,
    *,
    weight: float = 0.5,
    errors: tuple[float, float] = (0.0, 0.0),
    seconds: tuple[float, float] = (0.02, 0.02),
    scores: tuple[float, float] = (2.0, 2.0),
    accuracy: tuple[float, float] | None = None,
    seed: int = 0,
    generation: int = 2,
) -> list[Tally]:
    """So many requests with keys of their own, in flushes of about 100; rates are (stable, candidate)."""
    chance = np.random.default_rng(seed)
    tallies = []
    for flush in range(requests // 100):
        mine = int(chance.binomial(100, weight))
        for place, (role, count) in enumerate((("stable", 100 - mine), ("candidate", mine))):
            wrong = int(chance.binomial(count, errors[place]))
            taken = np.exp(chance.normal(np.log(seconds[place]), 0.4, count - wrong))
            seen = chance.beta(scores[place], 2.0, count - wrong)
            right = int(chance.binomial(count - wrong, accuracy[place])) if accuracy else 0
            tallies.append(
                Tally(
                    "churn",
                    generation,
                    place + 1,
                    role,
                    weight,
                    f"2026-11-23T12:{flush // 60:02}:{flush % 60:02}.000000Z",
                    requests=count,
                    keys=count,
                    errors=wrong,
                    error_keys=wrong,
                    timed=count - wrong,
                    latency_sum=float(taken.sum()),
                    latency_squares=float((taken**2).sum()),
                    log_sum=float(np.log(taken).sum()),
                    log_squares=float((np.log(taken) ** 2).sum()),
                    scores=tuple(int(n) for n in np.histogram(seen, BINS, (0, 1))[0]),
                    score_sum=float(seen.sum()),
                    score_squares=float((seen**2).sum()),
                    labelled=count - wrong if accuracy else 0,
                    correct=right,
                    loss_sum=float(count - wrong - right) if accuracy else 0.0,
                    loss_squares=float(count - wrong - right) if accuracy else 0.0,
                )
            )
    return tallies


def said(assessment: Assessment, name: str) -> Verdict:
    return next(each.verdict for each in assessment.guardrails if each.name == name)


def test_equal_releases_pass() -> None:
    found = assess(rollout(guardrails=ALL), traffic(40_000, accuracy=(0.9, 0.9)))
    assert found.verdict is Verdict.PASS, found
    assert found.why == "every guardrail holds"


@pytest.mark.parametrize(
    ("guardrail", "worse"),
    [
        ("errors", {"errors": (0.01, 0.05)}),
        ("latency", {"seconds": (0.02, 0.04)}),
        ("prediction_shift", {"scores": (2.0, 6.0)}),
        ("accuracy", {"accuracy": (0.9, 0.5)}),
    ],
)
def test_a_worse_candidate_fails_by_its_guardrail(guardrail: str, worse: dict[str, Any]) -> None:
    found = assess(rollout(guardrails=ALL), traffic(4_000, **worse))
    assert found.verdict is Verdict.FAIL
    assert said(found, guardrail) is Verdict.FAIL
    assert guardrail.partition("_")[0] in found.why


@pytest.mark.parametrize("analysis", [{}, {"guardrails": ALL}, {"guardrails": ["accuracy"]}])
@pytest.mark.parametrize("tallies", [[], traffic(100), traffic(100, weight=0.0)])
def test_little_or_no_traffic_is_inconclusive(analysis: dict[str, Any], tallies: Sequence[Tally]) -> None:
    found = assess(rollout(**analysis), tallies)
    assert found.verdict is Verdict.INCONCLUSIVE
    assert "of 500 requests" in found.why


def test_no_labels_never_pass_accuracy() -> None:
    found = assess(rollout(guardrails=["accuracy"]), traffic(10_000))
    assert found.verdict is Verdict.INCONCLUSIVE
    assert "0 labels" in found.why


def test_nothing_but_errors_is_not_passed() -> None:
    assert assess(rollout(), traffic(10_000, errors=(1.0, 1.0))).verdict is not Verdict.PASS


@pytest.mark.parametrize(("worse", "verdict"), [(1.0, Verdict.PASS), (2.0, Verdict.FAIL)])
def test_numbers_are_judged_by_their_squared_error(worse: float, verdict: Verdict) -> None:
    chance = np.random.default_rng(0)
    tallies = []
    for tally in traffic(400_000, accuracy=(0.0, 0.0)):
        losses = chance.exponential(4.0 * (worse if tally.role == "candidate" else 1.0), tally.labelled)
        squares = float((losses**2).sum())
        tallies.append(replace(tally, correct=0, loss_sum=float(losses.sum()), loss_squares=squares))
    found = assess(rollout(guardrails=["accuracy"]), tallies)
    assert found.verdict is verdict, found


def test_a_guardrail_that_only_reports_decides_nothing() -> None:
    found = assess(rollout(guardrails=["errors"], report_only=["latency"]), traffic(20_000, seconds=(0.02, 0.2)))
    assert said(found, "latency") is Verdict.FAIL
    assert found.verdict is Verdict.PASS


def test_a_broken_split_holds_whatever_else_is_said() -> None:
    tallies = [replace(tally, keys=tally.keys // 2) if tally.version == 2 else tally for tally in traffic(20_000)]
    found = assess(rollout(), tallies)
    assert found.verdict is Verdict.ERROR
    assert "assigns them wrongly" in found.why


def test_requests_of_an_earlier_stage_do_not_count_for_this_one() -> None:
    later = replace(rollout(), stage=1, stage_generation=3)
    found = assess(later, [*traffic(20_000), *traffic(200, generation=3)])
    assert found.verdict is Verdict.INCONCLUSIVE
    assert found.requests < 200


def test_evidence_before_the_rollout_counts_for_nothing() -> None:
    found = assess(rollout(), traffic(20_000, generation=1, errors=(0.0, 0.5)))
    assert found.verdict is Verdict.INCONCLUSIVE


def test_a_difference_too_small_to_matter_passes() -> None:
    assert assess(rollout(guardrails=["latency"]), traffic(20_000, seconds=(0.0001, 0.0005))).verdict is Verdict.PASS


def test_equal_releases_are_seldom_sent_away() -> None:
    """Looking after every flush: at most alpha of the rollouts (binomial limit for 60 of them: 8)."""
    alarms = 0
    for seed in range(60):
        tallies = traffic(2_000, errors=(0.02, 0.02), accuracy=(0.9, 0.9), seed=seed)
        looks = [assess(rollout(guardrails=ALL), tallies[: 4 * look]) for look in range(1, 11)]
        alarms += any(look.verdict is Verdict.FAIL for look in looks)
    assert alarms <= 8
