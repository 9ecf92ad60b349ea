"""The data contract, `data.expect`: what a table must be like before anything is learned from it."""

from __future__ import annotations

import math
import re
from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import Field, PlainValidator, WithJsonSchema, model_validator

from engine.spec.expressions import ExpressionError, check_condition
from engine.spec.fields import Block, Column, Fraction, ProjectPath, Role, Seconds, empty_list, mistake, show

DATE = r"\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2})?)?"
_ENDS = "Write the smallest and the largest, like [18, 100], [2020-01-01, 2030-01-01], or [0, null] with one end."


def _between(value: Any) -> list[int | float | str | None]:
    if not isinstance(value, list) or len(value) != 2:
        raise mistake(f"{show(value)} is not a range", _ENDS)
    low, high = value
    for end in value:
        if isinstance(end, bool) or not (end is None or isinstance(end, int | float) or _is_date(end)):
            raise mistake(f"{show(end)} is neither a number nor a date", _ENDS)
        if isinstance(end, float) and not math.isfinite(end):
            raise mistake(f"{show(end)} is not a finite number", _ENDS)
    if low is None and high is None:
        raise mistake("a range without ends allows everything", _ENDS)
    if low is not None and high is not None:
        if isinstance(low, str) != isinstance(high, str):
            raise mistake("a range goes from a number to a number, or from a date to a date", _ENDS)
        if _place(low) > _place(high):
            raise mistake(f"{show(low)} is above {show(high)}", "Exchange them.")
    return [low, high]


def _is_date(value: Any) -> bool:
    if not isinstance(value, str) or not re.fullmatch(DATE, value):
        return False
    try:
        datetime.fromisoformat(value)
    except ValueError:
        return False
    return True


def _place(end: Any) -> Any:
    return datetime.fromisoformat(end) if isinstance(end, str) else end


def _numbers(value: Any) -> list[int | float | None]:
    found = _between(value)
    if any(isinstance(end, str) for end in found):
        raise mistake("a date is no number", "Write two numbers, like [18, 100].")
    return found  # type: ignore[return-value]


def _lengths(value: Any) -> list[int | float | None]:
    found = _numbers(value)
    if any(end is not None and (end < 0 or end != int(end)) for end in found):
        raise mistake("a length is a whole number of characters", "Write it like [1, 20].")
    return found


# What RE2 does not have: it matches in linear time, whatever the pattern and the text.
_NO_RE2 = {
    "ASSERT": "a look-ahead or look-behind",
    "ASSERT_NOT": "a look-ahead or look-behind",
    "GROUPREF": "a back-reference",
    "GROUPREF_EXISTS": "a back-reference",
    "ATOMIC_GROUP": "an atomic group",
    "POSSESSIVE_REPEAT": "a possessive quantifier",
}
_LONGEST_PATTERN = 1_000


def _pattern(value: Any) -> str:
    remedy = 'Write it like "^[A-Z]{3}-[0-9]+$", with ^ and $ for the whole value.'
    if not isinstance(value, str) or not value:
        raise mistake(f"{show(value)} is not a regular expression", remedy)
    if len(value) > _LONGEST_PATTERN:
        raise mistake(f"a regular expression of {len(value):,} characters", f"Write at most {_LONGEST_PATTERN:,}.")
    try:
        re.compile(value)
        parsed = _parser().parse(value)
    except (re.error, RecursionError, OverflowError) as error:
        raise mistake(f"{show(value)} is not a regular expression: {error}", remedy) from None
    for name in _operators(parsed):
        if name in _NO_RE2:
            raise mistake(
                f"the regular expression has {_NO_RE2[name]}, which RE2 does not have", "Write it in another way."
            )
    return value


def _parser() -> Any:
    try:
        from re import _parser  # type: ignore[attr-defined]
    except ImportError:  # Python 3.10
        import sre_parse as _parser
    return _parser


def _operators(parsed: Any) -> set[str]:
    """The names of the operators in a parsed pattern, of nested ones too."""
    found: set[str] = set()
    waiting = [parsed]
    while waiting:
        item = waiting.pop()
        if isinstance(item, tuple | list) or hasattr(item, "data"):
            items = item.data if hasattr(item, "data") else item
            waiting += list(items)
        elif hasattr(item, "name"):
            found.add(item.name)
    return found


def _condition(value: Any) -> str:
    if not isinstance(value, str):
        raise mistake("expression is not text", "Write it like total >= monthly, in quotes.")
    try:
        check_condition(value)
    except ExpressionError as error:
        raise mistake(f"expression {error}", error.remedy) from None
    return value


_END = {"anyOf": [{"type": "number"}, {"type": "string", "pattern": f"^{DATE}$"}, {"type": "null"}]}
_PAIR = {"type": "array", "items": _END, "minItems": 2, "maxItems": 2, "examples": [[18, 100], ["2020-01-01", None]]}
_NUMERIC_PAIR = {
    "type": "array",
    "items": {"anyOf": [{"type": "number"}, {"type": "null"}]},
    "minItems": 2,
    "maxItems": 2,
    "examples": [[0, 100]],
}
Between = Annotated[list[Any], PlainValidator(_between), WithJsonSchema(_PAIR)]
Numbers = Annotated[list[Any], PlainValidator(_numbers), WithJsonSchema(_NUMERIC_PAIR)]
Lengths = Annotated[list[Any], PlainValidator(_lengths), WithJsonSchema(_NUMERIC_PAIR)]
Pattern = Annotated[str, PlainValidator(_pattern), WithJsonSchema({"type": "string", "minLength": 1})]
Condition = Annotated[
    str,
    PlainValidator(_condition),
    WithJsonSchema({"type": "string", "minLength": 1, "examples": ["total >= monthly"]}),
]


class Counts(Block):
    """How many there must be."""

    min: Annotated[int, Field(ge=0)] | None = None
    """At least so many."""
    max: Annotated[int, Field(ge=0)] | None = None
    """At most so many."""

    @model_validator(mode="after")
    def _makes_sense(self) -> Counts:
        if self.min is None and self.max is None:
            raise mistake("neither min nor max is given, so it asks for nothing", "Give one, like min: 1000.")
        if self.min is not None and self.max is not None and self.min > self.max:
            raise mistake(f"min {self.min:,} is above max {self.max:,}", "Exchange them.")
        return self


class Missing(Block):
    """How much may be missing."""

    max: Fraction
    """The largest acceptable share of missing values."""


class ColumnContract(Block):
    """What a column must be like. Only missing looks at missing values; a check that found no value to look at does not
    pass."""

    type: Literal["integer", "number", "text", "boolean", "date"] | None = None
    """The type of its values. A whole number may be written 3.0; one with leading zeros is a code."""
    between: Between | None = None
    """The smallest and the largest acceptable value: two numbers or two dates, null for no limit."""
    in_: Annotated[list[str | int | float | bool], Field(min_length=1)] | None = Field(default=None, alias="in")
    """The only acceptable values."""
    not_in: Annotated[list[str | int | float | bool], Field(min_length=1)] | None = None
    """Values that must not occur."""
    matches: Pattern | None = None
    """A regular expression (RE2) that is found in every value; ^ and $ make it about the whole value."""
    length: Lengths | None = None
    """The fewest and the most characters of a value, null for no limit."""
    unique: bool = False
    """Whether no value may occur twice."""
    distinct: Counts | None = None
    """How many different values there must be."""
    mean: Numbers | None = None
    """Between which limits the mean must lie, null for no limit."""
    missing: Missing | None = None
    """How much of it may be missing; any share if left out."""
    tolerance: Fraction = 0.0
    """The share of the values that may violate type, between, in, not_in, matches or length."""
    required: bool = True
    """Whether the table must have the column."""

    @model_validator(mode="after")
    def _asks_something(self) -> ColumnContract:
        asked = {name for name in self.model_fields_set if getattr(self, name) is not None} - {"tolerance", "required"}
        if not asked or (asked == {"unique"} and not self.unique):
            raise mistake("nothing is expected of the column", "Say what it must be like, such as type or missing.")
        per_value = {"type", "between", "in_", "not_in", "matches", "length"}
        if "tolerance" in self.model_fields_set and not asked & per_value:
            raise mistake("tolerance has no effect here", "It is for type, between, in, not_in, matches and length.")
        dated = any(isinstance(end, str) for end in self.between or ())
        if (
            self.between is not None
            and self.type not in (None, "date" if dated else "number")
            and not (self.type == "integer" and not dated)
        ):
            limits = "dates" if dated else "numbers"
            raise mistake(f"between has {limits}, but type is {self.type}", "Make the two the same.")
        return self


class RowCheck(Block):
    """A condition that every row must fulfil."""

    name: Role
    """What it is called."""
    expression: Condition
    """A condition over the row's columns: + - * / // %, comparisons, in, and, or, not, abs; column("odd name") for a
    column whose name is no word. Rows that lack a value are not looked at."""
    tolerance: Fraction = 0.0
    """The share of the rows that may violate it."""


class Freshness(Block):
    """How old the newest row may be."""

    column: Column | None = None
    """The column that says when; data.timestamp if left out."""
    max_age: Seconds
    """The longest time between the newest row and the moment of the check. Times without a zone are UTC."""


class Contract(Block):
    """The data contract; violating it stops the run before training, with exit code 3."""

    suite: ProjectPath | None = None
    """A suite of Great Expectations (JSON), run as it is besides the rest; Great Expectations must be installed."""
    rows: Counts | None = None
    """How many rows there must be; at least one in any case."""
    columns: dict[Column, ColumnContract] = Field(default_factory=dict)
    """What each column must be like."""
    other_columns: Literal["allow", "forbid"] = "allow"
    """Whether the table may have columns that columns does not name."""
    keys: list[Annotated[list[Column], Field(min_length=1)]] = Field(default_factory=empty_list)
    """Groups of columns: no two rows agree in all columns of one, and none of them is missing."""
    checks: list[RowCheck] = Field(default_factory=empty_list)
    """Conditions over several columns of a row."""
    freshness: Freshness | None = None
    """How old the newest row may be."""

    @model_validator(mode="after")
    def _asks_something(self) -> Contract:
        asked = [self.suite, self.rows, self.columns, self.keys, self.checks, self.freshness]
        if not any(each is not None and each != {} and each != [] for each in asked):
            raise mistake("the contract expects nothing", "Add rows or columns, or remove expect.")
        if self.other_columns == "forbid" and not self.columns:
            raise mistake("other_columns: forbid without columns allows no column at all", "Name them in columns.")
        names = [check.name for check in self.checks]
        for name in names:
            if names.count(name) > 1:
                raise mistake(f"checks has {name} twice", "Name them apart.")
        return self
