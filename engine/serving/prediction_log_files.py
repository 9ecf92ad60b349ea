"""The prediction log's files: reading them with the actual values joined, compacting closed segments, retention.

A model's folder holds segments, named by their first id: `ID.log` while and after they are written, `ID.parquet` once
they are compacted, with a row for each predicted row. Where both are there, the Parquet file is whole and counts.
Readers take no lock: they look again when a file was compacted under them.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from itertools import islice
from pathlib import Path
from typing import Any

from engine.core.canonical import utc
from engine.serving import prediction_log_format as form
from engine.serving.prediction_log import NEW, OPEN, sync
from engine.serving.prediction_log_actuals import Actuals
from engine.serving.prediction_log_format import Part, Prediction
from engine.serving.settings import LogSettings

LOG = "log"  # the folder, in the gateway's own
PARQUET = ".parquet"
_TEMPORARY = ".tmp"
_LOCK = ".lock"
_PARTS = "engine.parts"  # the key of Parquet's metadata
_GROUP_ROWS = 20_000
_JOINED_AT_ONCE = 1000
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), check_circular=False).encode
_LEFT_OVER_SECONDS = 60.0
_AS_THEY_ARE = (
    "id", "generation", "version", "role", "weight", "way", "key", "latency", "score", "error", "identity",
)  # fmt: skip
_COLUMNS = (
    "id", "at", "part", "generation", "version", "role", "weight", "way", "key", "latency", "features", "label",
    "value", "score", "error", "identity",
)  # fmt: skip


@dataclass(frozen=True, order=True)
class Segment:
    """A segment that can be read."""

    first: int  # id
    path: Path

    @property
    def compacted(self) -> bool:
        """Whether it is a Parquet file."""
        return self.path.suffix == PARQUET


def segments(folder: Path) -> list[Segment]:
    """A model's segments, oldest first; none where there is no log."""
    found: dict[int, Path] = {}
    with suppress(FileNotFoundError):
        for path in sorted(folder.iterdir()):  # .log before .parquet, which therefore counts
            number = form.id_number(path.stem)
            if number is not None and path.suffix in (OPEN, PARQUET):
                found[number] = path
    return sorted(Segment(number, path) for number, path in found.items())


# ── reading ──────────────────────────────────────────────────────────────────────────────────────────────────


def read_log(
    folder: Path,
    model: str,
    since: datetime | None = None,
    until: datetime | None = None,
    limit: int | None = None,
    *,
    newest_first: bool = False,
) -> Iterator[Prediction]:
    """The predictions of a model from `since` on and before `until`, oldest first, with what became known of them.

    `folder` is the gateway's own. Memory holds one segment as it lies on the disk. What was answered in the last
    second may not be there yet.
    """
    first = 0 if since is None else form.first_id(since)
    end = 1 << 128 if until is None else form.first_id(until)
    rows = islice(_between(folder / LOG / model, first, end, newest_first=newest_first), limit)
    actuals = Actuals.in_folder(folder)
    while some := list(islice(rows, _JOINED_AT_ONCE)):
        yield from _joined(model, some, actuals)


def _between(folder: Path, first: int, end: int, *, newest_first: bool) -> Iterator[Prediction]:
    todo = segments(folder)
    while todo:
        segment = todo.pop(-1 if newest_first else 0)
        if segment.first >= end or _ends_before(segment, first):
            continue
        read = _rows_of_parquet if segment.compacted else _rows_of_log
        try:
            for row in read(segment.path, first, newest_first=newest_first):
                if first <= int(row.id, 16) < end:
                    yield row
        except FileNotFoundError:  # compacted, or gone for its age, since it was listed; nothing was read of it
            path = segment.path.with_suffix(PARQUET)
            if not segment.compacted and path.exists():
                todo.insert(len(todo) if newest_first else 0, Segment(segment.first, path))


def _ends_before(segment: Segment, first: int) -> bool:
    """Whether it was finished before that moment, by the time of the file; a second is left for rounding."""
    try:
        return segment.path.stat().st_mtime + 1 < form.time_of(first).timestamp()
    except FileNotFoundError:
        return False


def _rows_of_log(path: Path, first: int, *, newest_first: bool) -> Iterator[Prediction]:
    """Records before `first` are not taken apart; with few rows wanted, neither are the others."""
    parts: dict[int, Part] = {}
    found = [
        record
        for _, payload in form.blocks(path.read_bytes())
        for _, record in form.records(payload, parts)
        if record.number + record.rows > first
    ]
    for record in reversed(found) if newest_first else found:
        rows = list(form.rows_of(record, parts[record.part]))
        yield from reversed(rows) if newest_first else rows


def _rows_of_parquet(path: Path, _first: int, *, newest_first: bool) -> Iterator[Prediction]:
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        parts = parts_of(file.metadata.metadata)
        groups = range(file.num_row_groups)
        for group in reversed(groups) if newest_first else groups:
            rows = file.read_row_group(group).to_pylist()
            for row in reversed(rows) if newest_first else rows:
                yield Prediction(
                    row["id"], utc(row["at"]), parts[row["part"]].model, row["generation"], row["version"],
                    row["role"], row["weight"], row["way"], row["key"], row["latency"],
                    None if row["features"] is None else json.loads(row["features"]),
                    row["label"] if row["label"] is not None else row["value"], row["score"], row["error"],
                    identity=row.get("identity"),
                )  # fmt: skip


def parts_of(metadata: Mapping[bytes, bytes]) -> dict[int, Part]:
    """The parts that a Parquet file's metadata describes."""
    return {int(number): Part.from_json(part) for number, part in json.loads(metadata[_PARTS.encode()]).items()}


def _joined(model: str, rows: Sequence[Prediction], actuals: Actuals) -> Iterator[Prediction]:
    ids = [row.id for row in rows]
    known = actuals.between(model, min(ids), max(ids))
    for row in rows:
        found = known.get(row.id)
        yield row if found is None else replace(row, actual=found.actual, labelled_at=found.at)


# ── compacting ───────────────────────────────────────────────────────────────────────────────────────────────


def tidy(folder: Path, model: str, settings: LogSettings) -> None:
    """Compact a model's closed segments and delete what is too old or too much. Can be killed and repeated anywhere.

    Does nothing while another process does it. Raises OSError, with nothing lost.
    """
    log = folder / LOG / model
    if not log.is_dir():
        return
    with (log / _LOCK).open("ab") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return
        _sweep(log)
        try:
            for path in sorted(log.glob(f"*{OPEN}")):
                _compact_if_closed(path)
        finally:
            _retain(folder, model, settings)


def _sweep(log: Path) -> None:
    """What killed processes left half done."""
    for path in log.glob(f"*{_TEMPORARY}"):
        path.unlink()
    for path in log.glob(f"*{NEW}"):
        if time.time() - path.stat().st_mtime > _LEFT_OVER_SECONDS:
            path.unlink(missing_ok=True)


def _compact_if_closed(path: Path) -> None:
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return  # its writer lives
        compacted = path.with_suffix(PARQUET)
        if not compacted.exists() and _write_parquet(path, file.read(), compacted):
            sync(path.parent)
        path.unlink()


def _write_parquet(path: Path, data: bytes, target: Path) -> bool:
    """Write a segment's rows; False if it has none."""
    parts: dict[int, Part] = {}
    rows = (row for _, payload in form.blocks(data) for row in _numbered(payload, parts))
    group = list(islice(rows, _GROUP_ROWS))
    if not group:
        return False
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = _schema(pa)
    temporary = target.with_suffix(_TEMPORARY)
    with pq.ParquetWriter(
        temporary, schema, compression="zstd", compression_level=3,
        use_dictionary=["part", "generation", "version", "role", "weight", "way", "label", "error"],
        column_encoding={"id": "DELTA_BYTE_ARRAY", "at": "DELTA_BINARY_PACKED"},
    ) as writer:  # fmt: skip
        while group:
            writer.write_table(_table(pa, group, schema))
            group = list(islice(rows, _GROUP_ROWS))
        described = json.dumps({number: part.to_json() for number, part in parts.items()})
        writer.add_key_value_metadata({_PARTS: described})
    sync(temporary)
    times = path.stat()
    os.utime(temporary, ns=(times.st_atime_ns, times.st_mtime_ns))
    temporary.replace(target)
    return True


def _numbered(payload: bytes, parts: dict[int, Part]) -> Iterator[tuple[int, Prediction]]:
    for _, record in form.records(payload, parts):
        for row in form.rows_of(record, parts[record.part]):
            yield record.part, row


def _schema(pa: Any) -> Any:
    kinds = {
        "at": pa.timestamp("us", "UTC"),
        "part": pa.int32(),
        "generation": pa.int64(),
        "version": pa.int64(),
        **dict.fromkeys(("weight", "latency", "value", "score"), pa.float64()),
    }
    return pa.schema([(name, kinds.get(name, pa.string())) for name in _COLUMNS])


def _table(pa: Any, rows: Sequence[tuple[int, Prediction]], schema: Any) -> Any:
    columns: dict[str, Sequence[Any]] = {name: [getattr(row, name) for _, row in rows] for name in _AS_THEY_ARE}
    columns["part"] = [number for number, _ in rows]
    columns["at"] = [form.time_of(int(row.id, 16)) for _, row in rows]
    columns["features"] = [None if row.features is None else _encode(row.features) for _, row in rows]
    columns["label"] = [row.prediction if isinstance(row.prediction, str) else None for _, row in rows]
    columns["value"] = [None if isinstance(row.prediction, str) else row.prediction for _, row in rows]
    return pa.table({name: columns[name] for name in _COLUMNS}, schema=schema)


# ── retention ────────────────────────────────────────────────────────────────────────────────────────────────


def _retain(folder: Path, model: str, settings: LogSettings) -> None:
    """Delete the oldest segments beyond the limits, and the actual values of predictions that are gone."""
    found = [(segment, segment.path.stat()) for segment in segments(folder / LOG / model)]
    oldest = time.time() - settings.keep_seconds
    total = sum(about.st_size for _, about in found)
    for segment, about in found:
        if about.st_mtime >= oldest and total <= settings.keep_bytes:
            break
        if not _delete(segment):
            break
        total -= about.st_size
    left = segments(folder / LOG / model)
    if len(left) < len(found):
        Actuals.in_folder(folder).forget(model, left[0].first if left else form.first_id(datetime.now(timezone.utc)))


def _delete(segment: Segment) -> bool:
    """Delete a segment, unless it is being written."""
    with suppress(FileNotFoundError), segment.path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        segment.path.unlink()
    return True
