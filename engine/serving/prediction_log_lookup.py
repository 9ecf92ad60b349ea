"""Which release made a prediction, and what it said: by id, from the newest segments' indexes in memory.

A segment that is still written is indexed as far as it goes, and further when it is asked again.
"""

from __future__ import annotations

import os
from array import array
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from engine.serving import prediction_log_format as form
from engine.serving.prediction_log_files import PARQUET, Segment, parts_of, segments
from engine.serving.prediction_log_format import Part

_MOST_INDEXES = 8
_AT_ONCE = 8 << 20  # bytes that are read at once of a segment; a larger block is read whole


class Made(NamedTuple):
    """A prediction as it was answered."""

    part: Part
    way: int
    prediction: str | float


class Lookup:
    """Finds the predictions of one model. `folder`: its log."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._indexes: OrderedDict[Path, _LogIndex | _ParquetIndex] = OrderedDict()

    def find(self, ids: Iterable[str]) -> dict[str, Made]:
        """Those that are in the log, by id."""
        starts: dict[int, tuple[list[int], list[Segment]]] = {}
        for segment in segments(self._folder):
            counts, listed = starts.setdefault(form.start_of(segment.first), ([], []))
            counts.append(form.count_of(segment.first))
            listed.append(segment)
        found = {}
        for id_ in sorted(ids):  # each segment is looked into once
            number = form.id_number(id_)
            if number is None:
                continue
            counts, listed = starts.get(form.start_of(number), ([], []))
            place = bisect_right(counts, form.count_of(number)) - 1
            made = self._in(listed[place], number) if place >= 0 else None
            if made is not None:
                found[id_] = made
        for path in [path for path in self._indexes if not path.exists()]:
            self._drop(path)
        return found

    def close(self) -> None:
        """Close all files."""
        for path in list(self._indexes):
            self._drop(path)

    def _in(self, segment: Segment, number: int) -> Made | None:
        path = segment.path
        if path not in self._indexes:
            with suppress(FileNotFoundError):
                self._indexes[path] = _ParquetIndex(path) if segment.compacted else _LogIndex(path)
            if path not in self._indexes:  # compacted since it was listed, or gone
                compacted = path.with_suffix(PARQUET)
                return None if segment.compacted else self._in(Segment(segment.first, compacted), number)
        self._indexes.move_to_end(path)
        if len(self._indexes) > _MOST_INDEXES:
            self._drop(next(iter(self._indexes)))
        return self._indexes[path].find(number)

    def _drop(self, path: Path) -> None:
        self._indexes.pop(path).close()


class _LogIndex:
    """A segment as it is written. It stays open: what it holds stays readable when it was compacted."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._end = 0  # of what is indexed
        self._parts: dict[int, Part] = {}
        self._counts, self._rows, self._places = array("Q"), array("L"), array("L")

    def find(self, number: int) -> Made | None:
        """The prediction with this id."""
        count = form.count_of(number)
        if not self._counts or count >= self._counts[-1] + self._rows[-1]:
            self._go_on()
        place = bisect_right(self._counts, count) - 1
        if place < 0 or count >= self._counts[place] + self._rows[place]:
            return None
        record = self._record(self._places[place])
        row = number - record.number
        if not 0 <= row < record.rows:
            return None  # of the same count, but another time: no id of ours
        return Made(self._parts[record.part], form.way_of_row(record.way, row), form.answers(record)[0][row])

    def close(self) -> None:
        os.close(self._file)

    def _record(self, place: int) -> form.Record:
        size = int.from_bytes(os.pread(self._file, 4, place), "little")
        return form.record_at(os.pread(self._file, size + 4, place))

    def _go_on(self) -> None:
        wanted = _AT_ONCE
        while data := os.pread(self._file, wanted, self._end):
            end = 0
            for start, payload in form.blocks(data):
                end = start + len(payload)
                for at, record in form.records(payload, self._parts):
                    if record.status == 200:
                        self._counts.append(form.count_of(record.number))
                        self._rows.append(record.rows)
                        self._places.append(self._end + start + at)
            if not end:
                if len(data) < wanted:
                    return
                wanted *= 4  # a block that is larger
                continue
            self._end += end


class _ParquetIndex:
    """A compacted segment: its ids and answers in memory."""

    def __init__(self, path: Path) -> None:
        import pyarrow.parquet as pq

        with pq.ParquetFile(path) as file:
            self._parts = parts_of(file.metadata.metadata)
            table = file.read(["id", "part", "way", "label", "value"])
        self._table: Any = table.combine_chunks()
        ids = table.column("id").to_pylist()
        self._counts = array("Q", [form.count_of(int(id_, 16)) for id_ in ids])

    def find(self, number: int) -> Made | None:
        """The prediction with this id."""
        place = bisect_right(self._counts, form.count_of(number)) - 1
        if place < 0 or self._value("id", place) != form.id_text(number):
            return None
        label, value = self._value("label", place), self._value("value", place)
        if label is None and value is None:
            return None  # the release failed
        part, way = self._parts[self._value("part", place)], form.WAYS.index(self._value("way", place))
        return Made(part, way, value if label is None else label)

    def close(self) -> None:
        """Nothing is open."""

    def _value(self, column: str, place: int) -> Any:
        return self._table.column(column)[place].as_py()
