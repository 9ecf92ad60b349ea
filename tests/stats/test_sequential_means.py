"""Confidence sequences: closed forms, comparisons within weights, and rates of error while somebody always looks."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.stats.confidence_sequence import (
    BURN_IN,
    Bounds,
    MeanBatch,
    Moments,
    difference_bounds,
    mean_bounds,
    radius,
    stratified_difference,
)

SOAK = os.environ.get("ENGINE_SOAK") == "1"
ROLLOUTS = 2000 if SOAK else 200
ALPHA = 0.05

LOOKS = 100
RAMP = np.repeat([0.01, 0.05, 0.1, 0.25, 0.5], LOOKS // 5)
LEVEL = np.linspace(0, 1, LOOKS)
Draw = Callable[[np.random.Generator, int, "tuple[int, ...]"], Any]


def at_most(rate: float, alpha: float, rollouts: int) -> bool:
    """Is a simulated rate alpha at most, within three standard errors?"""
    return rate <= alpha + 3 * math.sqrt(alpha * (1 - alpha) / rollouts)


def some(seed: int, rows: int, mean: float = 0.0) -> Moments:
    return Moments.of(np.random.default_rng(seed).normal(mean, 1, rows))


@pytest.mark.parametrize("size", [10, 1_000, 50_000])
def test_the_two_sided_bound_is_where_the_mixture_reaches_its_level(size: int) -> None:
    """Gaussian mixture N(0, ρ²): exp(ρ²S² / 2(1 + tρ²)) / √(1 + tρ²) = 1/alpha, S = t·radius."""
    total = size * float(radius(size, ALPHA, "both", 1000))
    tuned = 8.2120  # x = −2 log 0.05 + log(1 + x)
    assert tuned == pytest.approx(-2 * math.log(ALPHA) + math.log1p(tuned), abs=1e-3)
    rho2 = tuned / 1000
    mixture = math.exp(rho2 * total**2 / 2 / (1 + size * rho2)) / math.sqrt(1 + size * rho2)
    assert mixture == pytest.approx(1 / ALPHA, rel=1e-3)


@pytest.mark.parametrize("size", [10, 1_000, 50_000])
def test_the_one_sided_bound_is_hardly_beyond_its_mixture(size: int) -> None:
    """Half of the mixture: 2Φ(ρS / √(1 + tρ²)) times the above, at least 1/alpha at the bound."""
    total = size * float(radius(size, ALPHA, "lower", 1000))
    tuned = -2 * math.log(2 * ALPHA)
    for _ in range(50):
        tuned = -2 * math.log(2 * ALPHA) + math.log1p(tuned)
    rho2 = tuned / 1000
    root = math.sqrt(1 + size * rho2)
    mixture = 2 * math.exp(rho2 * total**2 / 2 / root**2) / root * NormalDist().cdf(math.sqrt(rho2) * total / root)
    assert 1 / ALPHA <= mixture < 1.2 * (2 + 1 / ALPHA)


def test_it_is_tightest_where_it_was_tuned() -> None:
    for sides in ("both", "lower"):
        here = radius(1000, ALPHA, sides, 1000)
        assert here < radius(1000, ALPHA, sides, 900) or sides == "lower"
        assert here < radius(1000, ALPHA, sides, 500)
        assert here < radius(1000, ALPHA, sides, 2000)
    assert radius(1000, ALPHA, "lower", 1000) < radius(1000, ALPHA, "both", 1000)
    # Some 1.6 times the width of an interval that may be looked at once.
    assert 1.5 < float(radius(1000, ALPHA)) / (1.959964 / math.sqrt(1000)) < 1.7


def test_a_mean_by_hand() -> None:
    moments = Moments(200, 600.0, 2000.0)  # mean 3, sum of squared deviations 200
    half = math.sqrt(200 / 199) * float(radius(200, ALPHA))
    assert mean_bounds(moments, ALPHA) == Bounds(3.0, 3 - half, 3 + half, 200)
    assert mean_bounds(moments, ALPHA, "lower").high == math.inf
    assert mean_bounds(moments, ALPHA, "upper").low == -math.inf
    assert mean_bounds(moments, ALPHA, "upper").high < 3 + half


def test_a_difference_by_hand() -> None:
    stable, candidate = (
        Moments(300, 600.0, 1500.0),
        Moments(100, 300.0, 1000.0),
    )  # means 2, 3; variances 300/299, 100/99
    found = difference_bounds([MeanBatch(0.25, stable, candidate)], ALPHA)
    assert found.estimate == pytest.approx(1)
    assert found.size == pytest.approx(75)
    variance = 100 / 99 / 100 + 300 / 299 / 300
    half = math.sqrt(75 * variance) * float(radius(75, ALPHA))
    assert found.high - found.low == pytest.approx(2 * half)
    ratio = found.as_ratio()
    assert (ratio.estimate, ratio.low) == (pytest.approx(math.e), pytest.approx(math.exp(1 - half)))


def test_the_release_that_varies_more_sets_the_width() -> None:
    quiet = Moments(9900, 0.0, 9900 * 0.01)
    loud = Moments(100, 0.0, 100 * 25.0)
    found = difference_bounds([MeanBatch(0.01, quiet, loud)], ALPHA)
    assert (found.high - found.low) / 2 > 1.96 * math.sqrt(25 / 100)


def test_traffic_that_drifts_while_the_weight_ramps_is_no_difference() -> None:
    batches = []
    for weight, level in ((0.1, 0.0), (0.5, 1.0), (0.9, 2.0)):  # both releases have the same mean at every weight
        n = round(1000 * weight)
        values = level + np.tile([-0.1, 0.1], 500)
        batches.append(MeanBatch(weight, Moments.of(values[n:]), Moments.of(values[:n])))
    found = difference_bounds(batches, ALPHA)
    assert found.estimate == pytest.approx(0, abs=1e-12)
    pooled = sum((b.candidate for b in batches), Moments()), sum((b.stable for b in batches), Moments())
    assert pooled[0].total / pooled[0].count - pooled[1].total / pooled[1].count > 0.9


values = st.lists(st.floats(-10, 10), min_size=0, max_size=40)


@given(st.lists(st.tuples(st.sampled_from([0.1, 0.5]), values, values), max_size=6), st.randoms(use_true_random=False))
def test_neither_order_nor_cuts_of_batches_matter(drawn: Any, random: Any) -> None:
    whole = [MeanBatch(weight, Moments.of(s), Moments.of(c)) for weight, s, c in drawn]
    cut = []
    for weight, s, c in drawn:
        i, j = random.randint(0, len(s)), random.randint(0, len(c))
        cut.append(MeanBatch(weight, Moments.of(s[:i]), Moments.of(c[:j])))
        cut.append(MeanBatch(weight, Moments.of(s[i:]), Moments.of(c[j:])))
    random.shuffle(cut)
    first, second = (
        difference_bounds(whole, ALPHA, span=20, burn_in=2),
        difference_bounds(cut, ALPHA, span=20, burn_in=2),
    )
    assert first.size == second.size
    assert (first.estimate is None) == (second.estimate is None)
    if first.estimate is not None:
        fields = [(b.estimate, b.low, b.high) for b in (first, second)]
        np.testing.assert_allclose(np.array(fields[0], float), np.array(fields[1], float), rtol=1e-9, atol=1e-9)


def test_too_little_is_no_evidence() -> None:
    assert mean_bounds(Moments(), ALPHA) == difference_bounds([], ALPHA) == Bounds(None, -math.inf, math.inf, 0)
    few = mean_bounds(some(0, BURN_IN - 1), ALPHA)
    assert (few.low, few.high) == (-math.inf, math.inf) and few.estimate is not None
    for weight in (0.0, 1.0):
        assert difference_bounds([MeanBatch(weight, some(0, 500), some(1, 500))], ALPHA) == Bounds()
    one_sided = difference_bounds([MeanBatch(0.5, some(0, 500), Moments())], ALPHA)
    assert one_sided == Bounds()
    short = difference_bounds([MeanBatch(0.1, some(0, 5000), some(1, BURN_IN - 1))], ALPHA)
    assert (short.low, short.high) == (-math.inf, math.inf) and short.estimate is not None
    assert short.as_ratio().low == 0 and short.as_ratio().high == math.inf


def test_values_that_never_vary_tell_nothing_unless_their_span_is_known() -> None:
    constant = Moments.of(np.full(5000, 1e6 / 3))
    assert mean_bounds(constant, ALPHA).high == math.inf
    assert difference_bounds([MeanBatch(0.5, constant, constant)], ALPHA).low == -math.inf
    right = Moments(5000, 5000.0, 5000.0)  # 5,000 of 5,000 correct
    assert 0.99 < mean_bounds(right, ALPHA, span=1).low < 1


@pytest.mark.parametrize(
    "numbers",
    [(-1, 0, 0), (1.5, 1, 1), (math.nan, 0, 0), (1, math.nan, 1), (1, 1, math.inf), (2, 2, 1), (0, 1, 1), (0, 0, 1)],
)
def test_impossible_moments_are_refused(numbers: Any) -> None:
    with pytest.raises(ValueError):
        Moments(*numbers)


@pytest.mark.parametrize(
    ("setting", "value"),
    [("alpha", 0.0), ("alpha", math.nan), ("tuned_at", 0), ("burn_in", -1), ("span", math.nan), ("span", -1)],
)
def test_impossible_settings_are_refused(setting: str, value: float) -> None:
    settings: dict[str, Any] = {"alpha": ALPHA} | {setting: value}
    with pytest.raises(ValueError, match=setting):
        mean_bounds(some(0, 200), **settings)
    with pytest.raises(ValueError, match=setting):
        difference_bounds([], **settings)
    with pytest.raises(ValueError, match="weight"):
        MeanBatch(math.nan, Moments(), Moments())


def simulate(draw: Draw, shares: Any, requests: int, rollouts: int, effect: float = 0.0) -> tuple[Any, Any]:
    """Moments by weight after each look, (looks, rollouts, 3, weights), of the stable release and the candidate."""
    generator = np.random.default_rng(7)
    strata, place = np.unique(shares, return_inverse=True)
    sums = np.zeros((2, rollouts, 3, strata.size))
    after = []
    for look, share in enumerate(shares):
        x = draw(generator, look, (rollouts, requests))
        chosen = generator.random(x.shape) < share
        for release, mask in enumerate((~chosen, chosen)):
            y = x + effect * release
            sums[release][..., place[look]] += np.stack([(mask * v).sum(axis=1) for v in (y**0, y, y**2)], axis=-1)
        after.append(sums.copy())
    together = np.array(after)
    return together[:, 0], together[:, 1]


def missed(stable: Any, candidate: Any, truth: float, span: float) -> tuple[float, float, float]:
    """How often the bounds ever exclude the truth: two-sided, from below, from above."""
    estimate, variance, size, least = stratified_difference(stable, candidate, span)
    ready = (least >= BURN_IN) & (variance > 0)
    off = np.where(ready, estimate - truth, 0)
    width = np.sqrt(np.where(ready, variance, 1))
    two, one = (width * radius(np.where(ready, size, 1), ALPHA, sides) for sides in ("both", "lower"))
    return tuple(float(alarm.any(axis=0).mean()) for alarm in (np.abs(off) > two, off > one, off < -one))  # type: ignore[return-value]


SCENES: dict[str, tuple[Draw, Any, float]] = {
    "log latency, drift and ramp": (lambda g, k, s: g.normal(LEVEL[k], 0.5, s), RAMP, 0),
    "score, half": (lambda g, k, s: g.beta(2, 3, s), np.full(LOOKS, 0.5), 1),
    "squared error, tenth": (lambda g, k, s: g.exponential(1, s), np.full(LOOKS, 0.1), 0),
    "accuracy 90 %, tenth": (lambda g, k, s: (g.random(s) < 0.9) * 1.0, np.full(LOOKS, 0.1), 1),
    "errors 1 → 4 %, ramp": (lambda g, k, s: (g.random(s) < 0.01 + 0.03 * LEVEL[k]) * 1.0, RAMP, 1),
}


@pytest.mark.parametrize("scene", SCENES)
def test_equal_releases_are_seldom_told_apart(scene: str, record_property: Any) -> None:
    draw, shares, span = SCENES[scene]
    rates = missed(*simulate(draw, shares, 100, ROLLOUTS), 0.0, span)
    record_property("missed", rates)
    assert all(at_most(rate, ALPHA, ROLLOUTS) for rate in rates)


@pytest.mark.parametrize(("stable", "candidate"), [(0.0, 0.01), (0.001, 0.02), (0.01, 0.02)])
def test_bounds_of_rare_events_hold_with_their_span(stable: float, candidate: float, record_property: Any) -> None:
    """A tenth of the traffic: where the few events seen would say that the candidate is better than it is."""
    generator, rollouts = np.random.default_rng(8), 2000
    shares = generator.binomial(300, 0.1, (rollouts, LOOKS))
    bad = generator.binomial(shares, candidate).cumsum(axis=1), generator.binomial(300 - shares, stable).cumsum(axis=1)
    m, n = shares.cumsum(axis=1), (300 - shares).cumsum(axis=1)
    tables = []
    for count, events in ((n, bad[1]), (m, bad[0])):
        tables.append(np.stack((count, events, events), axis=-1)[..., None].swapaxes(0, 1))
    rates = missed(tables[0], tables[1], candidate - stable, 1.0)
    record_property("missed", rates)
    assert all(at_most(rate, ALPHA, rollouts) for rate in rates)


@pytest.mark.parametrize(("requests", "least", "most"), [(1, 0.0, ALPHA), (20, 0.9, 1.0)])
def test_many_requests_of_one_key_are_not_many_observations(
    requests: int, least: float, most: float, record_property: Any
) -> None:
    """Equal releases, 50 keys a look, a tenth of them on the candidate; requests of a key are correlated by 0.5."""
    generator, rollouts = np.random.default_rng(9), ROLLOUTS // 4
    chosen = generator.random((LOOKS, rollouts, 50)) < 0.1
    key = generator.normal(0, math.sqrt(0.5), chosen.shape)
    sums = np.zeros((2, LOOKS, rollouts, 3, 1))
    for _ in range(requests):
        x = key + generator.normal(0, math.sqrt(0.5), chosen.shape)
        for release, mask in enumerate((~chosen, chosen)):
            sums[release, ..., 0] += np.stack([(mask * v).sum(axis=-1) for v in (x**0, x, x**2)], axis=-1)
    stable, candidate = sums.cumsum(axis=1)
    rate = missed(stable, candidate, 0.0, 0)[0]
    record_property("false_alarms", rate)
    assert least <= rate and at_most(rate, most, rollouts)


def test_a_slower_candidate_is_found() -> None:
    """Twenty per cent slower, log-seconds of deviation 0.5, a tenth of 10,000 requests."""
    scene = SCENES["log latency, drift and ramp"][0]
    stable, candidate = simulate(scene, np.full(LOOKS, 0.1), 100, 100, math.log(1.2))
    estimate, variance, size, _ = stratified_difference(stable[-1], candidate[-1])
    low = estimate - np.sqrt(variance) * radius(size, ALPHA, "lower")
    assert (low > 0).mean() >= 0.95
