from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.spec import units
from engine.spec.metrics import METRICS, canonical_metric, closest_metric


@given(st.integers(0, 100_000).map(lambda n: n / 100_000))
def test_a_formatted_fraction_reads_back(value: float) -> None:
    assert units.parse_fraction(units.format_fraction(value)) == value


@given(st.one_of(st.integers(1, 10**8), st.integers(1, 10**6).map(lambda n: n / 1000)))
def test_a_formatted_duration_reads_back(value: float) -> None:
    assert units.parse_duration(units.format_duration(value)) == value


@given(st.integers(1, 2**59))
def test_a_formatted_size_reads_back(value: int) -> None:
    assert units.parse_size(units.format_size(value)) == value


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("10m", 600), ("1h30m", 5400), ("7d", 604800), ("20ms", 0.02), ("1.5h", 5400), ("2w", 1209600)],
)
def test_durations(text: str, seconds: float) -> None:
    assert units.parse_duration(text) == seconds


@pytest.mark.parametrize(("text", "size"), [("4GiB", 2**32), ("1kB", 1000), ("1.5 MiB", 1572864), ("7B", 7)])
def test_sizes(text: str, size: int) -> None:
    assert units.parse_size(text) == size


def test_how_numbers_are_shown() -> None:
    assert units.format_fraction(0.1) == "10%"
    assert units.format_duration(5400) == "1h30m"
    assert units.format_duration(0.02) == "20ms"
    assert units.format_size(2**32) == "4GiB"


def test_names_and_aliases_of_metrics_are_unique_and_found() -> None:
    names = [*METRICS, *(alias for metric in METRICS.values() for alias in metric.aliases)]
    assert len(names) == len(set(names))
    assert all(canonical_metric(name.upper()) in METRICS for name in names)
    assert canonical_metric("f1-score") == "f1_score"
    assert closest_metric("acuracy") == "accuracy"
    assert canonical_metric("fun") is None


def test_what_is_known_of_metrics_is_consistent() -> None:
    for metric in METRICS.values():
        assert ("regression" in metric.tasks) == (metric.tasks == ("regression",))
        assert metric.better == "higher" or metric.low == 0
