"""A shadow judged by simulated copies: worse ones fail, equal ones pass, and nothing passes by silence."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

import numpy as np
import pytest

from engine.core import endpoint as endpoints
from engine.core.approval import Terms
from engine.core.evidence import BINS, Tally
from engine.core.records import Endpoint
from engine.core.rollout import Abort, Ask, Decision, Hold, Promote, Readiness, Rollout, Seen, decide, follow, start
from engine.core.stages import Stage, Strategy
from engine.core.verdict import Verdict
from engine.strategies.copies import GUARDRAILS, assess_copies
from engine.strategies.judging import Assessment
from engine.strategies.shadow import ShadowAnalysis

NOON = datetime(2026, 11, 23, 12, tzinfo=timezone.utc)


def rollout(*, approval: bool = True, **analysis: Any) -> Rollout:
    live = endpoints.deploy(Endpoint("churn"), 1, fingerprint="a")
    resolved = ShadowAnalysis.model_validate(analysis).model_dump(mode="json")
    agreed = Terms(informal=True) if approval else None
    shadow = Strategy("shadow", (Stage(0.0, seconds=60, mirror=1.0),), agreed, resolved)
    begun, after = start(live, 2, shadow, 1, "b", NOON)
    assert begun is not None
    assert (after.weight, after.mirror) == (0.0, 1.0)
    begun, _ = follow(begun, after, decide(begun, Seen(Readiness.READY, Verdict.INCONCLUSIVE), NOON), NOON)
    return begun


def traffic(
    requests: int,
    *,
    copied: float = 1.0,
    errors: tuple[float, float] = (0.0, 0.0),
    seconds: tuple[float, float] = (0.02, 0.02),
    scores: tuple[float, float] = (2.0, 2.0),
    different: float = 0.0,
    seed: int = 0,
) -> list[Tally]:
    """So many requests to the stable release, a share of them copied; rates are (stable, shadow)."""
    chance = np.random.default_rng(seed)
    tallies = []
    for flush in range(requests // 100):
        for place, (role, count) in enumerate((("stable", 100), ("shadow", int(100 * copied)))):
            wrong = int(chance.binomial(count, errors[place]))
            taken = np.exp(chance.normal(np.log(seconds[place]), 0.4, count - wrong))
            seen = chance.beta(scores[place], 2.0, count - wrong)
            other = int(chance.binomial(count - wrong, different))
            tallies.append(
                Tally(
                    "churn", 2, place + 1, role, 0.0, f"2026-11-23T12:{flush // 60:02}:{flush % 60:02}.000000Z",
                    requests=count, keys=count, errors=wrong, error_keys=wrong, timed=count - wrong,
                    latency_sum=float(taken.sum()), latency_squares=float((taken**2).sum()),
                    log_sum=float(np.log(taken).sum()), log_squares=float((np.log(taken) ** 2).sum()),
                    scores=tuple(int(n) for n in np.histogram(seen, BINS, (0, 1))[0]),
                    labelled=(count - wrong) * place, correct=(count - wrong - other) * place,
                )
            )  # fmt: skip
    return tallies


def said(assessment: Assessment, name: str) -> Verdict:
    return next(each.verdict for each in assessment.guardrails if each.name == name)


def test_an_equal_release_passes() -> None:
    found = assess_copies(rollout(guardrails=list(GUARDRAILS)), traffic(4_000))
    assert found.verdict is Verdict.PASS, found
    assert found.requests == 4_000


def test_a_sample_is_enough() -> None:
    found = assess_copies(rollout(), traffic(20_000, copied=0.1))
    assert (found.verdict, found.requests) == (Verdict.PASS, 2_000)


@pytest.mark.parametrize(
    ("guardrail", "worse"),
    [
        ("errors", {"errors": (0.01, 0.06)}),
        ("latency", {"seconds": (0.02, 0.04)}),
        ("difference", {"different": 0.3}),
        ("prediction_shift", {"scores": (2.0, 6.0)}),
    ],
)
def test_a_worse_one_fails_by_its_guardrail_alone(guardrail: str, worse: dict[str, Any]) -> None:
    tallies = traffic(4_000, **worse)
    found = assess_copies(rollout(guardrails=[guardrail]), tallies)
    assert found.verdict is Verdict.FAIL
    assert [each.name for each in found.guardrails if each.verdict is Verdict.FAIL] == [guardrail]
    assert isinstance(decision(rollout(guardrails=[guardrail]), found), Abort)


def test_differences_are_reported_and_decide_nothing_unless_they_are_asked_to() -> None:
    found = assess_copies(rollout(), traffic(4_000, different=0.3))
    assert found.verdict is Verdict.PASS
    assert said(found, "difference") is Verdict.FAIL
    text = next(each.text for each in found.guardrails if each.name == "difference")
    assert "of 4,000 copies predict otherwise" in text


@pytest.mark.parametrize("requests", [0, 400])
def test_few_copies_never_pass(requests: int) -> None:
    found = assess_copies(rollout(guardrails=list(GUARDRAILS)), traffic(requests))
    assert found.verdict is Verdict.INCONCLUSIVE
    assert f"{requests} of 500 copies" in found.why
    assert isinstance(decision(rollout(), found), Hold)


def test_the_stable_releases_traffic_alone_says_nothing() -> None:
    alone = [tally for tally in traffic(10_000) if tally.role == "stable"]
    assert assess_copies(rollout(), alone).verdict is Verdict.INCONCLUSIVE


def test_a_shadow_that_only_errs_fails_and_one_that_errs_like_the_stable_release_waits() -> None:
    assert assess_copies(rollout(), traffic(2_000, errors=(0.0, 1.0))).verdict is Verdict.FAIL
    found = assess_copies(rollout(guardrails=["errors"]), traffic(2_000, errors=(0.03, 0.03)))
    assert found.verdict is Verdict.INCONCLUSIVE


def test_copies_of_another_release_count_for_nothing() -> None:
    others = [replace(tally, version=tally.version + 1) for tally in traffic(4_000)]
    assert assess_copies(rollout(), others).requests == 0


def decision(on: Rollout, found: Assessment, *, after: float = 61) -> Decision:
    return decide(on, Seen(Readiness.READY, found.verdict, found.why), NOON + timedelta(seconds=after))


def test_after_its_time_somebody_agrees_or_it_goes_live() -> None:
    found = assess_copies(rollout(), traffic(4_000))
    assert isinstance(decision(rollout(), found), Ask)
    assert isinstance(decision(rollout(approval=False), found), Promote)
    assert isinstance(decision(rollout(approval=False), found, after=30), Hold)


def test_equal_releases_are_seldom_sent_away() -> None:
    """Looking ten times, of 60 rollouts: the binomial limit at alpha is 8."""
    alarms = 0
    for seed in range(60):
        tallies = traffic(2_000, errors=(0.02, 0.02), different=0.05, seed=seed)
        on = rollout(guardrails=list(GUARDRAILS))
        alarms += any(assess_copies(on, tallies[: 4 * look]).verdict is Verdict.FAIL for look in range(1, 11))
    assert alarms <= 8
