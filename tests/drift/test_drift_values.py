"""Each test's numbers against scipy's, published ones and those worked by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats
from scipy.spatial import distance

from engine.stats.drift import counts, numbers
from engine.stats.drift.multiplicity import adjusted
from engine.stats.shift import population_stability_index

SAMPLES = arrays(np.float64, st.integers(5, 80), elements=st.floats(-1e6, 1e6, width=32))
FEW = arrays(np.float64, st.integers(5, 80), elements=st.integers(-3, 3).map(float))
COUNTS = st.lists(st.tuples(st.integers(0, 400), st.integers(0, 400)), min_size=2, max_size=8)


@given(SAMPLES | FEW, SAMPLES | FEW)
def test_kolmogorov_smirnov_is_scipy_s(reference: np.ndarray, batch: np.ndarray) -> None:
    found = numbers.ks(np.sort(reference), len(reference), np.sort(batch))
    expected = stats.ks_2samp(reference, batch, method="asymp")
    assert found.statistic == pytest.approx(expected.statistic, abs=1e-9)
    assert found.p == pytest.approx(expected.pvalue, abs=1e-9)


def test_kolmogorov_smirnov_over_several_blocks() -> None:
    generator = np.random.default_rng(0)
    reference, batch = generator.normal(size=150_000), generator.normal(0.01, 1, 200_000).round(2)
    found = numbers.ks(np.sort(reference), len(reference), np.sort(batch))
    expected = stats.ks_2samp(reference, batch, method="asymp")
    assert (found.statistic, found.p) == pytest.approx((expected.statistic, expected.pvalue), abs=1e-9)


@given(
    FEW | SAMPLES,
    arrays(np.float64, st.integers(1, 300), elements=st.floats(width=32) | st.integers(-4, 4).map(float)),
    st.sampled_from([1.0, 1e-320, 1e290, 1e-9]),
)
def test_places_of_a_batch_give_the_same_as_sorting_it(reference: np.ndarray, batch: np.ndarray, unit: float) -> None:
    points = np.sort(reference * unit)
    with np.errstate(over="ignore"):
        batch = np.concatenate((batch, reference)) * unit  # some numbers are points themselves
    placed = numbers.place(points, batch)
    finite = np.sort(batch[np.isfinite(batch)])
    assert (placed.n, placed.low, placed.high) == (len(finite), finite[0], finite[-1])
    assert placed.below.tolist() == np.searchsorted(finite, points, side="left").tolist()
    assert placed.up_to.tolist() == np.searchsorted(finite, points, side="right").tolist()
    assert numbers.ks_placed(len(points), placed) == numbers.ks(points, len(points), finite)


@pytest.mark.parametrize("heavy", [1.0, 6.0])
def test_places_over_several_blocks(heavy: float) -> None:
    """With tails so heavy that nearly all points lie in one cell of the grid, too."""
    generator = np.random.default_rng(5)
    points = np.sort(np.sinh(heavy * generator.normal(size=3_000)))
    batch = np.sinh(heavy * generator.normal(0.02, 1, 40_000))
    batch[::7] = np.nan
    found = numbers.ks_placed(3_000, numbers.place(points, batch))
    assert found == numbers.ks(points, 3_000, np.sort(batch[np.isfinite(batch)]))


@given(FEW | SAMPLES, FEW | SAMPLES)
def test_kolmogorov_smirnov_is_symmetric(one: np.ndarray, other: np.ndarray) -> None:
    one, other = np.sort(one), np.sort(other)
    assert numbers.ks_distance(one, other) == pytest.approx(numbers.ks_distance(other, one), abs=1e-12)


@given(FEW, FEW)
def test_kolmogorov_smirnov_sees_ranks_only(one: np.ndarray, other: np.ndarray) -> None:
    moved = numbers.ks_distance(np.sort(np.exp(one) * 7 - 3), np.sort(np.exp(other) * 7 - 3))
    assert moved == numbers.ks_distance(np.sort(one), np.sort(other))


@given(FEW | SAMPLES, FEW | SAMPLES)
def test_wasserstein_is_scipy_s(reference: np.ndarray, batch: np.ndarray) -> None:
    found = numbers.wasserstein(np.sort(reference), len(reference), np.sort(batch))
    assert found.statistic == pytest.approx(stats.wasserstein_distance(reference, batch), rel=1e-9, abs=1e-9)


@given(st.integers(-20, 20), st.sampled_from([0.5, 2.0, 1024.0]))
def test_wasserstein_does_not_depend_on_the_unit(shift: int, scale: float) -> None:
    generator = np.random.default_rng(1)
    reference, batch = np.sort(generator.normal(size=500)), np.sort(generator.normal(0.3, 1, 400))
    before = numbers.wasserstein(reference, 500, batch)
    after = numbers.wasserstein(reference * scale + shift, 500, batch * scale + shift)
    assert after.effect == pytest.approx(before.effect, rel=1e-9)
    assert after.statistic == pytest.approx(before.statistic * scale, rel=1e-9)


def test_wasserstein_of_a_shift_is_the_shift_in_standard_deviations() -> None:
    reference = np.sort(np.random.default_rng(2).normal(5, 3, 100_000))
    assert numbers.wasserstein(reference, len(reference), reference + 0.6).effect == pytest.approx(0.2, rel=0.01)


@given(COUNTS)
def test_chi_squared_is_scipy_s(pairs: list[tuple[int, int]]) -> None:
    table = np.array(pairs, dtype=float).T
    if not table.sum(axis=1).all() or (table.sum(axis=0) > 0).sum() < 2:
        return
    found = counts.chi_squared(table[0], table[1])
    expected = stats.chi2_contingency(table[:, table.sum(axis=0) > 0], correction=False)
    assert found.statistic == pytest.approx(expected.statistic, rel=1e-9, abs=1e-9)
    assert found.p == pytest.approx(expected.pvalue, abs=1e-9)


def test_chi_squared_effect_is_cramers_v_at_equal_sizes() -> None:
    one, other = np.array([50.0, 30, 20]), np.array([30.0, 30, 40])
    found = counts.chi_squared(one, other)
    assert found.effect == pytest.approx(math.sqrt(found.statistic / 200))
    assert counts.chi_squared(one * 1000, other).effect == pytest.approx(found.effect)


def test_rare_categories_are_pooled_by_the_sum_of_both() -> None:
    common = {"a": 500, "b": 300}
    rare = {f"r{i}": 1 for i in range(40)}
    reference, batch = counts.paired_counts({**common, **rare}, 0, {"a": 510, "b": 290, "r1": 2, "new": 3})
    assert reference.tolist() == [500, 300, 40]
    assert batch.tolist() == [510, 290, 5]


def test_a_new_category_that_is_frequent_is_not_pooled() -> None:
    reference, batch = counts.paired_counts({"a": 500, "b": 300}, 0, {"a": 300, "b": 200, "c": 300})
    assert counts.chi_squared(reference, batch).p < 1e-50
    assert batch.tolist() == [300, 200, 300]


def test_categories_that_are_not_kept_meet_each_other() -> None:
    reference, batch = counts.paired_counts({"a": 500}, 100, {"a": 250, "x": 30, "y": 20})
    assert sorted(reference.tolist()) == [100, 500]
    assert counts.chi_squared(reference, batch).p == pytest.approx(1)


def test_stability_index_is_the_textbook_sum_when_bins_are_full() -> None:
    """Three bands worked by hand: −0.05·ln(7/8) − 0.05·ln(5/6) + 0.1·ln(4/3)."""
    expected, actual = np.array([0.4, 0.3, 0.3]), np.array([0.35, 0.25, 0.4])
    assert population_stability_index(expected * 1e9, actual * 1e9) == pytest.approx(0.0445608, abs=1e-6)


def test_stability_index_s_noise_is_as_published() -> None:
    """Its mean without drift is (bins − 1)(1/n + 1/m), and 5 % lie above the quantile (Yurdakul and Naranjo 2020)."""
    generator = np.random.default_rng(3)
    found = [
        numbers.psi(*numbers.histograms(np.sort(one), 1000, np.sort(other)))
        for one, other in (generator.normal(size=(2, 1000)) for _ in range(1000))
    ]
    assert np.mean([each.statistic for each in found]) == pytest.approx(9 * 2 / 1000, rel=0.06)
    assert np.mean([each.p <= 0.05 for each in found]) == pytest.approx(0.05, abs=0.02)


def test_stability_index_of_three_deviations_is_finite_and_huge() -> None:
    reference = np.sort(np.random.default_rng(4).normal(size=2000))
    assert 2 < numbers.psi(*numbers.histograms(reference, 2000, reference + 3)).effect < 20


@given(FEW, FEW)
def test_histograms_lose_no_row(reference: np.ndarray, batch: np.ndarray) -> None:
    one, other = numbers.histograms(np.sort(reference), len(reference), np.sort(batch))
    assert (one.sum(), other.sum()) == (len(reference), len(batch))
    assert len(one) >= 2


@given(COUNTS)
def test_jensen_shannon_is_scipy_s(pairs: list[tuple[int, int]]) -> None:
    one, other = np.array(pairs, dtype=float).T
    if not (one.sum() and other.sum()):
        return
    expected = distance.jensenshannon(one, other, base=2)
    assert numbers.jensen_shannon(one, other).statistic == pytest.approx(expected, abs=1e-7)
    assert numbers.jensen_shannon(other, one).statistic == pytest.approx(expected, abs=1e-7)


def test_jensen_shannon_s_p_values_are_even_without_drift() -> None:
    generator = np.random.default_rng(5)
    shares = np.full(8, 1 / 8)
    found = [
        numbers.jensen_shannon(generator.multinomial(3000, shares), generator.multinomial(800, shares)).p
        for _ in range(2000)
    ]
    assert stats.kstest(found, "uniform").pvalue > 1e-3


def test_two_shares_is_the_chi_squared_test_of_two_by_two() -> None:
    found = counts.two_shares(40, 1000, 90, 1500)
    expected = stats.chi2_contingency([[40, 960], [90, 1410]], correction=False)
    assert found.p == pytest.approx(expected.pvalue, abs=1e-9)
    assert found.effect == pytest.approx(0.02)


def test_two_shares_of_few_hits_is_fisher_s_test() -> None:
    assert counts.two_shares(0, 1000, 3, 500).p == pytest.approx(
        stats.fisher_exact([[0, 1000], [3, 497]]).pvalue, abs=1e-12
    )
    assert counts.two_shares(0, 1000, 0, 500).p == 1


def test_unseen_values_are_weighed_against_what_the_reference_leads_to_expect() -> None:
    generator = np.random.default_rng(6)
    alarms = 0
    for _ in range(300):  # many names, most of them rare: new ones come all the time
        names = generator.zipf(1.5, 4000)
        some, more = (dict(zip(*np.unique(part, return_counts=True), strict=True)) for part in np.split(names, [3000]))
        found = counts.unseen(some, more)
        assert found is not None and found.statistic > 0
        alarms += found.p <= 0.05
    assert alarms / 300 <= 0.09
    assert counts.unseen({"a": 500, "b": 500}, {"a": 400}) is None
    new = counts.unseen({"a": 500, "b": 500}, {"a": 400, "c": 20})
    assert new is not None and new.p < 1e-6
    assert new.effect == pytest.approx(20 / 420)


def test_lost_variety_is_exact() -> None:
    found = counts.lost_variety(40, 2000, 500)
    assert found.p == pytest.approx(stats.hypergeom.pmf(0, 2500, 40, 500), rel=1e-9)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_adjusted_p_values_are_scipy_s(p_values: list[float]) -> None:
    assert adjusted(p_values) == pytest.approx(stats.false_discovery_control(p_values).tolist(), abs=1e-12)


def test_adjusted_refuses_nan() -> None:
    with pytest.raises(ValueError, match="p-value"):
        adjusted([0.1, math.nan])
