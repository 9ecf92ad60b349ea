"""Fairness figures equal fairlearn's on the same rows."""

from __future__ import annotations

import numpy as np
import pytest

from engine.stats.fairness import measure


def rows(seed: int, number: int = 600, groups: int = 3) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    group = generator.integers(0, groups, number)
    truth = generator.random(number) < 0.3 + 0.1 * group
    selected = np.where(generator.random(number) < 0.75, truth, generator.random(number) < 0.2 + 0.15 * group)
    return group, truth, selected


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(
    ("criterion", "kind"),
    [
        ("demographic_parity", "demographic_parity"),
        ("equal_opportunity", "equal_opportunity"),
        ("equalized_odds", "equalized_odds"),
    ],
)
def test_differences_and_ratios(criterion: str, kind: str, seed: int) -> None:
    fairlearn = pytest.importorskip("fairlearn.metrics")
    group, truth, selected = rows(seed)
    found = measure(group, ["a", "b", "c"], truth, selected, criterion=criterion, min_rows=1, seed=0)
    for figure in ("difference", "ratio"):
        expected = getattr(fairlearn, f"{kind}_{figure}")(truth, selected, sensitive_features=group)
        assert found[figure]["value"] == pytest.approx(expected, abs=1e-12)
        assert found[figure]["low"] <= found[figure]["high"]


def test_small_groups_are_left_out_and_named() -> None:
    group, truth, selected = rows(0)
    group[:] = np.where(group == 2, 1, group)
    group[:5] = 2
    found = measure(group, ["a", "b", "c"], truth, selected, criterion="demographic_parity", min_rows=30, seed=0)
    assert [each["small"] for each in found["groups"]] == [False, False, True]
    rates = [selected[group == number].mean() for number in (0, 1)]
    assert found["difference"]["value"] == pytest.approx(abs(rates[0] - rates[1]))
    alone = measure(group * 0, ["a"], truth, selected, criterion="demographic_parity", min_rows=30, seed=0)
    assert alone["difference"] is None and alone["ratio"] is None


def test_a_group_without_the_class_is_small_for_its_rate() -> None:
    group, truth, selected = rows(1)
    truth &= group != 2
    found = measure(group, ["a", "b", "c"], truth, selected, criterion="equal_opportunity", min_rows=1, seed=0)
    assert [each["small"] for each in found["groups"]] == [False, False, True]
    assert np.isfinite(found["difference"]["value"])


def test_the_interval_holds_what_is_true_about_as_often_as_it_says() -> None:
    big, _, chosen = rows(10_000, number=100_000, groups=2)
    rates = [chosen[big == number].mean() for number in (0, 1)]
    held = 0
    for seed in range(60):
        group, truth, selected = rows(seed, number=500, groups=2)
        found = measure(group, ["a", "b"], truth, selected, criterion="demographic_parity", min_rows=1, seed=seed)
        held += found["difference"]["low"] - 0.01 <= abs(rates[0] - rates[1]) <= found["difference"]["high"] + 0.01
    assert held >= 51
