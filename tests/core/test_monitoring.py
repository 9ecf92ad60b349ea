"""How predictions are cut into windows, which settings a spec means, and what is a breach."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone

from hypothesis import given
from hypothesis import strategies as st

from engine.core.canonical import utc
from engine.core.monitoring import (
    Check,
    FeatureQuality,
    Measure,
    MetricLimit,
    Window,
    WindowReport,
    breaches,
    cut,
    settings_of,
)
from engine.core.verdict import Verdict

START = datetime(2026, 11, 24, 10, 7, tzinfo=timezone.utc)


@dataclass(frozen=True)
class Row:
    id: str
    at: str


def rows(seconds: list[float]) -> list[Row]:
    return [Row(f"{number:04}", utc(START + timedelta(seconds=at))) for number, at in enumerate(seconds)]


def test_a_window_of_rows_closes_when_it_is_full() -> None:
    found = list(cut(rows([float(n) for n in range(7)]), 4, 3, None, START))
    assert [(window.number, window.rows, closed) for window, _, closed in found] == [
        (4, 3, True),
        (5, 3, True),
        (6, 1, False),
    ]
    assert found[0][0] == Window(4, "0000", "0002", utc(START), utc(START + timedelta(seconds=2)), 3)


def test_a_window_of_time_closes_when_its_time_is_over() -> None:
    hours = [0.0, 1000.0, 3599.0 - 420, 3600.0 - 420, 5 * 3600.0]  # 10:07 is 420 s into its hour
    over = START + timedelta(hours=6)
    found = list(cut(rows(hours), 1, None, 3600, over))
    assert [(window.rows, closed) for window, _, closed in found] == [(3, True), (1, True), (1, True)]
    assert [window.until[11:16] for window, _, _ in found] == ["11:00", "12:00", "16:00"]
    assert not list(cut(rows(hours), 1, None, 3600, START + timedelta(hours=5)))[-1][2]


def test_with_both_the_first_end_counts() -> None:
    found = list(cut(rows([0.0, 1.0, 2.0, 5000.0, 5001.0]), 1, 2, 3600, START + timedelta(days=1)))
    assert [[row.id for row in held] for _, held, _ in found] == [["0000", "0001"], ["0002"], ["0003", "0004"]]


@given(
    st.lists(st.floats(0, 40), max_size=60).map(sorted),
    st.none() | st.integers(1, 9),
    st.none() | st.integers(1, 12),
    st.integers(0, 60),
    st.integers(0, 50),
)
def test_whoever_looks_when_cuts_alike(
    seconds: list[float], size: int | None, duration: int | None, looked: int, now: int
) -> None:
    """A first look at some of the log, which goes on from there later, finds the windows of one look at all of it."""
    every = rows(seconds)
    end = START + timedelta(seconds=100)
    at_once = [(window, held) for window, held, closed in cut(every, 1, size, duration, end) if closed]
    moment = START + timedelta(seconds=now)
    seen = [row for row in every[:looked] if row.at <= utc(moment)]
    if any(row.at <= utc(moment) for row in every[len(seen) :]):
        seen = [row for row in every if row.at <= utc(moment)]  # all rows up to then are there
    first = [(window, held) for window, held, closed in cut(seen, 1, size, duration, moment) if closed]
    behind = first[-1][0].last if first else ""
    rest = [row for row in every if row.id > behind]
    then = [(window, held) for window, held, closed in cut(rest, len(first) + 1, size, duration, end) if closed]
    assert first + then == at_once
    assert [row for _, held in at_once for row in held] == every[: sum(len(held) for _, held in at_once)]


def test_settings_come_from_monitoring_gates_and_triggers() -> None:
    drift = {"type": "drift", "window": 700}
    document = {
        "validation": [{"metric": "f1_score"}, {"baseline": "better"}],
        "retrain_trigger": {
            "any_of": [drift, {"all_of": [{"type": "performance", "metric": "accuracy"}], "cooldown": None}]
        },
        "monitoring": None,
    }
    found = settings_of(document)
    assert (found.rows, found.duration, found.delay, found.drift) == (700, None, None, (drift,))
    assert found.metrics == (MetricLimit(metric="f1_score"), MetricLimit(metric="accuracy"))
    watch = {"on_breach": "rollback", "persistence": {"count": 2, "windows": 3}}
    document["monitoring"] = {
        "window": {"rows": None, "duration": 3600},
        "labels": {"delay": 60, "min": 50},
        "metrics": [{"metric": "accuracy", "threshold": 0.8, **watch}],
        "quality": {"missing": 0.1, "out_of_range": 0.2, "unseen": 0.3, **watch},
    }
    found = settings_of(document)
    assert (found.rows, found.duration, found.delay, found.min_labels) == (None, 3600, 60, 50)
    assert found.metrics == (MetricLimit("rollback", 2, 3, "accuracy", 0.8), MetricLimit(metric="f1_score"))
    assert (found.quality.unseen, found.quality.count) == (0.3, 2)
    assert settings_of({}).rows == 1000


def report(number: int, *checks: Check) -> WindowReport:
    window = Window(number, "00", "09", utc(START), utc(START + timedelta(hours=1)), 10)
    quality = FeatureQuality("categorical", 0.1, 0.0, None, 0.2, ("new",))
    measures = {"accuracy": Measure(0.5, 0.4, 0.6, 8)}
    return WindowReport(
        "churn", 3, window, utc(START), False, 8, 1, 0.5, {"p50": 0.1}, measures, measures, measures,
        {"plan": quality}, {"gone": (), "new": ("age",)}, {"default": {"verdict": "drift"}}, checks, "", 7,
    )  # fmt: skip


def check(verdict: Verdict, count: int = 2, windows: int = 3, kind: str = "metric") -> Check:
    return Check(kind, "accuracy", verdict, "worse", 0.5, 0.8, "rollback", count, windows)  # type: ignore[arg-type]


def test_a_report_survives_its_json() -> None:
    found = report(1, check(Verdict.FAIL))
    assert WindowReport.from_json(found.to_json()) == found
    assert (found.coverage, found.error_rate) == (8 / 9, 0.1)


def test_a_breach_needs_enough_of_the_last_conclusive_windows() -> None:
    fail, passed, unsure = check(Verdict.FAIL), check(Verdict.PASS), check(Verdict.INCONCLUSIVE)

    def breached(*newest_first: Check) -> list[tuple[int, ...]]:
        found = breaches([report(9 - place, each) for place, each in enumerate(newest_first)])
        return [each.windows for each in found]

    assert breached(fail) == []
    assert breached(fail, fail) == [(9, 8)]
    assert breached(passed, fail, fail) == [(8, 7)]
    assert breached(passed, passed, fail, fail) == []
    assert breached(unsure, fail, unsure, fail) == [(8, 6)]
    assert breached(replace(fail, count=1, windows=1), passed) == [(9,)]
    assert breaches([]) == ()


def test_an_estimate_only_warns() -> None:
    assert breaches([report(1, check(Verdict.FAIL, 1, 1, "estimate"))]) == ()
