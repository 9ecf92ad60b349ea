"""How often drift is seen where there is none, and how often where there is: real rows, and shifts of known size."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest

from engine.stats.drift import Column, Settings, check, profile_of

SOAK = os.environ.get("ENGINE_SOAK") == "1"
RUNS = 500 if SOAK else 20
ROWS, FEATURES = 1000, 20
ELEC2 = Path(__file__).parent.parent / "data" / "elec2.csv"
ANY = Settings(min_effect=0.0, predictions=False)
"""Significance alone, so that the rate is that of the tests."""


@lru_cache
def real_rows() -> np.ndarray:
    """(45,312, 20): seven columns of real rows, and thirteen mixtures of two of them."""
    table = np.genfromtxt(ELEC2, delimiter=",", skip_header=1, usecols=range(1, 8), dtype=float)
    draw = np.random.default_rng(7)
    pairs = [draw.choice(7, 2, replace=False) for _ in range(FEATURES - 7)]
    more = [table[:, i] + draw.uniform(0.2, 2) * table[:, j] for i, j in pairs]
    return np.column_stack([table, *more])


def columns(rows: np.ndarray) -> list[Column]:
    return [Column(f"x{place}", "numeric", values) for place, values in enumerate(rows.T)]


def alarms(settings: Settings) -> float:
    table, found = real_rows(), 0
    for run in range(RUNS):
        order = np.random.default_rng(run).permutation(len(table))[: 2 * ROWS]
        report = check(profile_of(columns(table[order[:ROWS]])), columns(table[order[ROWS:]]), settings, threads=1)
        found += report.verdict == "drift"
    return found / RUNS


@pytest.mark.parametrize("alpha", [0.01, 0.05])
def test_real_rows_permuted_are_drift_at_most_at_the_stated_rate(
    alpha: float, record_property: pytest.RecordProperty
) -> None:
    """Rows of the same table, 20 features that hang together: at most alpha, and the error of counting so few runs."""
    rate = alarms(Settings(alpha=alpha, min_effect=0.0, predictions=False))
    record_property(f"alarms at {alpha}", rate)
    assert rate <= alpha + 2.6 * np.sqrt(alpha * (1 - alpha) / RUNS)


def test_with_the_least_effect_there_is_hardly_one(record_property: pytest.RecordProperty) -> None:
    rate = alarms(Settings(predictions=False))
    record_property("alarms by default", rate)
    assert rate <= 0.01 + (0 if SOAK else 0.05)


@pytest.mark.parametrize(("shift", "least"), [(0.1, 0.0), (0.25, 0.9), (0.5, 1.0)])
def test_power_is_that_of_bonferroni_or_more(
    shift: float, least: float, record_property: pytest.RecordProperty
) -> None:
    """One feature of 20 moves by so many standard deviations; 1,000 rows. KSDrift with Bonferroni alarms when the least
    of its p-values, which are those of `ks_2samp(method="asymp")`, is at most alpha / 20."""
    ours = theirs = 0
    for run in range(RUNS):
        draw = np.random.default_rng([run, 1])
        before, now = draw.normal(size=(2, ROWS, FEATURES))
        now[:, 0] += shift
        report = check(profile_of(columns(before)), columns(now), ANY, threads=1)
        ours += report.verdict == "drift"
        theirs += min(f.p for f in report.findings if f.p is not None) <= ANY.alpha / FEATURES
    record_property(f"power at {shift} SD: engine, Bonferroni", f"{ours / RUNS}, {theirs / RUNS}")
    assert ours >= theirs
    assert ours / RUNS >= least - (0 if SOAK else 0.1)


@pytest.mark.skipif(not SOAK, reason="takes a minute")
def test_power_is_alibi_detect_s_own_at_the_least() -> None:
    alibi = pytest.importorskip("alibi_detect.cd")
    ours = theirs = 0
    for run in range(100):
        draw = np.random.default_rng([run, 2])
        before, now = draw.normal(size=(2, ROWS, FEATURES))
        now[:, 0] += 0.25
        ours += check(profile_of(columns(before)), columns(now), ANY, threads=1).verdict == "drift"
        theirs += alibi.KSDrift(before, p_val=ANY.alpha, correction="bonferroni").predict(now)["data"]["is_drift"]
    assert ours >= theirs


def test_one_moved_of_many_is_found_when_many_moved_a_little() -> None:
    """Where half of the features move, the correction is milder than Bonferroni's: more of them are named."""
    draw = np.random.default_rng(3)
    before, now = draw.normal(size=(2, ROWS, FEATURES))
    now[:, : FEATURES // 2] += 0.16
    report = check(profile_of(columns(before)), columns(now), ANY)
    strict = [f for f in report.findings if f.p is not None and f.p <= ANY.alpha / FEATURES]
    assert len(report.drifted) > len(strict)
