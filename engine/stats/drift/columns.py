"""Columns as drift tests take them: numbers with NaN where missing, or plain values with None where missing.

Dates are compared as seconds, texts by their length in characters, booleans as categories. What is not a finite number
counts as missing, so that it can never poison a p-value.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from engine.stats.bootstrap import Floats

Kind = Literal["numeric", "categorical", "boolean", "date", "text"]
Role = Literal["feature", "prediction"]
KINDS: tuple[Kind, ...] = ("numeric", "categorical", "boolean", "date", "text")
NUMERIC: tuple[Kind, ...] = ("numeric", "date", "text")  # compared as numbers


@dataclass(frozen=True)
class Column:
    """One column of a reference or a batch. values: (rows,); None and NaN are missing, infinite numbers too.

    numeric: numbers; date: datetime64 or ISO 8601 texts; text: strings; categorical, boolean: any plain values.
    `role` tells a feature from what the model said. Raises ValueError for a kind that is not known.
    """

    name: str
    kind: Kind
    values: Any
    role: Role = "feature"

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"{self.name}: no kind {self.kind!r}; there are {', '.join(KINDS)}")

    @property
    def key(self) -> tuple[Role, str]:
        """By what a column of a batch is found in a profile."""
        return self.role, self.name

    @property
    def rows(self) -> int:
        """How many rows there are, with the missing ones."""
        return len(self.values)

    @property
    def is_numeric(self) -> bool:
        """Whether it is compared as numbers."""
        return self.kind in NUMERIC

    def numbers(self) -> Floats:
        """(rows,) floats, NaN where missing. Only for a column that is compared as numbers; values may be shared."""
        import numpy as np

        if self.kind == "numeric":
            return _numbers(self.values)
        if self.kind == "date":
            return _seconds(self.values)
        return np.array([math.nan if is_gap(value) else float(len(str(value))) for value in plain_values(self.values)])


def counted(values: Any) -> tuple[dict[str, int], int]:
    """How often each value occurs, as text, and how many are missing. values: (rows,) of any plain type.

    True and "true", 1, 1.0 and "1" are the same: a file and a JSON request name the same category in both ways.
    """
    found: dict[str, int] = {}
    missing = 0
    for value, count in _tally(values):
        if is_gap(value):
            missing += count
        else:
            name = category(value)
            found[name] = found.get(name, 0) + count
    return found, missing


def category(value: Any) -> str:
    """A category's name."""
    if hasattr(value, "item"):
        value = value.item()
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return value.lower() if value in ("True", "False", "TRUE", "FALSE") else value
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def columns_of_rows(
    features: Iterable[tuple[str, Kind]], rows: Iterable[Mapping[str, Any]], role: Role = "feature"
) -> list[Column]:
    """Columns of rows that are mappings, as a log gives them. A row without a name has no value there."""
    listed = list(rows)
    return [Column(name, kind, [row.get(name) for row in listed], role) for name, kind in features]


def _tally(values: Any) -> Iterable[tuple[Any, int]]:
    import numpy as np

    array = values if isinstance(values, np.ndarray) else None
    if array is not None and array.dtype.kind in "biuf":
        distinct, counts = np.unique(array, return_counts=True)
        return zip(distinct.tolist(), counts.tolist(), strict=True)
    from collections import Counter

    return Counter(plain_values(values)).items()


def plain_values(values: Any) -> list[Any]:
    """Those of an array, a series or a list, as Python's own. (rows,)"""
    plain: list[Any] = values.tolist() if hasattr(values, "tolist") else list(values)
    return plain


def is_gap(value: Any) -> bool:
    """Whether a value counts as missing."""
    return value is None or value != value or (isinstance(value, float) and math.isinf(value))


def _numbers(values: Any) -> Floats:
    import numpy as np

    array = np.asarray(values)
    if array.dtype.kind in "biuf":
        return array.astype(np.float64, copy=False)
    return np.array([_number(value) for value in plain_values(values)], dtype=np.float64)


def _number(value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        return math.nan


def _seconds(values: Any) -> Floats:
    import numpy as np

    array: NDArray[Any] = np.asarray(values)
    if array.dtype.kind != "M":
        array = np.array([_moment(value) for value in plain_values(values)], dtype="datetime64[us]")
    moments = array.astype("datetime64[us]")
    return np.where(np.isnat(moments), np.nan, moments.astype(np.int64) / 1e6)


def _moment(value: Any) -> np.datetime64:
    from datetime import datetime, timezone

    import numpy as np

    try:
        moment = value if isinstance(value, datetime) else datetime.fromisoformat(str(value).replace("Z", "+00:00"))
    except ValueError:
        return np.datetime64("NaT")
    if moment.tzinfo is not None:
        moment = moment.astimezone(timezone.utc).replace(tzinfo=None)
    return np.datetime64(moment, "us")
