"""Sample ratio, shift of predictions, shared alpha: exact expectations, published tables, rates of false alarms."""

from __future__ import annotations

import itertools
import math
import os
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.stats import sample_ratio as ratio
from engine.stats import shift as shifts
from engine.stats.alpha import log_mean_e, share_alpha
from engine.stats.sample_ratio import CONCENTRATIONS, SampleRatio, ShareBatch, sample_ratio
from engine.stats.shift import ScoreBatch, Shift, chi_squared_quantile, population_stability_index, shift

SOAK = os.environ.get("ENGINE_SOAK") == "1"
ALPHA = 0.05

LOOKS = 100
RAMP = np.repeat([0.01, 0.05, 0.1, 0.25, 0.5], LOOKS // 5)


def at_most(rate: float, alpha: float, rollouts: int) -> bool:
    """Is a simulated rate alpha at most, within three standard errors?"""
    return rate <= alpha + 3 * math.sqrt(alpha * (1 - alpha) / rollouts)


def split(seed: int, shares: Any, requests: int, rollouts: int) -> Any:
    """Requests of the stable release and the candidate, (rollouts, looks, 2)."""
    candidate = np.random.default_rng(seed).binomial(requests, shares, (rollouts, len(shares)))
    return np.stack((requests - candidate, candidate), axis=-1)


def multinomial(counts: tuple[int, ...], shares: tuple[float, ...]) -> float:
    ways = math.factorial(sum(counts)) / math.prod(math.factorial(n) for n in counts)
    return ways * math.prod(p**n for p, n in zip(shares, counts, strict=True))


# --- sample ratio ---


def test_sample_ratio_by_hand() -> None:
    one = sample_ratio([ShareBatch.of(0.3, 1, 0)])
    assert one.log_e == pytest.approx(0)
    assert (one.counts, one.expected) == ((1, 0), (0.7, 0.3))
    two = sample_ratio([ShareBatch.of(0.5, 2, 0)])  # the prior's chance of a second like the first, over one half
    assert math.exp(two.log_e) == pytest.approx(sum(2 * (k / 2 + 1) / (k + 1) for k in CONCENTRATIONS) / 3)


@pytest.mark.parametrize("shares", [(0.9, 0.1), (0.2, 0.3, 0.5)])
def test_expectation_of_a_fair_split_is_one(shares: tuple[float, ...]) -> None:
    outcomes = [c for c in itertools.product(range(13), repeat=len(shares)) if sum(c) == 12]
    total = sum(multinomial(c, shares) * math.exp(sample_ratio([ShareBatch(shares, c)]).log_e) for c in outcomes)
    assert total == pytest.approx(1)


counts = st.integers(0, 300)


@given(st.lists(st.tuples(st.sampled_from([0.1, 0.5]), counts, counts), max_size=8), st.randoms(use_true_random=False))
def test_neither_order_nor_cuts_matter_to_the_ratio(drawn: Any, random: Any) -> None:
    cut = []
    for weight, stable, candidate in drawn:
        i, j = random.randint(0, stable), random.randint(0, candidate)
        cut += [ShareBatch.of(weight, i, j), ShareBatch.of(weight, stable - i, candidate - j)]
    random.shuffle(cut)
    whole, again = sample_ratio([ShareBatch.of(*batch) for batch in drawn]), sample_ratio(cut)
    assert whole.counts == again.counts
    assert whole.log_e == pytest.approx(again.log_e, abs=1e-7)
    assert whole.log_e_max >= max(0.0, whole.log_e)


def test_fair_splits_seldom_look_unfair(record_property: Any) -> None:
    rollouts = 2000 if SOAK else 300
    alarms = ratio.log_e_process(np.stack((1 - RAMP, RAMP), axis=-1), split(1, RAMP, 1000, rollouts)).max(axis=1)
    rates = {alpha: float((alarms >= -math.log(alpha)).mean()) for alpha in (0.001, 0.05)}
    record_property("false_alarms", rates)
    assert all(at_most(rate, alpha, rollouts) for alpha, rate in rates.items())


def test_unfair_splits_are_found() -> None:
    shares = np.stack((1 - RAMP, RAMP), axis=-1)
    tenth_more = ratio.log_e_process(shares, split(2, RAMP * 1.1, 1000, 100)).max(axis=1)
    assert (tenth_more >= -math.log(0.001)).mean() > 0.95
    assert sample_ratio([ShareBatch.of(0.5, 36, 0)]).mismatch()  # everything went one way
    assert not sample_ratio([ShareBatch.of(0.5, 6, 0)]).mismatch()


def test_a_mismatch_stays_one() -> None:
    healed = sample_ratio([ShareBatch.of(0.5, 60, 0), *[ShareBatch.of(0.5, 500, 500)] * 20])
    assert healed.log_e < -math.log(0.001) < healed.log_e_max
    assert healed.mismatch()


def test_no_requests_are_no_mismatch_and_impossible_ones_are() -> None:
    assert sample_ratio([]) == SampleRatio((), ())
    assert not sample_ratio([ShareBatch.of(0.5, 0, 0)]).mismatch()
    assert not sample_ratio([ShareBatch.of(0.0, 500, 0), ShareBatch.of(1.0, 0, 500)]).mismatch()
    impossible = sample_ratio([ShareBatch.of(0.0, 500, 1), ShareBatch.of(0.5, 9, 9)])
    assert impossible.log_e == math.inf and impossible.mismatch(1e-9)


@pytest.mark.parametrize(
    ("shares", "numbers"),
    [
        ((0.5, 0.5), (1,)),
        ((1.0,), (1,)),
        ((0.5, 0.4), (1, 1)),
        ((math.nan, 0.5), (1, 1)),
        ((-0.5, 1.5), (1, 1)),
        ((0.5, 0.5), (1, -1)),
        ((0.5, 0.5), (1, math.nan)),
    ],
)
def test_impossible_splits_are_refused(shares: Any, numbers: Any) -> None:
    with pytest.raises(ValueError):
        ShareBatch(shares, numbers)


def test_batches_of_different_releases_are_refused() -> None:
    with pytest.raises(ValueError, match="number of releases"):
        sample_ratio([ShareBatch.of(0.5, 1, 1), ShareBatch((0.2, 0.3, 0.5), (1, 1, 1))])


# --- shift ---


def bell(at: float) -> Any:
    """Shares of 20 bins of a bell curve of deviation 4 bins, its middle `at` bins off the centre."""
    shares = np.exp(-(((np.arange(20) - 9.5 - at) / 4) ** 2) / 2)
    return shares / shares.sum()


def predictions(seed: int, drift: float, moved: float, rollouts: int) -> tuple[Any, Any]:
    """Histograms (rollouts, looks, 20) of both releases, 1,000 requests a look; traffic drifts by `drift` bins."""
    generator = np.random.default_rng(seed)
    stable, candidate = np.moveaxis(split(seed, RAMP, 1000, rollouts), -1, 0)
    at = np.linspace(0, drift, LOOKS)
    histograms = [
        np.stack([generator.multinomial(n[:, look], bell(at[look] + off)) for look in range(LOOKS)], axis=1)
        for n, off in ((stable, 0.0), (candidate, moved))
    ]
    return histograms[0], histograms[1]


def shift_of(stable: Any, candidate: Any) -> Shift:
    rows = zip(RAMP.tolist(), stable.tolist(), candidate.tolist(), strict=True)
    return shift(ScoreBatch(weight, tuple(s), tuple(c)) for weight, s, c in rows)


def test_shift_expectation_is_one_without_a_shift() -> None:
    """Eight predictions, five and three in two bins, each the candidate's with probability 0.3."""
    total = 0.0
    for first, second in itertools.product(range(6), range(4)):
        chance = multinomial((first, 5 - first), (0.3, 0.7)) * multinomial((second, 3 - second), (0.3, 0.7))
        total += chance * math.exp(shift([ScoreBatch(0.3, (5 - first, 3 - second), (first, second))]).log_e)
    assert total == pytest.approx(1)


bins = st.tuples(*[st.integers(0, 30)] * 4)


@given(st.lists(st.tuples(st.sampled_from([0.1, 0.5]), bins, bins), max_size=6), st.randoms(use_true_random=False))
def test_neither_order_nor_cuts_matter_to_a_shift(drawn: Any, random: Any) -> None:
    cut = []
    for weight, *both in drawn:
        parts = [tuple(random.randint(0, n) for n in one) for one in both]
        rest = [tuple(n - p for n, p in zip(one, part, strict=True)) for one, part in zip(both, parts, strict=True)]
        cut += [ScoreBatch(weight, *parts), ScoreBatch(weight, *rest)]
    random.shuffle(cut)
    whole, again = shift([ScoreBatch(*batch) for batch in drawn]), shift(cut)
    assert whole.predictions == again.predictions
    assert whole.log_e == pytest.approx(again.log_e, abs=1e-9)
    assert whole.psi == pytest.approx(again.psi) and whole.noise == pytest.approx(again.noise)
    assert whole.total_variation == pytest.approx(again.total_variation, abs=1e-12)


@pytest.mark.parametrize("drift", [0.0, 4.0], ids=["steady", "drift-and-ramp"])
def test_releases_that_predict_alike_are_seldom_told_apart(drift: float, record_property: Any) -> None:
    rollouts = 2000 if SOAK else 100
    stable, candidate = predictions(3, drift, 0.0, rollouts)
    alarms = float((shifts.log_e_process(RAMP, stable, candidate).max(axis=1) >= -math.log(ALPHA)).mean())
    record_property("false_alarms", alarms)
    assert at_most(alarms, ALPHA, rollouts)
    found = shift_of(stable[0], candidate[0])
    assert found.psi is not None and found.noise is not None
    assert found.psi < 2 * found.noise < 0.01 and not found.shifted(ALPHA)
    pooled = population_stability_index(stable[0].sum(axis=0), candidate[0].sum(axis=0))
    assert drift == 0 or pooled > 0.03  # what a comparison of all predictions at once would say


def test_a_large_shift_is_found_and_a_small_one_is_not_large() -> None:
    stable, candidate = predictions(4, 2.0, 3.0, 1)
    large = shift_of(stable[0], candidate[0])
    assert large.psi is not None and large.psi > 0.3 and large.shifted(ALPHA)
    assert large.total_variation == pytest.approx(abs(bell(0) - bell(3)).sum() / 2, abs=0.03)
    stable, candidate = predictions(5, 2.0, 0.5, 1)
    small = shift_of(stable[0], candidate[0])
    assert small.log_e_max > -math.log(ALPHA)
    assert not small.shifted(ALPHA) and small.shifted(ALPHA, large=0.005)


def test_no_predictions_are_no_shift() -> None:
    assert shift([]) == shift([ScoreBatch(0.0, (5, 5), (0, 0))]) == shift([ScoreBatch(1.0, (0, 0), (5, 5))]) == Shift()
    alone = shift([ScoreBatch(0.5, (40, 40), (0, 0))])
    assert alone.psi is None and alone.noise is None and not alone.shifted(0.9)


@pytest.mark.parametrize(
    "batch",
    [
        (math.nan, (1, 1), (1, 1)),
        (0.5, (1,), (1,)),
        (0.5, (1, 1), (1,)),
        (0.5, (1, -1), (1, 1)),
        (0.5, (1, 1), (1, math.nan)),
    ],
)
def test_impossible_histograms_are_refused(batch: Any) -> None:
    with pytest.raises(ValueError):
        ScoreBatch(*batch)


def test_histograms_of_different_bins_are_refused() -> None:
    with pytest.raises(ValueError, match="number of bins"):
        shift([ScoreBatch(0.5, (1, 1), (1, 1)), ScoreBatch(0.5, (1, 1, 1), (1, 1, 1))])
    with pytest.raises(ValueError, match="large"):
        Shift().shifted(ALPHA, large=math.nan)


def test_stability_index_by_hand() -> None:
    # Shares 50.5/101 twice against 75.5/101 and 25.5/101.
    expected = 25 / 101 * (math.log(75.5 / 50.5) - math.log(25.5 / 50.5))
    assert population_stability_index([50, 50], [75, 25]) == pytest.approx(expected)
    assert population_stability_index([10, 20, 30], [1, 2, 3]) < 0.15
    assert math.isfinite(population_stability_index([100, 0], [0, 100]))
    with pytest.raises(ValueError, match="without counts"):
        population_stability_index([0, 0], [1, 1])


def test_the_noise_of_the_index_is_chi_squared() -> None:
    """Without a shift it is about a chi-squared variable of bins − 1 degrees times 1/n + 1/m."""
    generator = np.random.default_rng(6)
    pairs = [generator.multinomial(2000, bell(0), 2) for _ in range(300)]
    over = [population_stability_index(*pair) > chi_squared_quantile(0.95, 19) * 2 / 2000 for pair in pairs]
    assert 0.02 < np.mean(over) < 0.08


@pytest.mark.parametrize(
    ("probability", "degrees", "table"), [(0.95, 9, 16.919), (0.95, 19, 30.144), (0.99, 19, 36.191), (0.05, 19, 10.117)]
)
def test_chi_squared_quantiles_of_the_tables(probability: float, degrees: int, table: float) -> None:
    assert chi_squared_quantile(probability, degrees) == pytest.approx(table, rel=0.003)


# --- alpha ---


def test_alpha_is_shared() -> None:
    assert share_alpha(0.05, {"errors": 1, "latency": 1}) == {"errors": 0.025, "latency": 0.025}
    assert share_alpha(0.05, {"errors": 3, "latency": 1}) == pytest.approx({"errors": 0.0375, "latency": 0.0125})
    assert share_alpha(0.05, {}) == {}


@given(st.dictionaries(st.text(max_size=3), st.floats(1e-3, 1e3), min_size=1), st.floats(0.001, 0.5))
def test_levels_make_alpha_together(shares: dict[str, float], alpha: float) -> None:
    levels = share_alpha(alpha, shares)
    assert math.fsum(levels.values()) == pytest.approx(alpha)
    assert all(level > 0 for level in levels.values())


@pytest.mark.parametrize(("alpha", "weight"), [(0, 1), (1, 1), (math.nan, 1), (0.05, 0), (0.05, -1), (0.05, math.inf)])
def test_impossible_shares_are_refused(alpha: float, weight: float) -> None:
    with pytest.raises(ValueError):
        share_alpha(alpha, {"errors": weight})


def test_e_values_are_averaged() -> None:
    assert log_mean_e([]) == 0
    assert log_mean_e([math.log(3), math.log(5)]) == pytest.approx(math.log(4))
    assert log_mean_e([math.log(3), math.log(5)], [3, 1]) == pytest.approx(math.log(3.5))
    assert log_mean_e([5000.0, 0.0]) == pytest.approx(5000 - math.log(2))
    assert log_mean_e([-math.inf, math.log(2)]) == pytest.approx(0)
    assert log_mean_e([-math.inf, -math.inf]) == -math.inf
    assert log_mean_e([math.inf, 0.0]) == math.inf
    for wrong in (([math.nan], None), ([0.0], [0.0]), ([0.0], [1.0, 1.0])):
        with pytest.raises(ValueError):
            log_mean_e(*wrong)
