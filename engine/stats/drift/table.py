"""A whole batch against a profile: each column's tests, corrected together, and one verdict with a line for people."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from engine.stats.drift import counts, numbers
from engine.stats.drift.columns import Column, Role, counted
from engine.stats.drift.multiplicity import adjusted
from engine.stats.drift.numbers import Comparison, Placed
from engine.stats.drift.profile import CategoricalReference, NumericReference, Profile, Reference, finite_sorted
from engine.stats.drift.report import (
    CATEGORICAL_TESTS,
    DETECTORS,
    JOINT_TESTS,
    MIN_PRESENT,
    NUMERIC_TESTS,
    DriftReport,
    Finding,
    Settings,
    Verdict,
)

if TYPE_CHECKING:
    from engine.stats.bootstrap import Floats

THREADS = 2
_MANY = 4  # times as many numbers as points: then sorting them takes longer than looking up each
_SHOWN = 3  # columns named in the line for people

Given = Mapping[tuple[Role, str], Column]


def check(
    profile: Profile, batch: Iterable[Column], settings: Settings | None = None, *, threads: int = THREADS
) -> DriftReport:
    """Has the batch drifted from the reference?

    A column of the profile that the batch lacks counts as missing in every row; further columns are not looked at.
    Sorting runs in `threads` threads, each with a copy of one column. The same input gives the same report. Raises
    ValueError for a detector or a column that is not known, and columns of different length.
    """
    settings = settings or Settings()
    given = {column.key: column for column in batch}
    rows = _rows(given)
    wanted = chosen(profile, settings)
    if (short := too_few(profile, rows, settings)) is not None:
        return short
    if settings.detector in JOINT_TESTS:
        from engine.stats.drift.joint import joint_findings

        features = [reference for reference in wanted if reference.role == "feature"]
        found = joint_findings(features, given, settings)
        wanted = [reference for reference in wanted if reference.role == "prediction"]
    else:
        found = []

    def examine(reference: Reference) -> list[Finding]:
        column = given.get((reference.role, reference.name))
        return list(examined(reference, column, rows, settings))

    if threads > 1 and len(wanted) > 1:
        from concurrent.futures import ThreadPoolExecutor

        with ThreadPoolExecutor(threads) as pool:
            each = list(pool.map(examine, wanted))
    else:
        each = [examine(reference) for reference in wanted]
    return concluded(profile, rows, [*found, *(finding for some in each for finding in some)], settings)


def chosen(profile: Profile, settings: Settings) -> list[Reference]:
    """The columns that the settings ask for. Raises ValueError for names that the profile does not have."""
    if settings.detector not in DETECTORS:
        raise ValueError(f"no detector {settings.detector!r}; there are {', '.join(DETECTORS)}")
    features = [column for column in profile.columns if column.role == "feature"]
    if settings.columns is not None:
        known = {column.name for column in features}
        if unknown := [name for name in settings.columns if name not in known]:
            raise ValueError(f"the reference has no column {', '.join(unknown)}; it has {', '.join(sorted(known))}")
        features = [column for column in features if column.name in settings.columns]
    said = [column for column in profile.columns if column.role == "prediction"] if settings.predictions else []
    return [*features, *said]


def too_few(profile: Profile, rows: int, settings: Settings) -> DriftReport | None:
    """An inconclusive report where the batch or the reference is too small, else None."""
    if rows < settings.min_rows:
        text = f"inconclusive: {rows:,} rows, {settings.min_rows:,} are needed"
    elif profile.rows < MIN_PRESENT:
        text = f"inconclusive: the reference has {profile.rows:,} rows, {MIN_PRESENT:,} are needed"
    else:
        return None
    return DriftReport("inconclusive", text, rows, profile.rows, settings.alpha, (), profile.digest)


def concluded(profile: Profile, rows: int, findings: list[Finding], settings: Settings) -> DriftReport:
    """Correct all p-values together and judge. A finding without a p-value keeps the verdict that it has."""
    measured = [finding for finding in findings if finding.p is not None]
    corrected = dict(zip(map(id, measured), adjusted([f.p for f in measured if f.p is not None]), strict=True))
    judged = [_judged(finding, corrected.get(id(finding)), settings) for finding in findings]
    drifted = [finding for finding in judged if finding.verdict == "drift"]
    said = any(finding.verdict != "inconclusive" for finding in judged)
    verdict: Verdict = "drift" if drifted else "no_drift" if said else "inconclusive"
    order = {"drift": 0, "inconclusive": 2, "no_drift": 1}
    judged.sort(key=lambda f: (order[f.verdict], 1.0 if f.q is None else f.q, -(f.effect or 0.0)))
    text = _line(verdict, judged, rows)
    return DriftReport(verdict, text, rows, profile.rows, settings.alpha, tuple(judged), profile.digest)


def examined(reference: Reference, column: Column | None, rows: int, settings: Settings) -> Iterable[Finding]:
    """All tests of one column. `column` None: missing in every row."""
    if isinstance(reference, NumericReference):
        values = None if column is None else _looked_at(reference, _converted(reference, column).numbers(), settings)
        present = 0 if values is None else values.n if isinstance(values, Placed) else len(values)
        compare: Callable[[], Iterable[Finding]] = lambda: (  # noqa: E731
            () if values is None else _numeric(reference, values, settings)
        )
    else:
        found = counted(column.values)[0] if column is not None else {}
        present = sum(found.values())
        compare = lambda: _categorical(reference, found, settings)  # noqa: E731
    if reference.missing or present < rows:
        comparison = counts.two_shares(reference.missing, reference.rows, rows - present, rows)
        reason = "the batch has no such column" if column is None else ""
        yield _finding(reference, "missing", comparison, settings, rows, reference.rows, reason)
    least = min(present, reference.present)
    if least < MIN_PRESENT:
        reason = f"{least:,} values, {MIN_PRESENT:,} are needed"
        yield replace(_bare(reference, settings, present), reason=reason)
    else:
        yield from compare()


def test_of(reference: Reference, detector: str) -> str:
    """The test that a detector means for this column."""
    if isinstance(reference, NumericReference):
        return detector if detector in NUMERIC_TESTS else "ks"
    return detector if detector in CATEGORICAL_TESTS else "chi_squared"


def _looked_at(reference: NumericReference, numbers_: Floats, settings: Settings) -> Floats | Placed:
    """A batch's numbers as its test takes them: sorted, or their places among much fewer points of the reference."""
    points = reference.points
    if test_of(reference, settings.detector) == "ks" and 0 < len(points) <= len(numbers_) // _MANY:
        return numbers.place(points, numbers_)
    return finite_sorted(numbers_)


def _numeric(reference: NumericReference, batch: Floats | Placed, settings: Settings) -> Iterable[Finding]:
    test = test_of(reference, settings.detector)
    points, n = reference.points, reference.present
    if isinstance(batch, Placed):
        comparison, m, least, most = numbers.ks_placed(n, batch), batch.n, batch.low, batch.high
    else:
        comparison, m, least, most = _compared(test, points, n, batch), len(batch), batch[0], batch[-1]
    yield _finding(reference, test, comparison, settings, m, n)
    if least == most and points[0] != points[-1]:
        import numpy as np

        low, high = (int(np.searchsorted(points, least, side=side)) for side in ("left", "right"))
        others = round((len(points) - (high - low)) * n / len(points))
        yield _lost(reference, others, m, settings, least)


def _compared(test: str, points: Floats, n: int, batch: Floats) -> Comparison:
    if test == "ks":
        return numbers.ks(points, n, batch)
    if test == "wasserstein":
        return numbers.wasserstein(points, n, batch)
    found: Comparison = getattr(numbers, test)(*numbers.histograms(points, n, batch))
    return found


def _categorical(reference: CategoricalReference, batch: Mapping[str, int], settings: Settings) -> Iterable[Finding]:
    test = test_of(reference, settings.detector)
    present = sum(batch.values())
    pair = counts.paired_counts(reference.counts, reference.rest, batch)
    comparison = counts.chi_squared(*pair) if test == "chi_squared" else getattr(numbers, test)(*pair)
    yield _finding(reference, test, comparison, settings, present, reference.present)
    if reference.exact and (more := counts.unseen(reference.counts, batch)) is not None:
        yield _finding(reference, "unseen", more, settings, present, reference.present)
    if len(batch) == 1 and len(reference.counts) > 1:
        only = next(iter(batch))
        yield _lost(reference, reference.present - reference.counts.get(only, 0), present, settings, only)


def _lost(reference: Reference, others: int, present: int, settings: Settings, value: object) -> Finding:
    comparison = counts.lost_variety(others, reference.present, present)
    reason = f"every value is {value}"
    return _finding(reference, "constant", comparison, settings, present, reference.present, reason)


def _finding(
    reference: Reference, test: str, found: Comparison, settings: Settings, n: int, of: int, reason: str = ""
) -> Finding:
    return Finding(
        reference.name,
        reference.role,
        test,
        statistic=found.statistic,
        effect=found.effect,
        min_effect=settings.large(test),
        p=found.p,
        n=n,
        reference_n=of,
        reason=reason,
    )


def _bare(reference: Reference, settings: Settings, present: int) -> Finding:
    test = test_of(reference, settings.detector)
    return Finding(
        reference.name,
        reference.role,
        test,
        min_effect=settings.large(test),
        n=present,
        reference_n=reference.present,
    )


def _judged(finding: Finding, q: float | None, settings: Settings) -> Finding:
    if q is None:
        return finding
    return replace(finding, q=q, verdict="drift" if q <= settings.alpha and finding.is_large else "no_drift")


def _converted(reference: Reference, column: Column) -> Column:
    """The batch's column read as the reference's kind: whole numbers of a file may be categories elsewhere."""
    return column if column.kind == reference.kind else replace(column, kind=reference.kind)


def _rows(given: Given) -> int:
    sizes = {column.rows for column in given.values()}
    if len(sizes) > 1:
        raise ValueError(f"the batch's columns have different lengths: {', '.join(map(str, sorted(sizes)))}")
    return sizes.pop() if sizes else 0


def _line(verdict: Verdict, judged: list[Finding], rows: int) -> str:
    if verdict == "inconclusive":
        return "inconclusive: nothing could be measured"
    columns = {(finding.role, finding.name) for finding in judged if finding.verdict != "inconclusive"}
    of = f"{len(columns)} column{'s' if len(columns) > 1 else ''}, {rows:,} rows"
    drifted = [finding for finding in judged if finding.verdict == "drift"]
    if not drifted:
        return f"no drift in {of}"
    names = list(dict.fromkeys(finding.name for finding in drifted))
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    first: dict[str, str] = {}
    for finding in drifted:
        first.setdefault(finding.name, f"{finding.name} ({finding.test} {finding.effect:.3g})")
    shown = ", ".join(list(first.values())[:_SHOWN])
    return f"drift in {len(names)} of {of}: {shown}{more}"
