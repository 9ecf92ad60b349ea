"""What a table is like, column by column, in one pass and constant memory; and the contract that it suggests.

`propose` asks for what the table shows and leaves room: ranges a tenth wider, half of the rows, half as many more gaps.
So the table passes, and a copy whose types, categories, ranges, gaps, identifiers or columns are broken does not.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine.core.contract import shown
from engine.steps.repeats import HELD, Repeats
from engine.steps.table_files import Parts
from engine.steps.values import Values, token_array

FEW = 50  # different values up to which they are all kept
_FEW_NUMBERS = 5  # whole numbers up to which they are categories
_REPEATED = 5  # rows that a category must have on average
_SHAPE_LONGEST = 40
_LEAST_UNIQUE = 20  # rows from which values that all differ are taken for an identifier


@dataclass
class ColumnProfile:
    """One column. `low`, `high`: numbers, or dates in ISO 8601; `values` is None where there are more than `FEW`.

    `shape`: a regular expression that all values match, if they are all built alike. `unique`: None if not looked for.
    """

    name: str
    typed: bool
    kind: str = ""  # integer, number, boolean, date, text; empty without a value
    rows: int = 0
    missing: int = 0
    low: float | str | None = None
    high: float | str | None = None
    mean: float | None = None
    lengths: tuple[int, int] | None = None
    values: dict[str, int] | None = field(default_factory=dict)
    shape: str | None = None
    unique: bool | None = None

    @property
    def present(self) -> int:
        """Rows with a value."""
        return self.rows - self.missing


@dataclass(frozen=True)
class TableProfile:
    """A table's columns, in its order."""

    rows: int
    columns: tuple[ColumnProfile, ...]


def profile_parts(parts: Parts, missing: Sequence[str] | None, folder: Path) -> TableProfile:
    """Profile a table in batches; `folder` is where files may be put. Raises StepError for what cannot be read."""
    tokens = token_array(missing, typed=parts.typed)
    held = max(1 << 16, HELD // max(1, len(parts.names)))
    profilers = {name: _Profiler(name, parts.typed, Repeats(folder, held)) for name in parts.names}
    rows = 0
    for batch in parts.batches:
        for name, profiler in profilers.items():
            if name in batch.schema.names:
                profiler.take(Values(batch.column(name), tokens, typed=parts.typed), rows)
            else:
                profiler.lack(batch.num_rows)
        rows += batch.num_rows
    return TableProfile(rows, tuple(profiler.profile() for profiler in profilers.values()))


class _Profiler:
    """Of one column."""

    def __init__(self, name: str, typed: bool, repeats: Repeats) -> None:
        self._found = ColumnProfile(name, typed)
        self._repeats: Repeats | None = repeats
        self._kinds = {"integer", "number", "boolean", "date"}
        self._low: Any = None
        self._high: Any = None
        self._total = 0.0
        self._shapes: set[str] | None = set()

    def lack(self, rows: int) -> None:
        """So many rows are without the column."""
        self._found.rows += rows
        self._found.missing += rows

    def take(self, values: Values, before: int) -> None:
        import pyarrow.compute as pc

        found = self._found
        found.rows += len(values.raw)
        found.missing += values.absent_count
        if not values.count:
            return
        self._kinds = {kind for kind in self._kinds if _all_are(kind, values)}
        if self._kinds & {"integer", "number"}:
            self._range(values.numbers)
            self._total += pc.sum(values.numbers).as_py() or 0.0
        elif "date" in self._kinds:
            self._range(values.moments)
        self._count(values)
        lengths = pc.min_max(pc.utf8_length(values.texts)).as_py()
        old = found.lengths or (lengths["min"], lengths["max"])
        found.lengths = (min(old[0], lengths["min"]), max(old[1], lengths["max"]))
        self._shape(values)
        self._look_for_repeats(values, before)

    def profile(self) -> ColumnProfile:
        """What was found."""
        found = self._found
        if not found.present:
            found.values, found.unique = None, None
            return found
        found.kind = next((k for k in ("integer", "number", "boolean", "date") if k in self._kinds), "text")
        if found.kind in ("integer", "number"):
            found.low, found.high, found.mean = self._low, self._high, self._total / found.present
        elif found.kind == "date":
            found.low, found.high = self._low.isoformat(), self._high.isoformat()
        found.shape = next(iter(self._shapes)) if self._shapes and len(self._shapes) == 1 else None
        repeated = None if self._repeats is None else self._repeats.found()
        found.unique = repeated is not None and repeated.repeats == 0
        return found

    def _range(self, numbers: Any) -> None:
        import pyarrow.compute as pc

        ends = pc.min_max(numbers).as_py()
        if ends["min"] is not None:
            self._low = ends["min"] if self._low is None else min(self._low, ends["min"])
            self._high = ends["max"] if self._high is None else max(self._high, ends["max"])

    def _count(self, values: Values) -> None:
        import pyarrow.compute as pc

        kept = self._found.values
        if kept is None:
            return
        counted = pc.value_counts(values.texts.drop_null())
        if len(counted) > FEW:
            self._found.values = None
            return
        for item in counted.to_pylist():
            kept[item["values"]] = kept.get(item["values"], 0) + item["counts"]
        if len(kept) > FEW:
            self._found.values = None

    def _shape(self, values: Values) -> None:
        import pyarrow.compute as pc

        if self._shapes is None or not values.is_text or self._found.lengths is None:
            return
        if self._found.lengths[1] > _SHAPE_LONGEST:
            self._shapes = None
            return
        shapes = values.texts
        for pattern, sign in (("[A-Z]", "A"), ("[a-z]", "a"), ("[0-9]", "9")):
            shapes = pc.replace_substring_regex(shapes, pattern, sign)
        self._shapes |= set(pc.unique(shapes.drop_null())[:2].to_pylist())
        if len(self._shapes) > 1:
            self._shapes = None

    def _look_for_repeats(self, values: Values, before: int) -> None:
        import numpy as np
        import pyarrow.compute as pc

        if self._repeats is None:
            return
        if pc.count_distinct(values.texts, mode="only_valid").as_py() < values.count:
            self._repeats = None
            return
        rows = pc.indices_nonzero(values.present).to_numpy().astype(np.int64) + before
        self._repeats.take([values.texts.drop_null().to_numpy(zero_copy_only=False)], rows)


def _all_are(kind: str, values: Values) -> bool:
    import pyarrow.compute as pc

    if kind == "date":
        held = pc.is_valid(values.moments)
    else:
        held = {"integer": lambda: values.is_integer, "number": lambda: values.is_number}.get(
            kind, lambda: values.is_boolean
        )()
    return int(pc.sum(pc.and_(values.present, held.fill_null(False))).as_py() or 0) == values.count


# ── a contract ───────────────────────────────────────────────────────────────────────────────────────────────


def propose(profile: TableProfile, personal: Sequence[str] = ()) -> dict[str, Any]:
    """A contract as it would be written in a spec. Of `personal` columns no value is named."""
    contract: dict[str, Any] = {"rows": {"min": max(1, _rounded_down(profile.rows / 2))}}
    keys = [[column.name] for column in profile.columns if _identifies(column, profile.rows)]
    if keys:
        contract["keys"] = keys
    columns = {column.name: dict(_rules(column, column.name in personal)) for column in profile.columns}
    return contract | {"columns": columns}


def _identifies(column: ColumnProfile, rows: int) -> bool:
    return bool(column.unique) and not column.missing and rows >= _LEAST_UNIQUE and column.kind in ("integer", "text")


def _rules(column: ColumnProfile, personal: bool) -> Iterator[tuple[str, Any]]:
    if not column.present:
        yield "missing", {"max": "100%"}
        return
    among = None if personal else _categories(column)
    if column.kind != "text" or column.typed:
        yield "type", column.kind
    if among is not None:
        yield "in", among
    elif column.kind in ("integer", "number") and not personal:
        yield "between", _widened(column)
    elif column.kind == "date" and not personal:
        yield "between", [str(column.low)[:10], None]
    elif column.kind == "text":
        if column.shape is not None and not personal:
            yield "matches", _pattern(column.shape)
        elif column.lengths is not None:
            low, high = column.lengths
            yield "length", [max(1, low // 2), high * 2]
    yield "missing", {"max": _share(column)}


def _categories(column: ColumnProfile) -> list[Any] | None:
    values = column.values
    if values is None or column.kind in ("boolean", "date", "number"):
        return None
    if column.present < _REPEATED * len(values):
        return None
    if column.kind == "integer":
        return sorted({int(float(text)) for text in values}) if len(values) <= _FEW_NUMBERS else None
    return sorted(values)


def _widened(column: ColumnProfile) -> list[int | float]:
    """A tenth wider on both sides, but never past zero."""
    low, high = float(column.low or 0.0), float(column.high or 0.0)
    room = (high - low) / 10 or abs(high) / 10 or 1.0
    bottom = 0.0 if low >= 0 and low - room < 0 else low - room
    top = 0.0 if high <= 0 and high + room > 0 else high + room
    if column.kind == "integer":
        return [math.floor(bottom), math.ceil(top)]
    digits = max(0, 2 - math.floor(math.log10(room)))
    if digits > 15:
        return [bottom, top]
    return [_plain(min(low, round(bottom, digits))), _plain(max(high, round(top, digits)))]


def _plain(number: float) -> int | float:
    return int(number) if number.is_integer() and abs(number) < 1e15 else number


def _rounded_down(rows: float) -> int:
    """To two significant digits."""
    if rows < 100:
        return int(rows)
    unit = 10 ** (int(math.log10(rows)) - 1)
    return int(rows // unit * unit)


def _share(column: ColumnProfile) -> str:
    """Half as much again as is missing now, rounded up to a tenth of a percent."""
    if not column.missing:
        return "0%"
    permille = min(1000, math.ceil(column.missing / column.rows * 1500))
    return f"{permille / 10:g}%"


def _pattern(shape: str) -> str:
    """`9999-AA` → `^[0-9]{4}-[A-Z]{2}$`."""
    import re

    classes = {"A": "[A-Z]", "a": "[a-z]", "9": "[0-9]"}
    parts = []
    for run in re.finditer(r"(.)\1*", shape, re.DOTALL):
        sign, length = classes.get(run[1], re.escape(run[1])), len(run[0])
        parts.append(sign if length == 1 else f"{sign}{{{length}}}")
    return f"^{''.join(parts)}$"


# ── two tables ───────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Change:
    """Something that differs: of a column, or of the table if `column` is empty."""

    column: str
    what: str
    before: Any
    after: Any

    def __str__(self) -> str:
        place = f"{self.column}: " if self.column else ""
        return f"{place}{self.what} {_told(self.before)} → {_told(self.after)}"


def changes(before: TableProfile, after: TableProfile, personal: Sequence[str] = ()) -> list[Change]:
    """What differs between two profiles, in the order of the columns."""
    old = {column.name: column for column in before.columns}
    new = {column.name: column for column in after.columns}
    found = []
    if before.rows != after.rows:
        found.append(Change("", "rows", before.rows, after.rows))
    found += [Change(name, "column", "there", "gone") for name in old if name not in new]
    found += [Change(name, "column", "not there", "new") for name in new if name not in old]
    for name, column in new.items():
        if name in old:
            found += _column_changes(old[name], column, name in personal)
    return found


def _column_changes(old: ColumnProfile, new: ColumnProfile, personal: bool) -> Iterator[Change]:
    name = new.name
    if old.kind != new.kind:
        yield Change(name, "type", old.kind or "no values", new.kind or "no values")
    shares = [round(each.missing / each.rows, 6) if each.rows else 0.0 for each in (old, new)]
    if shares[0] != shares[1]:
        yield Change(name, "missing", *(f"{share:.4g}" for share in shares))
    if personal:
        return
    if old.kind == new.kind or {old.kind, new.kind} <= {"integer", "number"}:
        for what in ("low", "high", "mean"):
            values = [getattr(each, what) for each in (old, new)]
            if values[0] != values[1]:
                yield Change(name, {"low": "smallest", "high": "largest", "mean": "mean"}[what], *values)
    if old.kind in ("text", "boolean") and old.values is not None and new.values is not None:
        for value in sorted({*old.values, *new.values}):
            counts = old.values.get(value, 0), new.values.get(value, 0)
            if counts[0] != counts[1]:
                yield Change(name, f"rows with {shown(value)}", *counts)


def _told(value: Any) -> str:
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def row_digests(parts: Parts, missing: Sequence[str] | None) -> Mapping[tuple[int, int], int]:
    """How often each row is there, by 128 bits of its values in the order of the columns' names."""
    from collections import Counter

    import pyarrow.compute as pc

    from engine.steps.repeats import hashed

    tokens = token_array(missing, typed=parts.typed)
    found: Counter[tuple[int, int]] = Counter()
    for batch in parts.batches:
        columns = []
        for name in sorted(parts.names):
            if name in batch.schema.names:
                texts = Values(batch.column(name), tokens, typed=parts.typed).texts
                columns.append(pc.fill_null(texts, "\x00").to_numpy(zero_copy_only=False))
        if batch.num_rows and columns:
            high, low = hashed(columns)
            found.update(zip(high.tolist(), low.tolist(), strict=True))
    return found
