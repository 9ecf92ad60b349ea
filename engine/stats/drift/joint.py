"""All features together as one matrix of numbers, for the tests that compare whole rows.

Numbers are centred and scaled by the reference's median and robust deviation and cut at ±10, so that no outlier leads;
a missing one is the median. Categories are one column each, up to 20 of a feature, the others share one; missing is a
category of its own. A difference in a category then weighs like one of √2 deviations in a number.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from engine.stats.drift.columns import Column, Role
from engine.stats.drift.numbers import spread
from engine.stats.drift.profile import SAMPLE, NumericReference, Reference, category_numbers
from engine.stats.drift.report import MIN_PRESENT, Finding, Settings

if TYPE_CHECKING:
    from engine.stats.bootstrap import Floats

CATEGORIES = 20
NAME = "all features"
_CUT = 10.0  # deviations
_MOST_PERMUTATIONS = 9_999

Given = Mapping[tuple[Role, str], Column]


def joint_findings(features: Sequence[Reference], given: Given, settings: Settings) -> list[Finding]:
    """One finding, of the test that `settings.detector` names: mmd or classifier."""
    test = settings.detector
    x, y = encoded_rows(features, given, settings.seed)
    short = min(len(x), len(y))
    bare = Finding(NAME, "features", test, min_effect=settings.large(test), n=len(y), reference_n=len(x))
    if not features or short < MIN_PRESENT:
        reason = f"{short:,} rows, {MIN_PRESENT:,} are needed" if features else "there are no features"
        return [replace(bare, reason=reason)]
    if test == "mmd":
        from engine.stats.drift.mmd import ROWS, mmd

        x, y = x[:: _step(len(x), ROWS)], y[:: _step(len(y), ROWS)]
        found = mmd(x, y, permutations_for(settings), settings.seed)
    else:
        from engine.stats.drift.classifier import classifier_test

        found = classifier_test(x, y, settings.seed)
    measured = replace(bare, statistic=found.statistic, effect=found.effect, p=found.p)
    return [replace(measured, n=len(y), reference_n=len(x))]


def permutations_for(settings: Settings) -> int:
    """As many as are asked for, and enough for a p-value well below alpha: 10 / alpha, up to 9,999."""
    return max(settings.permutations, min(_MOST_PERMUTATIONS, round(10 / settings.alpha)))


def encoded_rows(features: Sequence[Reference], given: Given, seed: int) -> tuple[Floats, Floats]:
    """Rows of the reference and of the batch as numbers without gaps, (n, d) and (m, d); see the module."""
    before, now = sampled(features, given, seed)
    scale = [scaling(reference) for reference in features]
    x, y = (_side_by_side([s(c) for s, c in zip(scale, rows.T, strict=True)]) for rows in (before, now))
    return x, y


def sampled(features: Sequence[Reference], given: Given, seed: int) -> tuple[Any, Any]:
    """Rows of the reference and of the batch, (rows, features) each: numbers, or numbers of categories (-1 missing).

    The batch's are drawn with a seed, as many as a profile holds at most; a column that it lacks is missing.
    """
    import numpy as np

    before = _side_by_side([np.asarray(reference.sample, dtype=np.float64)[:, None] for reference in features])
    rows = next((column.rows for column in given.values()), 0)
    drawn = np.arange(rows)
    if rows > SAMPLE:
        drawn = np.sort(np.random.default_rng(seed).choice(rows, SAMPLE, replace=False))
    now = [_drawn(reference, given.get((reference.role, reference.name)), drawn)[:, None] for reference in features]
    return before, _side_by_side(now)


def scaling(reference: Reference) -> Any:
    """A function from a feature's column, (rows,), to what is compared, (rows, k)."""
    import numpy as np

    if isinstance(reference, NumericReference):
        if not len(reference.points):
            return lambda column: np.isfinite(column).astype(np.float64)[:, None]
        middle, width = float(np.median(reference.points)), spread(reference.points) or 1.0

        def scaled(column: Floats) -> Floats:
            ratio = np.clip((column - middle) / width, -_CUT, _CUT)
            return np.where(np.isnan(ratio), 0.0, ratio)[:, None]

        return scaled
    often = sorted(range(len(reference.names)), key=lambda i: -reference.counts[reference.names[i]])[:CATEGORIES]

    def encoded(column: Floats) -> Floats:
        each = [column == number for number in (*often, -1)]
        return np.column_stack([*each, ~np.logical_or.reduce(each)]).astype(np.float64)

    return encoded


def _side_by_side(columns: Sequence[Any]) -> Any:
    """Side by side; no columns are a matrix without any."""
    import numpy as np

    return np.hstack(columns) if columns else np.zeros((0, 0))


def _drawn(reference: Reference, column: Column | None, drawn: Any) -> Any:
    import numpy as np

    if column is None:
        return np.full(len(drawn), np.nan if isinstance(reference, NumericReference) else -1.0)
    if isinstance(reference, NumericReference):
        values = column.values[drawn] if isinstance(column.values, np.ndarray) else [column.values[i] for i in drawn]
        numbers = Column(column.name, reference.kind, values, column.role).numbers()
        return np.where(np.isfinite(numbers), numbers, np.nan)
    plain = [column.values[row] for row in drawn.tolist()]
    return category_numbers(plain, reference.names).astype(np.float64)


def _step(rows: int, most: int) -> int:
    return -(-rows // most)
