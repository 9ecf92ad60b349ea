"""Which rows repeat an earlier one, and how many differ: exact, in memory that does not grow with the rows.

Rows are told apart by 128 bits of SipHash of their values, so that two that differ are taken for the same with a
probability of n²/2¹²⁹ (under 10⁻²⁰ for a billion rows). Up to `HELD` rows stay in memory; from there on they are
parted by their first bits into files, each of which is sorted alone: time grows in proportion to the rows.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HELD = 1 << 21  # rows in memory, 48 MB
_PARTS = 256
_KEYS = ("engine contract1", "engine contract2")  # of SipHash, 16 bytes each
_SHOWN = 5


@dataclass(frozen=True)
class Repeated:
    """`repeats`: rows that repeat an earlier one, the first of them in `rows`, each with the row that it repeats."""

    looked: int
    repeats: int
    rows: tuple[tuple[int, int], ...]

    @property
    def distinct(self) -> int:
        """Rows that differ."""
        return self.looked - self.repeats


class Repeats:
    """Takes rows batch by batch; `found` reads them back. `folder`: where files may be put."""

    def __init__(self, folder: Path, held: int = HELD) -> None:
        self._folder = folder
        self._most = held
        self._held: list[Any] = []
        self._count = 0
        self._total = 0
        self._files: Path | None = None

    def take(self, columns: Sequence[Any], rows: Any) -> None:
        """columns: object arrays (n,) of texts, which make up a key together; rows: (n,) their numbers."""
        import numpy as np

        if not len(rows):
            return
        found = np.empty(len(rows), dtype=[("high", "<u8"), ("low", "<u8"), ("row", "<i8")])
        found["high"], found["low"] = hashed(columns)
        found["row"] = rows
        self._held.append(found)
        self._count += len(found)
        self._total += len(found)
        if self._count > self._most:
            self._spill()

    def found(self) -> Repeated:
        """What repeats, among all rows. Its files are removed, so that it can be asked once."""
        import shutil

        import numpy as np

        if self._files is None:
            parts = [np.concatenate(self._held)] if self._held else []
            return _together([_repeated(part) for part in parts])
        self._spill()
        dtype = [("high", "<u8"), ("low", "<u8"), ("row", "<i8")]
        parts = [_repeated(np.fromfile(file, dtype=dtype)) for file in sorted(self._files.iterdir())]
        shutil.rmtree(self._files, ignore_errors=True)
        return _together(parts)

    def _spill(self) -> None:
        import numpy as np

        if self._files is None:
            self._files = Path(tempfile.mkdtemp(prefix="repeats-", dir=self._folder))
        if not self._held:
            return
        rows = np.concatenate(self._held)
        part = (rows["high"] >> np.uint64(56)).astype(np.int64)
        order = np.argsort(part, kind="stable")
        ends = np.searchsorted(part[order], np.arange(_PARTS + 1))
        for number in range(_PARTS):
            if ends[number] < ends[number + 1]:
                with (self._files / f"{number:03}").open("ab") as file:
                    rows[order[ends[number] : ends[number + 1]]].tofile(file)
        self._held, self._count = [], 0


def hashed(columns: Sequence[Any]) -> tuple[Any, Any]:
    """128 bits of each row in two arrays of uint64 (n,). columns: object arrays (n,) of texts."""
    high, low = (_hashed(columns, key) for key in _KEYS)
    return high, low


def _hashed(columns: Sequence[Any], key: str) -> Any:
    import numpy as np
    from pandas.util import hash_array

    mixed = hash_array(columns[0], hash_key=key, categorize=False)
    for column in columns[1:]:  # as a polynomial, so that the order of the columns counts
        mixed = mixed * np.uint64(0x9E3779B97F4A7C15) + hash_array(column, hash_key=key, categorize=False)
    return mixed


def _repeated(found: Any) -> Repeated:
    import numpy as np

    order = np.lexsort((found["row"], found["low"], found["high"]))
    ordered = found[order]
    same = (ordered["high"][1:] == ordered["high"][:-1]) & (ordered["low"][1:] == ordered["low"][:-1])
    if not same.any():
        return Repeated(len(found), 0, ())
    places = np.flatnonzero(same) + 1
    starts = np.concatenate(([True], ~same))
    first = ordered["row"][np.flatnonzero(starts)[np.cumsum(starts) - 1]]
    rows = ordered["row"][places]
    earliest = np.argsort(rows, kind="stable")[:_SHOWN]
    shown = tuple((int(rows[i]), int(first[places[i]])) for i in earliest)
    return Repeated(len(found), int(same.sum()), shown)


def _together(parts: Sequence[Repeated]) -> Repeated:
    rows = sorted(row for part in parts for row in part.rows)[:_SHOWN]
    return Repeated(sum(part.looked for part in parts), sum(part.repeats for part in parts), tuple(rows))
