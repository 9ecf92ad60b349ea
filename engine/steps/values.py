"""One column of one batch, as a contract looks at it: what is missing, and the values as numbers, moments, texts.

Every array has the batch's rows; null stands where a value is missing or is not of that type. What is missing is what
`table.read_table` takes for missing, except that a number that is not finite is a value, and no number.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cached_property
from typing import Any

from engine.core.contract import Example, shown
from engine.steps.columns import CODE, DATES, NUMBER, is_string, moments_of

TRUTHS = ("true", "false")


class Values:
    """raw: a pyarrow array (n,). `typed`: its type is the file's own, so that a text is never a number.

    `numeric`: numbers are what will be asked for; of a text column that holds nothing else, which is most of them,
    neither blanks nor tokens are looked for.
    """

    def __init__(self, raw: Any, tokens: Any, *, typed: bool, numeric: bool = False) -> None:
        import pyarrow as pa
        import pyarrow.compute as pc

        if pa.types.is_dictionary(raw.type):
            raw = raw.cast(raw.type.value_type)
        self.raw = raw
        self.typed = typed
        self.is_text = is_string(raw.type)
        plain = _plain_numbers(raw, tokens) if numeric and self.is_text and not typed else None
        if plain is not None:
            self._trimmed = raw
            self.missing = pa.repeat(pa.scalar(False), len(raw))
            self.numbers = plain
        elif self.is_text:
            self._trimmed = pc.utf8_trim_whitespace(raw)
            self.missing = pc.or_kleene(pc.is_null(raw), pc.is_in(self._trimmed, value_set=tokens))
        elif pa.types.is_floating(raw.type):
            self.missing = pc.or_kleene(pc.is_null(raw), pc.is_nan(raw)).fill_null(True)
        else:
            self.missing = pc.is_null(raw)
        self.present = pc.invert(self.missing)
        self.absent_count = int(pc.sum(self.missing).as_py() or 0)
        self.count = len(raw) - self.absent_count

    @cached_property
    def texts(self) -> Any:
        """Values as text: as they stand in the file, or what a typed one would be written as."""
        import pyarrow as pa
        import pyarrow.compute as pc

        if self.is_text:
            return (
                self.raw
                if not self.absent_count
                else pc.if_else(self.present, self.raw, pa.scalar(None, self.raw.type))
            )
        if pa.types.is_nested(self.raw.type):
            return pa.array([None if v is None else str(v) for v in self.raw.to_pylist()], pa.string())
        return pc.if_else(self.present, self.raw.cast(pa.string()), pa.scalar(None, pa.string()))

    @cached_property
    def words(self) -> Any:
        """The same without the blanks around them; null for what is typed as something else than text."""
        import pyarrow as pa
        import pyarrow.compute as pc

        if not self.is_text:
            return pa.nulls(len(self.raw), pa.string())
        return self._trimmed if not self.absent_count else pc.if_else(self.present, self._trimmed, None)

    @cached_property
    def numbers(self) -> Any:
        """float64; what is not finite is null."""
        import pyarrow as pa
        import pyarrow.compute as pc

        kind = self.raw.type
        if self.is_text and not self.typed:
            found = _cast(self.words)
        elif pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
            found = self.raw.cast(pa.float64(), safe=False)
        else:
            return pa.nulls(len(self.raw), pa.float64())
        finite = pc.is_finite(found)
        if pc.all(finite).as_py() is False:
            found = pc.if_else(finite, found, None)
        return found

    @cached_property
    def is_number(self) -> Any:
        """Whether it is a number, and no code with leading zeros."""
        import pyarrow as pa
        import pyarrow.compute as pc

        valid = pc.is_valid(self.numbers)
        if not self.is_text:
            return valid
        suspects = pc.indices_nonzero(_begins_with_zero(self.words).fill_null(False))
        codes = pc.match_substring_regex(self.words.take(suspects), CODE).fill_null(False)
        if not pc.any(codes).as_py():
            return valid
        found = valid.to_numpy(zero_copy_only=False).copy()
        found[suspects.filter(codes).to_numpy()] = False
        return pa.array(found)

    @cached_property
    def is_integer(self) -> Any:
        """Whether it is a whole number."""
        import pyarrow as pa
        import pyarrow.compute as pc

        if pa.types.is_integer(self.raw.type):
            return self.present
        whole = pc.equal(pc.floor(self.numbers), self.numbers).fill_null(False)
        return pc.and_(self.is_number, whole)

    @cached_property
    def is_boolean(self) -> Any:
        """Whether it is true or false."""
        import pyarrow as pa
        import pyarrow.compute as pc

        if pa.types.is_boolean(self.raw.type):
            return self.present
        if self.typed:
            return pa.array([False] * len(self.raw))
        return pc.is_in(pc.utf8_lower(self.words), value_set=pa.array(TRUTHS))

    @cached_property
    def moments(self) -> Any:
        """timestamp[us], UTC."""
        import pyarrow as pa

        kind = self.raw.type
        if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
            zoned = self.raw.cast(pa.timestamp("us", tz=getattr(kind, "tz", None)), safe=False)
            return zoned.cast(pa.timestamp("us"))
        if not self.is_text:
            return pa.nulls(len(self.raw), pa.timestamp("us"))
        return _moments(self.words)

    def examples(self, mask: Any, most: int, before: int, *, masked: bool) -> list[Example]:
        """The first rows where `mask` holds, `before` being the rows before this batch."""
        import pyarrow as pa
        import pyarrow.compute as pc

        from engine.core.contract import MASKED

        rows = pc.indices_nonzero(mask)[:most]
        values = self.raw.take(pa.array(rows)).to_pylist()
        return [
            Example(before + row + 1, MASKED if masked else shown(value))
            for row, value in zip(rows.to_pylist(), values, strict=True)
        ]


def token_array(missing: Sequence[str] | None, *, typed: bool) -> Any:
    """What stands for missing, as `Values` takes it."""
    import pyarrow as pa

    from engine.steps.table import missing_tokens

    return pa.array(missing_tokens(missing, typed=typed), pa.string())


def _plain_numbers(raw: Any, tokens: Any) -> Any | None:
    """float64 if all texts are finite numbers and no number stands for a missing value; else None."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if raw.null_count or not len(raw) or any(_is_number(token) for token in tokens.to_pylist()):
        return None
    try:
        pc.cast(raw.slice(0, 1), pa.float64())  # says no of most other columns, and at once
        found = pc.cast(raw, pa.float64())
    except pa.ArrowInvalid:
        return None
    return found if pc.all(pc.is_finite(found)).as_py() else None


def _is_number(token: str) -> bool:
    try:
        return math.isfinite(float(token))
    except ValueError:
        return False


def _begins_with_zero(words: Any) -> Any:
    import pyarrow.compute as pc

    signed = (pc.starts_with(words, "-0"), pc.starts_with(words, "+0"))
    return pc.or_kleene(pc.starts_with(words, "0"), pc.or_kleene(*signed))


def _cast(words: Any) -> Any:
    import pyarrow as pa
    import pyarrow.compute as pc

    try:
        return pc.cast(words, pa.float64())
    except pa.ArrowInvalid:  # a word, or a plus sign, which the cast does not take
        numbers = pc.match_substring_regex(words, NUMBER)
        plain = pc.replace_substring_regex(pc.if_else(numbers, words, None), r"^\+", "")
        return pc.cast(plain, pa.float64())


def _moments(words: Any) -> Any:
    """Each distinct word is parsed once, in the first format that any of them has."""
    import pyarrow as pa
    import pyarrow.compute as pc

    encoded = words.dictionary_encode()
    distinct = encoded.dictionary
    for pattern, format in DATES:
        fits = pc.match_substring_regex(distinct, pattern)
        if pc.any(fits).as_py():
            kept = pc.if_else(fits, distinct, None).to_pylist()
            parsed = pa.array(moments_of(kept, format), pa.timestamp("us"))
            return parsed.take(encoded.indices)
    return pa.nulls(len(words), pa.timestamp("us"))
