"""Holds a table against its contract, batch by batch: memory does not grow with the rows, time in proportion to them.

`Checker.take` looks at a batch, `report` says what was found, everything at once. What a resolved `data.expect` asks
is split into parts, each of which looks at what concerns it. Nothing is read or written but files for `repeats`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Protocol

from engine.core.contract import (
    MOST_EXAMPLES,
    ContractReport,
    Example,
    Finding,
    listed,
    of_figure,
    of_values,
    range_text,
)
from engine.core.verdict import Verdict
from engine.spec.units import format_duration
from engine.steps.contract_rows import RowCondition
from engine.steps.repeats import Repeats
from engine.steps.table_files import Parts, stream_parts
from engine.steps.values import Values, token_array

Row = Mapping[str, Values]


@dataclass(frozen=True)
class Setting:
    """What checking needs besides the contract. `now` is UTC; `live`: these are rows that a model was asked about, so
    that nothing is asked of their number, their age, their repeats and of columns that are no features."""

    now: datetime
    folder: Path
    personal: frozenset[str] = frozenset()
    timestamp: str | None = None
    live: bool = False


class Part(Protocol):
    """One check, or several of one column."""

    def take(self, batch: Row, rows: int, before: int, /) -> None:
        """Look at a batch of `rows` rows, `before` rows having come before."""

    def findings(self, rows: int) -> Iterator[Finding]:
        """What was found in all, `rows` rows."""


def check_file(
    path: Path,
    contract: Mapping[str, Any],
    setting: Setting,
    format: str | None,
    missing: Sequence[str] | None,
    suite: Path | None = None,
) -> ContractReport:
    """Check the table at `path`, and run the suite that the contract names. Raises StepError."""
    report = check_parts(stream_parts(path, format), contract, setting, missing)
    if suite is None or not report.rows:
        return report
    from engine.steps.suites import check_suite

    found = check_suite(path, suite, format, missing, setting.personal)
    return ContractReport(report.rows, (*report.findings, *found))


def check_parts(
    parts: Parts, contract: Mapping[str, Any], setting: Setting, missing: Sequence[str] | None
) -> ContractReport:
    """Check a table in batches."""
    checker = Checker(contract, parts.names, setting)
    tokens = token_array(missing, typed=parts.typed)
    for batch in parts.batches:
        checker.take(
            {
                name: Values(batch.column(name), tokens, typed=parts.typed, numeric=name in checker.numeric)
                for name in batch.schema.names
                if name in checker.reads
            },
            batch.num_rows,
        )
    return checker.report()


class Checker:
    """Of one table, with columns `names`."""

    def __init__(self, contract: Mapping[str, Any], names: Sequence[str], setting: Setting) -> None:
        self._rows = 0
        self._missing = list(_columns_there(contract, names, setting))
        self._parts = list(_parts(contract, set(names), setting))
        self._contract = contract
        self._setting = setting
        columns = contract.get("columns") or {}
        self.numeric = frozenset(name for name, rules in columns.items() if _is_numeric(rules))
        self.reads = frozenset(name for part in self._parts for name in getattr(part, "reads", ()))

    def take(self, batch: Row, rows: int) -> None:
        """Look at a batch. A column that it lacks has no value in it."""
        for part in self._parts:
            part.take(batch, rows, self._rows)
        self._rows += rows

    def report(self) -> ContractReport:
        """What was found."""
        counted = [] if self._setting.live else [_count_of_rows(self._contract.get("rows") or {}, self._rows)]
        found = [finding for part in self._parts for finding in part.findings(self._rows)]
        return ContractReport(self._rows, (*counted, *self._missing, *found))


def _is_numeric(rules: Mapping[str, Any]) -> bool:
    ends = rules.get("between") or rules.get("mean") or ()
    return rules.get("type") in ("integer", "number") or any(isinstance(end, int | float) for end in ends)


def _count_of_rows(limits: Mapping[str, Any], rows: int) -> Finding:
    if not rows:
        return Finding("rows", "", Verdict.FAIL, "the data has no rows", 1, 0)
    return of_figure("rows", "", rows, limits.get("min"), limits.get("max"), "the number of rows", rows)


def _columns_there(contract: Mapping[str, Any], names: Sequence[str], setting: Setting) -> Iterator[Finding]:
    columns = contract.get("columns") or {}
    asked = {name: "exists" for name, rules in columns.items() if rules.get("required", True)}
    for key in contract.get("keys") or ():
        asked.update(dict.fromkeys(key, "exists"))
    for check in contract.get("checks") or ():
        asked.update(dict.fromkeys(RowCondition.columns_of(check["expression"]), "exists"))
    freshness = contract.get("freshness")
    if freshness and not setting.live:
        named = freshness.get("column") or setting.timestamp
        if named is None:
            text = "freshness has no column: the spec names none, and no data.timestamp"
            yield Finding("freshness", "", Verdict.ERROR, text)
        else:
            asked[named] = "exists"
    for name in asked:
        if name not in names and not setting.live:
            near = get_close_matches(name, list(names), n=1)
            meant = f'; is "{near[0]}" meant?' if near else ""
            yield Finding("exists", name, Verdict.FAIL, f"{name}: there is no such column{meant}", 1, 1)
    if contract.get("other_columns") == "forbid" and not setting.live:
        others = [name for name in names if name not in columns]
        if others:
            text = f"columns that the contract does not name: {listed(others)}"
            yield Finding("other_columns", "", Verdict.FAIL, text, len(others), len(names))
        else:
            yield Finding("other_columns", "", Verdict.PASS, "every column is named", 0, len(names))


def _parts(contract: Mapping[str, Any], names: set[str], setting: Setting) -> Iterator[Part]:
    for name, rules in (contract.get("columns") or {}).items():
        if name in names:
            yield _Column(name, rules, setting)
    if not setting.live:
        for key in contract.get("keys") or ():
            if set(key) <= names:
                yield _Key(key, setting)
    for check in contract.get("checks") or ():
        if set(RowCondition.columns_of(check["expression"])) <= names:
            declared = {name: rules.get("type") for name, rules in (contract.get("columns") or {}).items()}
            yield RowCondition(check, declared, setting.personal)
    freshness = contract.get("freshness")
    if freshness and not setting.live:
        column = freshness.get("column") or setting.timestamp
        if column in names:
            yield _Newest(column, freshness["max_age"], setting.now)


# ── a column ─────────────────────────────────────────────────────────────────────────────────────────────────


class _Rule:
    """A condition on each value: how many break it, and the first of them."""

    def __init__(self, check: str, what: str) -> None:
        self.check = check
        self.what = what
        self.violations = 0
        self.examples: list[Example] = []

    def holds(self, values: Values) -> Any:
        """A boolean array (n,); null counts as false."""
        raise NotImplementedError


class _Type(_Rule):
    def __init__(self, name: str) -> None:
        articles = {"integer": "a whole number", "number": "a number", "text": "text", "boolean": "true or false"}
        super().__init__("type", f"not {articles.get(name, 'a ' + name)}")
        self._name = name

    def holds(self, values: Values) -> Any:
        import pyarrow.compute as pc

        match self._name:
            case "integer":
                return values.is_integer
            case "number":
                return values.is_number
            case "boolean":
                return values.is_boolean
            case "date":
                return pc.is_valid(values.moments)
            case _:
                return values.present if values.is_text else pc.invert(pc.is_valid(values.raw))


class _Between(_Rule):
    def __init__(self, low: Any, high: Any) -> None:
        super().__init__("between", f"not {range_text(low, high)}")
        self._low, self._high = map(_end, (low, high))
        self._dates = isinstance(low, str) or isinstance(high, str)

    def holds(self, values: Values) -> Any:
        import pyarrow as pa
        import pyarrow.compute as pc

        kind = pa.timestamp("us") if self._dates else pa.float64()
        found = values.moments if self._dates else values.numbers
        held = pc.is_valid(found)
        if self._low is not None:
            held = pc.and_kleene(held, pc.greater_equal(found, pa.scalar(self._low, kind)))
        if self._high is not None:
            held = pc.and_kleene(held, pc.less_equal(found, pa.scalar(self._high, kind)))
        return held


def _end(end: Any) -> datetime | float | None:
    if isinstance(end, str):
        return datetime.fromisoformat(end)
    return None if end is None else float(end)


class _Among(_Rule):
    def __init__(self, check: str, allowed: Sequence[Any]) -> None:
        among = check == "in"
        super().__init__(check, f"none of {listed(allowed)}" if among else f"one of {listed(allowed)}")
        self._among = among
        self._texts = [_written(value) for value in allowed]
        self._numbers = [float(v) for v in allowed if isinstance(v, int | float) and not isinstance(v, bool)]

    def holds(self, values: Values) -> Any:
        import pyarrow as pa
        import pyarrow.compute as pc

        texts = values.texts
        found = pc.is_in(texts, value_set=pa.array(self._texts, texts.type))
        if self._numbers:  # 1 and 1.0 are the same, however they are written
            found = pc.or_(found, pc.is_in(values.numbers, value_set=pa.array(self._numbers, pa.float64())))
        return found if self._among else pc.invert(found)


class _Matches(_Rule):
    def __init__(self, pattern: str) -> None:
        super().__init__("matches", f"without a match of {pattern}")
        self._pattern = pattern

    def holds(self, values: Values) -> Any:
        import pyarrow.compute as pc

        return pc.match_substring_regex(values.texts, self._pattern)


class _Length(_Rule):
    def __init__(self, low: Any, high: Any) -> None:
        super().__init__("length", f"not {range_text(low, high)} characters long")
        self._low, self._high = low, high

    def holds(self, values: Values) -> Any:
        import pyarrow.compute as pc

        lengths = pc.utf8_length(values.texts)
        held = pc.is_valid(lengths)
        if self._low is not None:
            held = pc.and_kleene(held, pc.greater_equal(lengths, int(self._low)))
        if self._high is not None:
            held = pc.and_kleene(held, pc.less_equal(lengths, int(self._high)))
        return held


def _written(value: Any) -> str:
    return ("true" if value else "false") if isinstance(value, bool) else str(value)


class _Column:
    """All checks of one column."""

    def __init__(self, name: str, rules: Mapping[str, Any], setting: Setting) -> None:
        self.reads = (name,)
        self._name = name
        self._rules = rules
        self._masked = name in setting.personal
        self._each = list(_rules(rules))
        self._count = 0
        self._absent = 0
        self._blank: list[Example] = []
        self._total = 0.0
        self._numbers = 0
        counts = (rules.get("unique") or rules.get("distinct")) and not setting.live
        self._repeats = Repeats(setting.folder) if counts else None

    def take(self, batch: Row, rows: int, before: int) -> None:
        """See `Part`."""
        import pyarrow as pa
        import pyarrow.compute as pc

        values = batch.get(self._name)
        if values is None:  # of JSON lines without it
            values = Values(pa.nulls(rows, pa.string()), pa.array([], pa.string()), typed=True)
        self._count += values.count
        self._absent += values.absent_count
        if values.absent_count and len(self._blank) < MOST_EXAMPLES and self._rules.get("missing"):
            more = MOST_EXAMPLES - len(self._blank)
            self._blank += values.examples(values.missing, more, before, masked=False)
        if values.count:
            for rule in self._each:
                _look(rule, values, before, masked=self._masked)
            if self._rules.get("mean"):
                self._total += pc.sum(values.numbers).as_py() or 0.0
                self._numbers += pc.count(values.numbers).as_py()
            if self._repeats is not None:
                _take_repeats(self._repeats, [values], values.present, before)

    def findings(self, rows: int) -> Iterator[Finding]:
        """See `Part`."""
        name, count = self._name, self._count
        lacking = (self._rules.get("missing") or {}).get("max")
        may_lack = lacking == 1.0 and rows > 0
        for rule in self._each:
            yield of_values(
                rule.check,
                name,
                rule.violations,
                count,
                rule.what,
                self._rules.get("tolerance", 0.0),
                rule.examples,
                all_may_lack=may_lack,
            )
        repeated = None if self._repeats is None else self._repeats.found()
        if repeated is not None and self._rules.get("unique"):
            yield of_values(
                "unique",
                name,
                repeated.repeats,
                count,
                _repeats_text(repeated.rows, repeated.repeats),
                all_may_lack=may_lack,
            )
        if repeated is not None and self._rules.get("distinct"):
            limits = self._rules["distinct"]
            low, high = limits.get("min"), limits.get("max")
            yield of_figure("distinct", name, repeated.distinct, low, high, "the number of different values", count)
        if self._rules.get("mean"):
            mean = self._total / self._numbers if self._numbers else None
            usable = mean if mean is not None and math.isfinite(mean) else None
            low, high = self._rules["mean"]
            yield of_figure("mean", name, usable, low, high, "the mean", self._numbers)
        if lacking is not None:
            yield self._missing(rows, lacking)

    def _missing(self, rows: int, lacking: float) -> Finding:
        found = of_values("missing", self._name, self._absent, rows, "missing", lacking, self._blank, "row")
        if found.violations or not rows:
            return found
        text = f"{self._name}: no value is missing"
        return Finding("missing", self._name, found.verdict, text, 0, rows)


def _rules(rules: Mapping[str, Any]) -> Iterator[_Rule]:
    if rules.get("type"):
        yield _Type(rules["type"])
    if rules.get("between"):
        yield _Between(*rules["between"])
    for check in ("in", "not_in"):
        if rules.get(check):
            yield _Among(check, rules[check])
    if rules.get("matches"):
        yield _Matches(rules["matches"])
    if rules.get("length"):
        yield _Length(*rules["length"])


def _look(rule: _Rule, values: Values, before: int, *, masked: bool) -> None:
    import pyarrow.compute as pc

    held = rule.holds(values)
    if held.null_count:
        held = held.fill_null(False)
    if not values.absent_count and pc.all(held).as_py():
        return
    broken = pc.and_not(values.present, held)
    count = pc.sum(broken).as_py() or 0
    if count and len(rule.examples) < MOST_EXAMPLES:
        rule.examples += values.examples(broken, MOST_EXAMPLES - len(rule.examples), before, masked=masked)
    rule.violations += count


# ── several rows, several columns ────────────────────────────────────────────────────────────────────────────


def _take_repeats(repeats: Repeats, columns: Sequence[Values], present: Any, before: int) -> None:
    import numpy as np
    import pyarrow.compute as pc

    rows = pc.indices_nonzero(present).to_numpy()
    texts = [values.texts for values in columns]
    if len(rows) < len(present):
        texts = [each.filter(present) for each in texts]
    repeats.take([each.to_numpy(zero_copy_only=False) for each in texts], rows.astype(np.int64) + before)


def _repeats_text(rows: Iterable[tuple[int, int]], count: int) -> str:
    pairs = list(rows)
    shown = "; ".join(f"row {row + 1:,} that of row {first + 1:,}" for row, first in pairs)
    return f"repeating an earlier one ({shown}{'; …' if count > len(pairs) else ''})"


class _Key:
    """Columns that together tell rows apart."""

    def __init__(self, columns: Sequence[str], setting: Setting) -> None:
        self.reads = tuple(columns)
        self._repeats = Repeats(setting.folder)
        self._lacking = 0
        self._lacks: list[Example] = []
        self._name = " + ".join(columns)

    def take(self, batch: Row, rows: int, before: int) -> None:
        """See `Part`."""
        import pyarrow as pa
        import pyarrow.compute as pc

        if any(name not in batch for name in self.reads):
            self._lacking += rows
            return
        columns = [batch[name] for name in self.reads]
        present = columns[0].present
        for each in columns[1:]:
            present = pc.and_(present, each.present)
        whole = pc.sum(present).as_py() or 0
        self._lacking += rows - whole
        if whole < rows and len(self._lacks) < MOST_EXAMPLES:
            gaps = pc.indices_nonzero(pc.invert(present))[: MOST_EXAMPLES - len(self._lacks)]
            self._lacks += [Example(before + row + 1) for row in gaps.to_pylist()]
        if whole:
            _take_repeats(self._repeats, columns, pa.array(present), before)

    def findings(self, rows: int) -> Iterator[Finding]:
        """See `Part`."""
        found = self._repeats.found()
        what = _repeats_text(found.rows, found.repeats)
        yield of_values("key", self._name, found.repeats, found.looked, what, unit="row")
        if self._lacking:
            what = "without a part of the key"
            yield of_values("key_missing", self._name, self._lacking, rows, what, examples=self._lacks, unit="row")


class _Newest:
    """How old the newest row is."""

    def __init__(self, column: str, most: float, now: datetime) -> None:
        self.reads = (column,)
        self._column = column
        self._most = most
        self._now = now
        self._newest: datetime | None = None

    def take(self, batch: Row, _rows: int, _before: int) -> None:
        """See `Part`."""
        import pyarrow.compute as pc

        if self._column not in batch:
            return
        found = pc.max(batch[self._column].moments).as_py()
        if found is not None and (self._newest is None or found > self._newest):
            self._newest = found

    def findings(self, rows: int) -> Iterator[Finding]:
        """See `Part`."""
        if self._newest is None:
            text = f"{self._column}: no row says when it is from"
            yield Finding("freshness", self._column, Verdict.INCONCLUSIVE, text, 0, rows)
            return
        age = (self._now - self._newest.replace(tzinfo=timezone.utc)).total_seconds()
        text = f"{self._column}: the newest row is of {self._newest.isoformat(' ')}, {_age(age)}"
        if age <= self._most:
            yield Finding("freshness", self._column, Verdict.PASS, text, 0, rows)
        else:
            text += f", at most {format_duration(self._most)} expected"
            yield Finding("freshness", self._column, Verdict.FAIL, text, 1, rows)


def _age(seconds: float) -> str:
    whole = round(abs(seconds))
    coarse = whole // 86400 * 86400 or whole // 3600 * 3600 or whole // 60 * 60 or whole
    if not coarse:
        return "just now"
    return f"{format_duration(coarse)} {'ago' if seconds > 0 else 'ahead of now'}"
