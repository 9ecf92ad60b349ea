"""Columns and their kinds: types decided once, over whole columns, and honestly.

- numeric: every value is a decimal number. Not so whole numbers with leading zeros or over 15 digits;
- boolean: only `true`/`false` in any case. `yes`/`no` and `0`/`1` stay what they are;
- date: ISO 8601, `2024/01/31` or `31.01.2024`. `01/02/2024` may be two days, so that it stays a category;
- text: many different values of several words; everything else is categorical.

Infinite numbers are missing. A series is int64, float64, bool, datetime64[us] (UTC, naive) or objects (str or bool,
with NaN where missing), the same with pandas 2 and 3. Raises StepError.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

from engine.errors import StepError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

Kind = Literal["numeric", "categorical", "boolean", "date", "text"]

TEXT_DISTINCT = 0.5  # fraction of the values that must differ in a text column
TEXT_WORDS = 3.0  # words that its values must have on average

NUMBER = r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$"
_INTEGER = r"^[+-]?[0-9]+$"
CODE = r"^[+-]?0[0-9]"
_INFINITE = r"^[+-]?([iI]nf|INF|[iI]nfinity|INFINITY)$"
DATES = (
    (r"^[0-9]{4}-[0-9]{2}-[0-9]{2}([T ][0-9]{2}:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,9})?)?(Z|[+-][0-9]{2}:?[0-9]{2})?)?$", ""),
    (r"^[0-9]{4}/[0-9]{2}/[0-9]{2}$", "%Y/%m/%d"),
    (r"^[0-9]{2}\.[0-9]{2}\.[0-9]{4}$", "%d.%m.%Y"),
)
_LONGEST = 1e15  # whole numbers from here on are codes, and a float could not tell all of them apart


def column_of(name: str, values: Any, tokens: Sequence[str], *, typed: bool) -> tuple[pd.Series[Any], Kind]:
    """One column of raw values as a series, and its kind."""
    import pyarrow as pa

    if pa.types.is_dictionary(values.type):
        values = values.cast(values.type.value_type)
    if not is_string(values.type):
        series = typed_column(name, values)
        return series, kind_of(series)
    return _parsed(values.cast(pa.string()), tokens, typed=typed)


def typed_column(name: str, values: Any) -> pd.Series[Any]:
    """A column that has a type already, as one of the few that this module promises."""
    import numpy as np
    import pandas as pd
    import pyarrow as pa

    kind = values.type
    if pa.types.is_dictionary(kind):
        values, kind = values.cast(kind.value_type), kind.value_type
    gaps = values.null_count > 0
    column: np.ndarray[Any, Any]
    if pa.types.is_boolean(kind) and not gaps:
        column = values.to_numpy()
    elif pa.types.is_boolean(kind) or is_string(kind):
        column = np.array(values.to_pylist(), dtype=object)
        column[values.is_null().to_numpy()] = np.nan
    elif pa.types.is_null(kind):
        column = np.full(len(values), np.nan)
    elif pa.types.is_integer(kind) and not gaps:
        column = values.cast(pa.int64()).to_numpy()
    elif pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        column = _finite(values.cast(pa.float64(), safe=False).to_numpy())
    elif pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        moments = values.cast(pa.timestamp("us", tz=getattr(kind, "tz", None)), safe=False)
        column = moments.cast(pa.timestamp("us")).to_numpy().astype("datetime64[us]")
    else:
        raise StepError(
            f"column {name} holds values of type {kind}, which cannot be learned from",
            remedy="Turn it into numbers, texts, booleans or dates, or leave it out of the file.",
        )
    series: pd.Series[Any] = pd.Series(column, dtype=column.dtype)
    return series


def _parsed(values: Any, tokens: Sequence[str], *, typed: bool) -> tuple[pd.Series[Any], Kind]:
    """A column of strings; what `typed` files call a string is never taken for a number."""
    import numpy as np
    import pandas as pd
    import pyarrow as pa
    import pyarrow.compute as pc

    if not typed and (measured := _measured(values, tokens)) is not None:
        return pd.Series(measured), "numeric"
    # Everything else is decided on the distinct values, which are few in most columns.
    encoded = values.combine_chunks().dictionary_encode()
    codes = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False)
    distinct = encoded.dictionary
    trimmed = pc.utf8_trim_whitespace(distinct)
    absent = pc.is_in(trimmed, value_set=pa.array(tokens, pa.string())).to_numpy(zero_copy_only=False)
    present = trimmed.filter(pa.array(~absent))
    if not len(present):
        return pd.Series(np.full(len(values), np.nan)), "numeric" if not typed else "categorical"

    def spread(results: np.ndarray[Any, Any], gap: object) -> np.ndarray[Any, Any]:
        lookup = np.full(len(distinct) + 1, gap, dtype=results.dtype)  # the last one, for -1, stays the gap
        lookup[np.flatnonzero(~absent)] = results
        column: np.ndarray[Any, Any] = lookup[codes]
        return column

    gaps = bool(absent.any()) or bool((codes < 0).any())
    if not typed and (numbers := _numbers(present)) is not None:
        whole = numbers.dtype == np.int64 and not gaps
        return pd.Series(spread(numbers, 0) if whole else _finite(spread(numbers.astype(float), np.nan))), "numeric"
    if not typed and set(pc.utf8_lower(present).to_pylist()) <= {"true", "false"}:
        truths = pc.equal(pc.utf8_lower(present), "true").to_numpy(zero_copy_only=False)
        column = spread(truths.astype(object), np.nan)
        return pd.Series(column, dtype=object if gaps else bool), "boolean"
    if (moments := _moments(present)) is not None:
        return pd.Series(spread(moments, np.datetime64("NaT"))), "date"
    kept = np.array(distinct.filter(pa.array(~absent)).to_pylist(), dtype=object)
    series = pd.Series(spread(kept, np.nan), dtype=object)
    return series, _string_kind(kept, int(series.notna().sum()))


def kind_of(series: pd.Series[Any]) -> Kind:
    """The kind of a column that has one of this module's types."""
    import pandas as pd

    if pd.api.types.is_bool_dtype(series.dtype):
        return "boolean"
    if pd.api.types.is_numeric_dtype(series.dtype):
        return "numeric"
    if pd.api.types.is_datetime64_any_dtype(series.dtype):
        return "date"
    present = series.dropna()
    if len(present) and present.map(lambda value: isinstance(value, bool)).all():
        return "boolean"
    return _string_kind(list(present.unique()), len(present))


def _string_kind(distinct: Sequence[object] | Any, rows: int) -> Kind:
    words = sum(len(str(value).split()) for value in distinct) / max(len(distinct), 1)
    return (
        "text" if words >= TEXT_WORDS and len(distinct) >= TEXT_DISTINCT * rows and len(distinct) > 1 else "categorical"
    )


def _measured(values: Any, tokens: Sequence[str]) -> Any | None:
    """float64 for strings that all are finite numbers, not all of them whole, and none missing; else None.

    The most common column of all, which has almost as many distinct values as rows.
    """
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    if values.null_count or not len(values) or any(map(_is_number, tokens)):
        return None
    try:
        pc.cast(values.slice(0, 1), pa.float64())  # says no of most columns, and at once
        numbers: np.ndarray[Any, Any] = pc.cast(values, pa.float64()).to_numpy(zero_copy_only=False)
    except pa.ArrowInvalid:
        return None
    return numbers if np.isfinite(numbers).all() and (numbers % 1 != 0).any() else None


def _is_number(token: str) -> bool:
    try:
        return math.isfinite(float(token))
    except ValueError:
        return False


def _numbers(present: Any) -> Any | None:
    """int64 or float64 for strings that are all numbers (an infinite one gives infinity), else None."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    try:
        numbers: np.ndarray[Any, Any] = pc.cast(present, pa.float64()).to_numpy(zero_copy_only=False)
    except pa.ArrowInvalid:  # a word, or a plus sign, which the cast does not take
        if not _all(present, NUMBER):
            return None
        plain = pc.replace_substring_regex(present, r"^\+", "")
        numbers = pc.cast(plain, pa.float64()).to_numpy(zero_copy_only=False)
    unusual = ~np.isfinite(numbers)
    if unusual.any():
        words = unusual.all() or not _all(present.filter(pa.array(unusual)), _INFINITE)
        return None if words else numbers
    if (numbers % 1 != 0).any() or not _all(present, _INTEGER):
        return numbers
    if np.abs(numbers).max() >= _LONGEST or pc.any(pc.match_substring_regex(present, CODE)).as_py():
        return None
    return numbers.astype(np.int64)


def _moments(present: Any) -> Any | None:
    """datetime64[us] (UTC) for strings that are all dates of one format, else None."""
    import pandas as pd

    for pattern, format in DATES:
        if _all(present, pattern):
            try:
                parsed = pd.to_datetime(present.to_pylist(), format=format or "ISO8601", utc=True)
            except ValueError:  # the 31st of February
                return None
            return parsed.tz_localize(None).as_unit("us").to_numpy()
    return None


def _all(strings: Any, pattern: str) -> bool:
    import pyarrow.compute as pc

    # The first one says no of most columns, and at once.
    parts = (strings.slice(0, 1), strings)
    return all(pc.all(pc.match_substring_regex(part, pattern)).as_py() for part in parts)


def _finite(numbers: Any) -> Any:
    import numpy as np

    return np.where(np.isfinite(numbers), numbers, np.nan)


def moments_of(texts: Sequence[Any], format: str) -> Any:
    """datetime64[us] (UTC, naive) of texts in one of `DATES`' formats; NaT for None and for days that do not exist."""
    import pandas as pd

    parsed = pd.to_datetime(pd.Index(list(texts), dtype=object), format=format or "ISO8601", utc=True, errors="coerce")
    return parsed.tz_localize(None).as_unit("us").to_numpy()


def is_string(kind: Any) -> bool:
    """Whether a pyarrow type is text."""
    import pyarrow as pa

    string: bool = pa.types.is_string(kind) or pa.types.is_large_string(kind)
    return string
