"""A batch against a profile: what is drift, what is not, and what cannot be said."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.kinds import KINDS
from engine.spec.binding import Binder
from engine.spec.detectors import ALIBI_NAMES, NATIVE, REQUIRED
from engine.spec.yaml_tree import parse_tree
from engine.stats.drift import Column, DriftReport, Finding, Profile, Settings, check, profile_of
from engine.stats.drift.columns import columns_of_rows, counted

GENERATOR = np.random.default_rng(0)
ROWS = 2000


def numeric(values: Any, name: str = "x") -> Column:
    return Column(name, "numeric", values)


def categorical(values: Any, name: str = "c") -> Column:
    return Column(name, "categorical", values)


def only(report: DriftReport, test: str) -> Finding:
    (found,) = [finding for finding in report.findings if finding.test == test]
    return found


def mixed(rows: int, seed: int) -> list[Column]:
    generator = np.random.default_rng(seed)
    start = datetime(2024, 1, 1)
    dates = [(start + timedelta(hours=int(h))).isoformat() for h in generator.integers(0, 9000, rows)]
    words = ["good", "very good indeed", "not so good at all"]
    return [
        numeric(np.where(generator.random(rows) < 0.1, np.nan, generator.normal(size=rows))),
        categorical(generator.choice(["a", "b", "c"], rows).tolist()),
        Column("b", "boolean", generator.random(rows) < 0.3),
        Column("d", "date", dates),
        Column("t", "text", generator.choice(words, rows).astype(object)),
        Column("score", "numeric", generator.random(rows), "prediction"),
        Column("prediction", "categorical", generator.choice(["no", "yes"], rows).tolist(), "prediction"),
    ]


def test_rows_of_the_same_kind_are_no_drift() -> None:
    report = check(profile_of(mixed(ROWS, 1)), mixed(ROWS, 2))
    assert report.verdict == "no_drift"
    assert report.text == "no drift in 7 columns, 2,000 rows"
    assert {(f.name, f.test) for f in report.findings} == {
        ("x", "ks"), ("x", "missing"), ("c", "chi_squared"), ("b", "chi_squared"), ("d", "ks"), ("t", "ks"),
        ("score", "ks"), ("prediction", "chi_squared"),
    }  # fmt: skip


@pytest.mark.parametrize("place", range(7))
def test_a_change_of_any_kind_of_column_is_found(place: int) -> None:
    columns = mixed(ROWS, 2)
    column = columns[place]
    changed: dict[str, Any] = {
        "x": np.asarray(columns[0].values) + 0.5,
        "c": ["a" if value == "c" and i % 2 else value for i, value in enumerate(columns[1].values)],
        "b": np.asarray(columns[2].values) | (np.arange(ROWS) % 10 == 0),
        "d": [value.replace("2024", "2025") for value in columns[3].values],
        "t": np.array(["good"] * ROWS, dtype=object),
        "score": np.asarray(columns[5].values) ** 2,
        "prediction": ["yes"] * ROWS,
    }
    columns[place] = Column(column.name, column.kind, changed[column.name], column.role)
    report = check(profile_of(mixed(ROWS, 1)), columns)
    assert report.verdict == "drift"
    assert {finding.name for finding in report.drifted} == {column.name}
    assert report.findings[0].name == column.name
    assert f"drift in 1 of 7 columns, 2,000 rows: {column.name} (" in report.text


def test_few_rows_are_inconclusive() -> None:
    profile = profile_of([numeric(GENERATOR.normal(size=ROWS))])
    report = check(profile, [numeric(np.full(499, 99.0))])
    assert (report.verdict, report.findings) == ("inconclusive", ())
    assert report.text == "inconclusive: 499 rows, 500 are needed"
    assert check(profile, []).verdict == "inconclusive"
    assert check(profile, [numeric(np.full(499, 99.0))], Settings(min_rows=400)).verdict == "drift"
    small = profile_of([numeric(GENERATOR.normal(size=99))])
    assert check(small, [numeric(GENERATOR.normal(size=ROWS))]).verdict == "inconclusive"


def test_nothing_to_compare_is_inconclusive() -> None:
    profile = profile_of([numeric(np.full(ROWS, np.nan))])
    report = check(profile, [numeric(np.full(ROWS, np.nan))])
    assert report.verdict == "no_drift"  # all were missing, and all are: that much was measured
    assert only(report, "ks").verdict == "inconclusive"
    empty = profile_of([])
    assert check(empty, [numeric(GENERATOR.normal(size=ROWS))]).verdict == "inconclusive"


def test_gaps_and_infinities_have_a_test_of_their_own() -> None:
    values = GENERATOR.normal(size=ROWS)
    profile = profile_of([numeric(GENERATOR.normal(size=ROWS))])
    broken = values.copy()
    broken[:300:3], broken[1:300:3], broken[2:300:3] = np.nan, np.inf, -np.inf
    report = check(profile, [numeric(broken)])
    assert [finding.test for finding in report.drifted] == ["missing"]
    assert only(report, "missing").effect == pytest.approx(300 / ROWS)
    ks = only(report, "ks")
    assert ks.n == ROWS - 300 and ks.p is not None and ks.p > 0.01
    everything = check(profile, [numeric(np.full(ROWS, np.nan))])
    assert only(everything, "missing").verdict == "drift"
    assert only(everything, "ks").verdict == "inconclusive"


def test_a_column_that_is_not_there_is_missing_everywhere() -> None:
    profile = profile_of([numeric(GENERATOR.normal(size=ROWS)), categorical(["a", "b"] * (ROWS // 2))])
    report = check(profile, [numeric(GENERATOR.normal(size=ROWS))])
    assert report.verdict == "drift"
    assert report.drifted[0].reason == "the batch has no such column"


@pytest.mark.parametrize("detector", ["auto", "ks", "wasserstein", "jensen_shannon", "psi"])
def test_constant_columns(detector: str) -> None:
    settings = Settings(detector)
    constant, varied = numeric(np.full(ROWS, 7.0)), numeric(GENERATOR.normal(size=ROWS))
    assert check(profile_of([constant]), [constant], settings).verdict == "no_drift"
    assert check(profile_of([varied]), [constant], settings).verdict == "drift"
    assert check(profile_of([constant]), [varied], settings).verdict == "drift"
    assert check(profile_of([constant]), [numeric(np.full(ROWS, 7.5))], settings).verdict == "drift"


def test_a_column_that_lost_its_variety_is_drift_even_if_little_moved() -> None:
    mostly = np.where(np.arange(ROWS) % 50 == 0, 1.0, 0.0)  # 2 %: the distance is far below what is large
    report = check(profile_of([numeric(mostly)]), [numeric(np.zeros(ROWS))])
    assert [finding.test for finding in report.drifted] == ["constant"]
    assert report.drifted[0].reason == "every value is 0.0"
    hardly = np.where(np.arange(ROWS) == 7, 1.0, 0.0)
    assert check(profile_of([numeric(hardly)]), [numeric(np.zeros(ROWS))]).verdict == "no_drift"
    flags = categorical(["yes" if i % 50 == 0 else "no" for i in range(ROWS)])
    assert check(profile_of([flags]), [categorical(["no"] * ROWS)]).drifted[0].test == "constant"


def test_significant_is_not_enough() -> None:
    reference = GENERATOR.normal(size=200_000)
    tiny = check(profile_of([numeric(reference)]), [numeric(GENERATOR.normal(0.03, 1, 200_000))])
    found = only(tiny, "ks")
    assert found.p is not None and found.p < 1e-6
    assert tiny.verdict == "no_drift"
    asked = Settings(min_effect=0.005)
    assert (
        check(profile_of([numeric(reference)]), [numeric(GENERATOR.normal(0.03, 1, 200_000))], asked).verdict == "drift"
    )


def test_only_the_columns_that_are_asked_for() -> None:
    columns = mixed(ROWS, 2)
    columns[0] = numeric(np.asarray(columns[0].values) + 3)
    profile = profile_of(mixed(ROWS, 1))
    assert {f.name for f in check(profile, columns, Settings(columns=("c",), predictions=False)).findings} == {"c"}
    assert check(profile, columns, Settings(columns=("c",))).verdict == "no_drift"
    with pytest.raises(ValueError, match="no column y; it has b, c, d, t, x"):
        check(profile, columns, Settings(columns=("y",)))
    with pytest.raises(ValueError, match="no detector 'kss'"):
        check(profile, columns, Settings("kss"))


@pytest.mark.parametrize("detector", ["mmd", "classifier"])
def test_all_features_together(detector: str) -> None:
    settings = Settings(detector, permutations=199)
    profile = profile_of(mixed(ROWS, 1))
    same = check(profile, mixed(ROWS, 2), settings)
    assert same.verdict == "no_drift"
    assert same == check(profile, mixed(ROWS, 2), settings)
    moved = mixed(ROWS, 2)
    moved[0] = numeric(np.asarray(moved[0].values) + 1)
    moved[1] = categorical(["a"] * ROWS)
    assert only(check(profile, moved, settings), detector).verdict == "drift"


def test_a_change_in_how_features_hang_together() -> None:
    """Each feature alone is as before: only a test of whole rows can see it."""

    def pair(rho: float, seed: int) -> list[Column]:
        x, y = np.random.default_rng(seed).multivariate_normal([0, 0], [[1, rho], [rho, 1]], ROWS).T
        return [numeric(x, "x"), numeric(y, "y")]

    profile = profile_of(pair(0.8, 1))
    assert check(profile, pair(-0.8, 2)).verdict == "no_drift"
    assert check(profile, pair(-0.8, 2), Settings("mmd")).verdict == "drift"
    assert check(profile, pair(-0.8, 2), Settings("classifier")).verdict == "drift"


# ── profiles ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_profile_comes_back_from_its_bytes() -> None:
    profile = profile_of(mixed(3000, 1))
    data = profile.to_bytes()
    again = Profile.from_bytes(data)
    assert again.to_bytes() == data
    assert again.digest == profile.digest == profile_of(mixed(3000, 1)).digest
    assert again.digest != profile_of(mixed(3000, 2)).digest
    batch = mixed(ROWS, 5)
    for detector in ("auto", "psi", "mmd"):
        assert check(again, batch, Settings(detector)) == check(profile, batch, Settings(detector))


@pytest.mark.parametrize("cut", [0, 3, 9, 200, -1])
def test_what_is_no_profile_is_refused(cut: int) -> None:
    data = profile_of(mixed(200, 1)).to_bytes()
    with pytest.raises(ValueError, match="profile"):
        Profile.from_bytes(data[:cut])


def test_a_profile_of_another_format_is_refused() -> None:
    data = profile_of(mixed(200, 1)).to_bytes().replace(b'"format_version":1', b'"format_version":9')
    with pytest.raises(ValueError, match="format 9"):
        Profile.from_bytes(data)


def test_a_sketch_is_as_exact_as_it_says() -> None:
    reference, batch = GENERATOR.normal(size=123_457), GENERATOR.normal(0.05, 1, 30_000)
    kept, whole = profile_of([numeric(reference)]), profile_of([numeric(reference)], sketch=10**9)
    assert (kept.exact, whole.exact) == (False, True)
    assert len(kept.to_bytes()) < 150_000
    one, other = (only(check(profile, [numeric(batch)]), "ks") for profile in (kept, whole))
    assert one.statistic == pytest.approx(other.statistic, abs=1e-4)
    assert one.reference_n == other.reference_n == 123_457


def test_many_categories_are_pooled_and_said_so() -> None:
    names = [f"n{i % 12_000}" for i in range(24_000)]
    profile = profile_of([categorical(names)])
    assert not profile.exact
    some = GENERATOR.choice(names, 9000).tolist()
    assert check(profile, [categorical(some)]).verdict == "no_drift"
    assert check(profile, [categorical(["other"] * 9000)]).verdict == "drift"


def test_columns_must_fit_together() -> None:
    with pytest.raises(ValueError, match="y has 2 rows, x has 1"):
        profile_of([numeric([1.0]), numeric([1.0, 2.0], "y")])
    with pytest.raises(ValueError, match="same name"):
        profile_of([numeric([1.0]), numeric([1.0])])
    with pytest.raises(ValueError, match="no kind"):
        Column("x", "number", [])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="different lengths"):
        check(profile_of(mixed(200, 1)), [numeric([1.0]), categorical(["a", "b"])])


def test_a_file_and_a_request_name_the_same_category() -> None:
    assert counted(np.array([True, False, True])) == ({"false": 1, "true": 2}, 0)
    assert counted(["true", True, "True", None, float("nan")]) == ({"true": 3}, 2)
    assert counted([1, 1.0, "1", None]) == ({"1": 3}, 1)
    assert counted(np.array([1.0, 2.0, np.nan, np.nan])) == ({"1": 1, "2": 1}, 2)


def test_rows_of_a_log_become_columns() -> None:
    profile = profile_of(mixed(ROWS, 1))
    columns = mixed(ROWS, 2)
    features = [column for column in columns if column.role == "feature"]
    values = [column.values.tolist() if hasattr(column.values, "tolist") else column.values for column in features]
    rows = [dict(zip([c.name for c in features], row, strict=True)) for row in zip(*values, strict=True)]
    rows = json.loads(json.dumps(rows).replace("NaN", "null"))
    said = [column for column in columns if column.role == "prediction"]
    assert check(profile, [*columns_of_rows(profile.features(), rows), *said]) == check(profile, columns)


def test_a_report_comes_back_from_json() -> None:
    report = check(profile_of(mixed(ROWS, 1)), mixed(ROWS, 2))
    assert DriftReport.from_json(json.loads(json.dumps(report.to_json()))) == report
    with pytest.raises(ValueError, match="format 2"):
        DriftReport.from_json({"format_version": 2})


@pytest.mark.parametrize(
    ("trigger", "wrong"),
    [
        ("detector: kss", 'retrain_trigger.detector: there is no detector "kss". Did you mean "ks"?'),
        ("detector: KSDrift", 'there is no detector "KSDrift". Did you mean "alibi_detect.KSDrift"?'),
        ("detector: alibi_detect.SpotTheDiffDrift", "needs a network's settings"),
        ("detector: ks, arguments: {a: 1}", "ks takes no arguments"),
        ("detector: alibi_detect.KSDrift, arguments: {p_val: 0.1}", "p_val of alibi_detect.KSDrift cannot be set"),
        ("detector: alibi_detect.MMDDriftOnline, arguments: {ert: 50}", "needs window_size. Add arguments"),
        ("detector: alibi_detect.ClassifierDrift, arguments: {backend: pytorch}", "Write backend: sklearn"),
        ("detector: adwin, columns: [a]", "adwin watches errors, not columns"),
        ("detector: adwin, reference: production", "adwin begins with the errors on the hold-out"),
    ],
)
def test_detectors_that_cannot_be_are_mistakes_with_a_place(trigger: str, wrong: str) -> None:
    binder = Binder(KINDS)
    parsed = parse_tree(f"trigger: {{type: drift, {trigger}}}".encode(), "spec.yaml")
    assert parsed.root is not None
    assert binder.trigger(parsed.root.fields["trigger"]) is None
    [found] = binder.diagnostics
    assert wrong in f"{found.message}. {found.remedy}"
    assert (found.line, found.column > 1) == (1, True)


@pytest.mark.parametrize("detector", [*NATIVE, *(f"alibi_detect.{name}" for name in ALIBI_NAMES)])
def test_every_detector_can_be_named(detector: str) -> None:
    needed = dict.fromkeys(REQUIRED.get(detector.removeprefix("alibi_detect."), ()), 100)
    arguments = f", arguments: {json.dumps(needed)}" if needed else ""
    binder = Binder(KINDS)
    parsed = parse_tree(f"trigger: {{type: drift, detector: {detector}{arguments}}}".encode(), "spec.yaml")
    assert parsed.root is not None
    group = binder.trigger(parsed.root.fields["trigger"])
    assert group is not None and not binder.diagnostics
    assert group["any_of"][0]["detector"] == detector


def test_settings_of_a_trigger() -> None:
    block = {
        "type": "drift", "detector": "psi", "alpha": 0.05, "min_effect": 0.3, "columns": ["x"], "predictions": False,
        "min_rows": 900, "persistence": {"count": 2, "windows": 3},
    }  # fmt: skip
    assert Settings.of(block) == Settings("psi", 0.05, 0.3, ("x",), False, 900)
    for wrong in ({"alpha": 0.0}, {"alpha": float("nan")}, {"min_effect": 2.0}, {"min_rows": -1}):
        with pytest.raises(ValueError):
            Settings(**wrong)


# ── properties ───────────────────────────────────────────────────────────────────────────────────────────────

VALUES = st.lists(
    st.one_of(st.floats(allow_nan=True, allow_infinity=True), st.integers(-2, 2).map(float)), min_size=100, max_size=160
)


@given(VALUES, VALUES, st.sampled_from(["auto", "wasserstein", "jensen_shannon", "psi"]))
def test_no_values_whatever_make_a_p_value_that_is_none(
    reference: Sequence[float], batch: Sequence[float], detector: str
) -> None:
    with np.errstate(over="ignore", invalid="ignore"):
        report = check(
            profile_of([numeric(np.array(reference))]), [numeric(np.array(batch))], Settings(detector, min_rows=100)
        )
    for finding in report.findings:
        assert finding.p is None or 0 <= finding.p <= 1
        assert (finding.p is None) == (finding.q is None) == bool(finding.verdict == "inconclusive")


@given(st.permutations(range(7)), st.sampled_from([1, 2, 5]))
def test_neither_the_order_of_columns_nor_threads_matter(order: list[int], threads: int) -> None:
    reference, batch = mixed(600, 1), mixed(600, 2)
    report = check(profile_of(reference), batch)
    other = check(profile_of([reference[i] for i in order]), [batch[i] for i in reversed(order)], threads=threads)
    assert set(other.findings) == set(report.findings)
    assert other.verdict == report.verdict
