"""The e-process of errors: exact values, exact and simulated rates of false alarms, and the promise of `detectable`."""

from __future__ import annotations

import math
import os
import time
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.stats.error_process import (
    RATIOS,
    ErrorBatch,
    ErrorEvidence,
    clearable,
    detectable,
    error_evidence,
    error_rate_lower,
    error_rate_upper,
    log_e_process,
)

SOAK = os.environ.get("ENGINE_SOAK") == "1"
ROLLOUTS = 2000 if SOAK else 400
ALPHA = 0.05

LOOKS = 100
RAMP = np.repeat([0.01, 0.05, 0.1, 0.25, 0.5], LOOKS // 5)
DRIFT = np.linspace(0.01, 0.04, LOOKS)

weights = st.sampled_from([0.01, 0.1, 0.3, 0.5, 0.9])
batches = st.lists(st.builds(ErrorBatch, weights, st.integers(0, 40), st.integers(0, 40)), max_size=12)


def at_most(rate: float, alpha: float, rollouts: int) -> bool:
    """Is a simulated rate alpha at most, within three standard errors?"""
    return rate <= alpha + 3 * math.sqrt(alpha * (1 - alpha) / rollouts)


def simulate(seed: int, rates: Any, risk: float, shares: Any, requests: int, rollouts: int) -> tuple[Any, Any]:
    """Errors of the stable release and the candidate, (rollouts, looks) each, `requests` between two looks."""
    generator = np.random.default_rng(seed)
    to_candidate = generator.binomial(requests, shares, (rollouts, len(shares)))
    stable = generator.binomial(requests - to_candidate, rates)
    return stable, generator.binomial(to_candidate, np.asarray(rates) * risk)


def pooled_z_alarms(stable: Any, candidate: Any, shares: Any, requests: int) -> float:
    """What a z-test of the error rates so far does when it is looked at each time, one-sided at ALPHA."""
    n, m = (requests * (1 - shares)).cumsum(), (requests * shares).cumsum()
    p, q = stable.cumsum(axis=1) / n, candidate.cumsum(axis=1) / m
    pooled = (p * n + q * m) / (n + m)
    z = (q - p) / np.sqrt(np.maximum(pooled * (1 - pooled), 1e-12) * (1 / n + 1 / m))
    return float((z > 1.645).any(axis=1).mean())


def test_one_error_by_hand() -> None:
    evidence = error_evidence([ErrorBatch(0.5, 0, 1)])
    assert evidence.e_value == pytest.approx(sum(2 * r / (1 + r) for r in RATIOS) / len(RATIOS))
    evidence = error_evidence([ErrorBatch(0.1, 1, 0)])
    assert evidence.e_value == pytest.approx(sum(1 / (0.9 + 0.1 * r) for r in RATIOS) / len(RATIOS))
    assert evidence.e_value_max == 1


@pytest.mark.parametrize("errors", [1, 7, 60])
@pytest.mark.parametrize("weight", [0.01, 0.3, 0.5])
def test_its_expectation_is_one_without_an_effect(weight: float, errors: int) -> None:
    """Over all outcomes: the sum of e-value × binomial probability. With a lower risk it is less."""
    for risk, expected in ((1.0, 1.0), (0.5, None)):
        share = weight * risk / (1 - weight + weight * risk)
        total = sum(
            math.comb(errors, c)
            * share**c
            * (1 - share) ** (errors - c)
            * error_evidence([ErrorBatch(weight, errors - c, c)]).e_value
            for c in range(errors + 1)
        )
        assert total < 1 if expected is None else total == pytest.approx(expected)


@pytest.mark.parametrize("weight", [0.01, 0.1, 0.5])
def test_the_chance_of_ever_a_false_alarm_is_exactly_bounded(weight: float) -> None:
    """The whole tree of 400 errors, looked at after each: no simulation."""
    alive = np.array([1.0])  # probability of c errors of the candidate's, without an alarm so far
    alarmed = 0.0
    for errors in range(1, 401):
        alive = np.append(alive * (1 - weight), 0) + np.append(0, alive * weight)
        candidate = np.arange(errors + 1)
        log_e = log_e_process(np.full((errors + 1, 1), weight), (errors - candidate)[:, None], candidate[:, None])
        over = log_e[:, 0] >= -math.log(ALPHA)
        alarmed += float(alive[over].sum())
        alive[over] = 0
    assert 0.001 < alarmed <= ALPHA


@given(batches, st.randoms(use_true_random=False))
def test_neither_order_nor_cuts_of_batches_matter(listed: list[ErrorBatch], random: Any) -> None:
    whole = error_evidence(listed)
    cut = []
    for batch in listed:
        stable, candidate = random.randint(0, batch.stable_errors), random.randint(0, batch.candidate_errors)
        rest = ErrorBatch(batch.weight, batch.stable_errors - stable, batch.candidate_errors - candidate)
        cut += [ErrorBatch(batch.weight, stable, candidate), rest]
    random.shuffle(cut)
    again = error_evidence(cut)
    assert (again.counts, again.log_e) == (whole.counts, whole.log_e)
    assert again.interval(ALPHA) == whole.interval(ALPHA)


@given(batches)
def test_one_at_a_time_is_the_same_as_all_at_once(listed: list[ErrorBatch]) -> None:
    whole, grown = error_evidence(listed), ErrorEvidence()
    for batch in listed:
        grown = grown.with_batch(batch)
    assert (grown.counts, grown.log_e) == (whole.counts, whole.log_e)
    assert grown.log_e_max == pytest.approx(whole.log_e_max, abs=1e-9)
    assert whole.log_e_max >= max(0, whole.log_e)


@given(batches)
def test_bounds_agree_with_the_verdict_and_with_each_other(listed: list[ErrorBatch]) -> None:
    evidence = error_evidence(listed)
    low, high = evidence.lower(ALPHA), evidence.upper(ALPHA)
    assert low <= high
    assert (low >= 1) == (evidence.log_e >= -math.log(ALPHA)) or low == pytest.approx(1, abs=1e-6)
    mirrored = error_evidence([ErrorBatch(1 - b.weight, b.candidate_errors, b.stable_errors) for b in listed])
    if low > 0:
        assert mirrored.upper(ALPHA) == pytest.approx(1 / low, rel=1e-5)
    assert evidence.lower(0.01) <= low and evidence.upper(0.01) >= high


def test_large_samples_bound_the_relative_risk_closely() -> None:
    # 20,000 errors each way at a risk of exactly 2: bounds within 10 %.
    low, high = error_evidence([ErrorBatch(0.5, 20_000, 40_000)]).interval(ALPHA)
    assert 1.8 < low < 2 < high < 2.2


def test_nothing_is_no_evidence() -> None:
    for nothing in ([], [ErrorBatch(0.3, 0, 0)], [ErrorBatch(0.0, 9, 3)], [ErrorBatch(1.0, 0, 99)]):
        evidence = error_evidence(nothing)
        assert (evidence.e_value, evidence.e_value_max) == (1, 1)
        assert evidence.interval(ALPHA) == (0, math.inf)
        assert not evidence.harmful(ALPHA)
        assert not evidence.bounded(ALPHA, 1e9)
    assert error_rate_upper(0, 0, ALPHA) == 1
    assert error_rate_lower(0, 0, ALPHA) == 0


def test_errors_of_one_release_alone_bound_one_side() -> None:
    assert error_evidence([ErrorBatch(0.5, 0, 30)]).upper(ALPHA) == math.inf
    assert error_evidence([ErrorBatch(0.5, 0, 30)]).lower(ALPHA) > 3
    assert error_evidence([ErrorBatch(0.5, 30, 0)]).lower(ALPHA) == 0
    assert error_evidence([ErrorBatch(0.5, 30, 0)]).upper(ALPHA) < 1 / 3


@pytest.mark.parametrize("weight", [-0.1, 1.1, math.nan, math.inf])
def test_impossible_weights_are_refused(weight: float) -> None:
    with pytest.raises(ValueError, match="weight"):
        ErrorBatch(weight, 1, 1)


@pytest.mark.parametrize("number", [-1, 0.5, math.nan, math.inf])
def test_impossible_counts_are_refused(number: Any) -> None:
    with pytest.raises(ValueError, match="candidate_errors"):
        ErrorBatch(0.5, 1, number)
    with pytest.raises(ValueError, match="stable_errors"):
        ErrorBatch(0.5, number, 1)
    with pytest.raises(ValueError, match="requests"):
        error_rate_upper(number, 0, ALPHA)


@pytest.mark.parametrize("alpha", [0, 1, -1, math.nan])
def test_impossible_levels_are_refused(alpha: float) -> None:
    for call in (ErrorEvidence().harmful, ErrorEvidence().upper, ErrorEvidence().lower, ErrorEvidence().bounded):
        with pytest.raises(ValueError, match="alpha"):
            call(alpha)


def test_huge_counts_do_not_overflow() -> None:
    evidence = error_evidence([ErrorBatch(0.5, 0, 10**7)])
    assert evidence.e_value == math.inf
    assert evidence.harmful(1e-300)


@pytest.mark.parametrize(
    ("rates", "shares"),
    [(np.full(LOOKS, 0.01), np.full(LOOKS, 0.5)), (np.full(LOOKS, 0.01), np.full(LOOKS, 0.1)), (DRIFT, RAMP)],
    ids=["half", "tenth", "drift-and-ramp"],
)
def test_false_rollbacks_of_equal_releases(rates: Any, shares: Any, record_property: Any) -> None:
    """100 looks, one every 1,000 requests; in the last case the rate drifts 1 → 4 % and the weight ramps 1 → 50 %."""
    stable, candidate = simulate(1, rates, 1.0, shares, 1000, ROLLOUTS)
    alarms = float((log_e_process(shares, stable, candidate).max(axis=1) >= -math.log(ALPHA)).mean())
    record_property("false_alarms", alarms)
    assert at_most(alarms, ALPHA, ROLLOUTS)
    naive = pooled_z_alarms(stable, candidate, shares, 1000)
    record_property("pooled_z_test", naive)
    assert naive > (0.9 if rates is DRIFT else 0.15)  # so the case is hard


@pytest.mark.parametrize("risk", [1.0, 2.0])
def test_bounds_of_the_relative_risk_hold_at_all_looks(risk: float, record_property: Any) -> None:
    rollouts = 2000 if SOAK else 60
    stable, candidate = simulate(2, DRIFT, risk, RAMP, 1000, rollouts)
    missed = np.zeros(2)
    for errors in zip(stable, candidate, strict=True):
        evidence, low, high = ErrorEvidence(), 0.0, math.inf
        for look, counts in enumerate(zip(*errors, strict=True)):
            evidence = evidence.with_batch(ErrorBatch(float(RAMP[look]), int(counts[0]), int(counts[1])))
            if look % 20 == 19:
                low, high = max(low, evidence.lower(ALPHA)), min(high, evidence.upper(ALPHA))
        missed += (low > risk, high < risk)
    record_property("missed", (missed / rollouts).tolist())
    assert all(at_most(rate, ALPHA, rollouts) for rate in missed / rollouts)


def test_an_error_rate_without_errors_follows_the_rule_of_three() -> None:
    for requests in (300, 3_000, 30_000):
        bound = error_rate_upper(requests, 0, ALPHA)
        assert 3 / requests < bound < 4 / requests
        tilted = [(1 - bound * (1 - 1 / r)) ** -requests for r in RATIOS]
        assert sum(tilted) / len(tilted) == pytest.approx(1 / ALPHA)


def test_bounds_of_an_error_rate() -> None:
    low, high = error_rate_lower(10_000, 100, ALPHA), error_rate_upper(10_000, 100, ALPHA)
    assert 0.006 < low < 0.01 < high < 0.014
    assert error_rate_lower(1, 1, ALPHA) < 1 and error_rate_lower(50, 50, ALPHA) > 0.85
    assert error_rate_upper(50, 50, ALPHA) == 1
    with pytest.raises(ValueError, match="3 errors in 2 requests"):
        error_rate_upper(2, 3, ALPHA)


def test_bounds_of_an_error_rate_hold_while_it_drifts(record_property: Any) -> None:
    rollouts = 2000 if SOAK else 60
    errors = np.random.default_rng(3).binomial(200, DRIFT, (rollouts, LOOKS)).cumsum(axis=1)
    average = DRIFT.cumsum() / np.arange(1, LOOKS + 1)
    looks = range(9, LOOKS, 10)
    above = [any(error_rate_lower(200 * (k + 1), int(e[k]), ALPHA) > average[k] for k in looks) for e in errors]
    below = [any(error_rate_upper(200 * (k + 1), int(e[k]), ALPHA) < average[k] for k in looks) for e in errors]
    record_property("missed", (float(np.mean(above)), float(np.mean(below))))
    assert at_most(float(np.mean(above)), ALPHA, rollouts) and at_most(float(np.mean(below)), ALPHA, rollouts)


PROMISES = [(0.01, 2.0, 0.1, 0.05), (0.01, 2.0, 0.5, 0.01), (0.01, 5.0, 0.01, 0.05), (0.0002, 50.0, 0.1, 0.01)]


@pytest.mark.parametrize("promise", PROMISES)
def test_bad_candidates_are_caught_within_the_requests_promised(promise: Any, record_property: Any) -> None:
    base, risk, weight, alpha = promise
    rollouts = 2000 if SOAK else 1000
    requests, looks = detectable(*promise), 50
    record_property("requests", requests)
    stable, candidate = simulate(4, np.full(looks, base), risk, np.full(looks, weight), requests // looks, rollouts)
    caught = log_e_process(np.full(looks, weight), stable, candidate) >= -math.log(alpha)
    record_property("caught", float(caught.any(axis=1).mean()))
    assert caught.any(axis=1).mean() >= 0.95
    assert caught[:, : looks // 2].any(axis=1).mean() < 0.9  # and it is no lazy promise


def test_good_candidates_are_cleared_within_the_requests_promised() -> None:
    requests = clearable(0.01, 0.5, ALPHA)
    stable, candidate = simulate(5, [0.01], 1.0, np.array([0.5]), requests, 200)
    pairs = zip(stable[:, 0], candidate[:, 0], strict=True)
    evidence = [error_evidence([ErrorBatch(0.5, int(s), int(c))]) for s, c in pairs]
    assert sum(e.bounded(ALPHA) for e in evidence) >= 0.95 * 200 - 9
    assert not any(e.harmful(0.001) for e in evidence)


def test_promises_cost_no_time_and_grow_as_they_should() -> None:
    detectable.cache_clear()
    began = time.process_time()
    assert detectable(0.01, 2.0, 0.1, 0.05) > 10 * detectable(0.1, 2.0, 0.1, 0.05) / 1.2
    assert detectable(0.01, 2.0, 0.01, 0.05) > detectable(0.01, 2.0, 0.1, 0.05) > detectable(0.01, 4.0, 0.1, 0.05)
    assert detectable(0.01, 2.0, 0.1, 0.001) > detectable(0.01, 2.0, 0.1, 0.05) > detectable(0.01, 2.0, 0.1, 0.05, 0.5)
    assert (time.process_time() - began) / 7 < 0.05


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0.0, 2.0, 0.1, 0.05), "base_rate"),
        ((math.nan, 2.0, 0.1, 0.05), "base_rate"),
        ((0.01, 1.0, 0.1, 0.05), "relative_risk"),
        ((0.01, math.nan, 0.1, 0.05), "relative_risk"),
        ((0.6, 2.0, 0.1, 0.05), "2.0-fold"),
        ((0.01, 2.0, 0.0, 0.05), "weight"),
        ((0.01, 2.0, 1.0, 0.05), "weight"),
        ((0.01, 2.0, 0.1, 0.0), "alpha"),
        ((0.01, 2.0, 0.1, 0.05, 1.0), "power"),
        ((0.01, 1.01, 0.5, 0.05), "no number of requests"),
    ],
)
def test_promises_that_cannot_be_made(arguments: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        detectable(*arguments)


def test_no_promise_to_clear_what_is_no_better_than_the_ceiling() -> None:
    with pytest.raises(ValueError, match="ceiling"):
        clearable(0.01, 0.5, 0.05, ceiling=1.25, relative_risk=1.25)
