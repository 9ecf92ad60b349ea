"""What is kept of a reference, so that a check needs nothing else of it and sorts only the batch.

Numbers: all of them, sorted, up to `SKETCH`; of more, as many evenly spaced order statistics, so that the distribution
function is known within 1/`SKETCH` (0.0001). Categories: their counts, up to `CATEGORIES` of them, the rarest pooled.
Also `SAMPLE` whole rows, drawn with a fixed seed, for tests of all features together. `exact` says whether anything
was left out. `to_bytes` gives the same bytes for the same rows; they hold numbers and texts only, never code.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from engine.stats.drift.columns import Column, Kind, Role, category, counted

if TYPE_CHECKING:
    from engine.stats.bootstrap import Floats, Ints

SKETCH = 10_000  # numbers kept of a column
CATEGORIES = 10_000  # categories kept of a column
SAMPLE = 2_000  # whole rows
SEED = 0
FORMAT = 1
_MAGIC = b"EDP1"
_HEAD = struct.Struct("<4sI")
_LARGEST = 1 << 30  # bytes of a profile that is read


@dataclass(frozen=True)
class NumericReference:
    """A column of numbers. points: (k,) sorted, finite; each stands for `present / k` rows.

    sample: (rows of the sample,), NaN where missing.
    """

    name: str
    kind: Kind
    role: Role
    rows: int
    present: int
    points: Floats
    sample: Floats

    @property
    def exact(self) -> bool:
        """Whether every number is kept."""
        return self.present == len(self.points)

    @property
    def missing(self) -> int:
        """Rows without a finite number."""
        return self.rows - self.present


@dataclass(frozen=True)
class CategoricalReference:
    """A column of categories. counts: rows by category; `rest`: rows of categories that are not kept.

    sample: (rows of the sample,) places in `names`, -1 where missing, -2 for a category that is not kept.
    """

    name: str
    kind: Kind
    role: Role
    rows: int
    counts: Mapping[str, int]
    rest: int
    sample: Ints

    @property
    def exact(self) -> bool:
        """Whether every category is kept."""
        return self.rest == 0

    @property
    def present(self) -> int:
        """Rows with a value."""
        return sum(self.counts.values()) + self.rest

    @property
    def missing(self) -> int:
        """Rows without a value."""
        return self.rows - self.present

    @cached_property
    def names(self) -> list[str]:
        """The categories, in the order of their numbers."""
        return list(self.counts)


Reference = NumericReference | CategoricalReference


@dataclass(frozen=True)
class Profile:
    """A reference. `origin`: holdout or production."""

    rows: int
    columns: tuple[Reference, ...]
    origin: str = "holdout"
    _bytes: list[bytes] = field(default_factory=list, repr=False, compare=False)

    @property
    def exact(self) -> bool:
        """Whether nothing was left out of any column."""
        return all(column.exact for column in self.columns)

    @cached_property
    def digest(self) -> str:
        """Of its bytes."""
        return f"sha256:{sha256(self.to_bytes()).hexdigest()}"

    def features(self) -> list[tuple[str, Kind]]:
        """Names and kinds of the features, as `columns_of_rows` takes them."""
        return [(column.name, column.kind) for column in self.columns if column.role == "feature"]

    def predictions(self) -> list[tuple[str, Kind]]:
        """The same of what the model said: `prediction`, and `score` where there is one."""
        return [(column.name, column.kind) for column in self.columns if column.role == "prediction"]

    def to_bytes(self) -> bytes:
        """A versioned document: a JSON head and the numbers, compressed."""
        if not self._bytes:
            blocks: list[bytes] = []
            head = {
                "format_version": FORMAT,
                "rows": self.rows,
                "origin": self.origin,
                "columns": [_described(column, blocks) for column in self.columns],
            }
            text = json.dumps(head, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode()
            self._bytes.append(_HEAD.pack(_MAGIC, len(text)) + text + zlib.compress(b"".join(blocks), 1))
        return self._bytes[0]

    @staticmethod
    def from_bytes(data: bytes) -> Profile:
        """Read what `to_bytes` gave. Raises ValueError for anything else."""
        try:
            return _read(data)
        except (KeyError, TypeError, ValueError, struct.error, zlib.error) as error:
            raise ValueError(f"not a drift profile: {error}") from error


def profile_of(columns: Iterable[Column], *, origin: str = "holdout", sketch: int = SKETCH) -> Profile:
    """The profile of a reference. Raises ValueError for columns of different length or of the same role and name."""
    import numpy as np

    listed = list(columns)
    rows = listed[0].rows if listed else 0
    for column in listed:
        if column.rows != rows:
            raise ValueError(f"{column.name} has {column.rows} rows, {listed[0].name} has {rows}")
    if len({column.key for column in listed}) < len(listed):
        raise ValueError("two columns have the same name")
    drawn = np.arange(rows)
    if rows > SAMPLE:
        drawn = np.sort(np.random.default_rng(SEED).choice(rows, SAMPLE, replace=False))
    return Profile(rows, tuple(_reference(column, drawn, sketch) for column in listed), origin)


def finite_sorted(values: Floats) -> Floats:
    """The finite numbers of a column, sorted. The only copy that is made; NaN and infinities lie at the ends of it."""
    import numpy as np

    ordered = np.sort(values)
    low = int(np.searchsorted(ordered, -np.inf, side="right"))
    high = int(np.searchsorted(ordered, np.inf, side="left"))
    return ordered[low:high]


def _reference(column: Column, drawn: Any, sketch: int) -> Reference:
    import numpy as np

    if column.is_numeric:
        numbers = column.numbers()
        ordered = finite_sorted(numbers)
        present = len(ordered)
        if present > sketch:
            ranks = np.floor((np.arange(sketch) + 0.5) * present / sketch).astype(np.int64)
            ordered = ordered[ranks]
        sample = numbers[drawn]
        sample = np.where(np.isfinite(sample), sample, np.nan)
        return NumericReference(column.name, column.kind, column.role, column.rows, present, ordered, sample)
    counts, _ = counted(column.values)
    kept = sorted(counts, key=lambda name: (-counts[name], name))[:CATEGORIES]
    found = {name: counts[name] for name in sorted(kept)}
    rest = sum(counts.values()) - sum(found.values())
    plain = column.values.tolist() if hasattr(column.values, "tolist") else list(column.values)
    codes = category_numbers([plain[row] for row in drawn.tolist()], list(found))
    return CategoricalReference(column.name, column.kind, column.role, column.rows, found, rest, codes)


def category_numbers(values: Sequence[Any], names: Sequence[str]) -> Ints:
    """Places of values in `names`: -1 where missing, -2 where it is none of them. (n,) → (n,)."""
    import numpy as np

    place = {name: number for number, name in enumerate(names)}
    gaps = (-1 if value is None or value != value else place.get(category(value), -2) for value in values)
    return np.fromiter(gaps, dtype=np.int64, count=len(values))


def _described(column: Reference, blocks: list[bytes]) -> dict[str, Any]:
    base = {"name": column.name, "kind": column.kind, "role": column.role, "rows": column.rows}
    blocks.append(column.sample.astype("<f8" if isinstance(column, NumericReference) else "<i8").tobytes())
    sample = len(column.sample)
    if isinstance(column, NumericReference):
        blocks.append(column.points.astype("<f8").tobytes())
        return {**base, "present": column.present, "points": len(column.points), "sample": sample}
    return {**base, "counts": dict(column.counts), "rest": column.rest, "sample": sample}


def _read(data: bytes) -> Profile:
    import numpy as np

    magic, length = _HEAD.unpack_from(data)
    if magic != _MAGIC:
        raise ValueError("it begins otherwise")
    head = json.loads(data[_HEAD.size : _HEAD.size + length])
    if head["format_version"] != FORMAT:
        raise ValueError(f"format {head['format_version']} cannot be read, only {FORMAT}")
    unpacker = zlib.decompressobj()
    blocks = memoryview(unpacker.decompress(data[_HEAD.size + length :], _LARGEST))
    if not unpacker.eof:
        raise ValueError("it is cut short, or too large")
    at = 0

    def take(count: int, dtype: str) -> Any:
        nonlocal at
        size = count * 8
        if count < 0 or at + size > len(blocks):
            raise ValueError("it is cut short")
        found = np.frombuffer(blocks[at : at + size], dtype=dtype)
        at += size
        return found

    columns: list[Reference] = []
    for each in head["columns"]:
        base = (each["name"], each["kind"], each["role"], each["rows"])
        if "points" in each:
            sample = take(each["sample"], "<f8")
            columns.append(NumericReference(*base, each["present"], take(each["points"], "<f8"), sample))
        else:
            codes = take(each["sample"], "<i8")
            columns.append(CategoricalReference(*base, each["counts"], each["rest"], codes))
    return Profile(head["rows"], tuple(columns), head["origin"])
