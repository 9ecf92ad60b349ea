"""The gateway's end of the prediction log: `add` joins records in memory, `flush` has them written and synced.

`add` is called in the event loop for every prediction and waits for nothing. A thread of its own writes what came
together: one call for each model and flush, then fsync. While the disk is slow, memory is bounded: what does not fit is
dropped, counted and told. A write that fails drops its records and begins a new segment. A gateway or machine that
dies loses what came since the last flush: at most `flush_seconds` and the time that the disk takes for it.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import logging
import os
import secrets
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from math import nan
from pathlib import Path
from typing import NamedTuple

from engine.clock import Clock, system_clock
from engine.serving import prediction_log_format as form
from engine.serving.counting import Part as Place
from engine.serving.settings import LogSettings
from engine.serving.signature import Signature
from engine.serving.wire import Reply, Request

NEW, OPEN = ".new", ".log"  # how the names of segments end
_TOLD_SECONDS = 60.0  # between two warnings of the same kind
_log = logging.getLogger("engine.serving")


class Ids:
    """Gives ids that grow, also when the clock goes back."""

    def __init__(self, clock: Clock = system_clock) -> None:
        self._clock = clock
        self._start = secrets.randbits(form.START_BITS) << form.COUNT_BITS
        self._count = 0
        self._milliseconds = 0

    def take(self, rows: int) -> int:
        """The id of the first of some rows; those of the others follow."""
        now = int(self._clock().timestamp() * 1000)
        if now > self._milliseconds:
            self._milliseconds = now
        count = self._count
        self._count = count + rows
        return self._milliseconds << 80 | self._start | count


class PredictionLog:
    """All models' logs below a folder. One gateway at a time writes there."""

    def __init__(self, folder: Path, settings: LogSettings, clock: Clock = system_clock) -> None:
        self.folder = folder
        self.settings = settings
        self.models: dict[str, ModelLog] = {}
        self._ids = Ids(clock)
        self._writer = ThreadPoolExecutor(1, "prediction-log")
        self._flushing = asyncio.Lock()

    def add(
        self,
        place: Place,
        signature: Signature | None,
        asked: Request,
        reply: Reply,
        seconds: float,
        key: int | None,
        way: int,
    ) -> int:
        """Take a request with its answer; returns the id of its first row. Many parameters: it is called for each."""
        number = self._ids.take(reply.rows or 1)
        if signature is None:  # it was never ready
            return number
        log = self.models.get(place.model)
        if log is None:
            log = self.models[place.model] = ModelLog(self.folder / place.model, self.settings)
        log.add(number, place, signature, asked, reply, seconds, key, way)
        return number

    async def flush(self) -> list[str]:
        """Have all written that came until now; returns the models that have a segment to be compacted."""
        async with self._flushing:
            loop = asyncio.get_running_loop()
            batches = [(log, batch) for log in self.models.values() if (batch := log.take()) is not None]
            if batches:
                await loop.run_in_executor(self._writer, _write_all, batches)
            return [name for name, log in self.models.items() if log.has_closed()]

    def close(self) -> None:
        """Write what is left and close the segments."""
        self._writer.shutdown()
        for log in self.models.values():
            log.finish()


@dataclass(frozen=True)
class Batch:
    """What one flush writes. `described` are the parts that a new segment begins with, `new` those not told yet."""

    pieces: Sequence[bytes]
    count: int
    first: int  # id
    described: Sequence[bytes]
    new: Sequence[bytes]
    last: bool  # the segment ends with it


class _Known(NamedTuple):
    """A part that the segment describes."""

    number: int
    signature: Signature
    text: bytes


class ModelLog:
    """One model's. `records`, `dropped` (no room in memory), `lost` (not written) count since the gateway started."""

    def __init__(self, folder: Path, settings: LogSettings) -> None:
        self.records = self.dropped = self.lost = 0
        self._settings = settings
        self._pieces: list[bytes] = []
        self._pending = 0  # bytes that wait
        self._count = 0
        self._first = 0
        self._parts: dict[Place, _Known] = {}
        self._new: list[bytes] = []
        self._size = 0  # of the segment
        self._since = 0.0
        self._writing = 0  # bytes that are being written
        self._told_drops = 0
        self._numbers = 0
        self._writer = _Writer(folder)

    def add(
        self, number: int, place: Place, signature: Signature, asked: Request, reply: Reply, seconds: float,
        key: int | None, way: int,
    ) -> None:  # fmt: skip
        """Take a record, if there is room for it."""
        _, kind, head, body = asked
        said, rows = reply.body, reply.rows
        size = form.RECORD_SIZE + len(body) + len(said)
        if self._pending + self._writing + size > self._settings.max_pending:
            self.dropped += 1
            return
        known = self._parts.get(place)
        if known is None or known.signature is not signature:
            known = self._describe(place, signature)
        if not self._count:
            self._first = number
        numbers = form.pack(
            size - 4, known.number, form.way_of(way, key), kind, reply.status, rows or 1, head, len(body),
            number >> 64, number & 0xFFFF_FFFF_FFFF_FFFF, key or 0, seconds,
            reply.score_sum if rows == 1 and reply.bins else nan,
        )  # fmt: skip
        self._pieces += (numbers, body, said)
        self._pending += size
        self._count += 1

    def take(self) -> Batch | None:
        """What waits, to be written; None if that is nothing and the segment goes on."""
        now = time.monotonic()
        old = self._size > 0 and now - self._since > self._settings.segment_seconds
        if not self._count and not old:
            return None
        if not self._size:
            self._since = now
        self._size += self._pending
        last = old or self._size >= self._settings.segment_bytes
        described = [known.text for known in self._parts.values()]
        batch = Batch(self._pieces, self._count, self._first, described, self._new, last)
        self._writing = self._pending
        self._pieces, self._pending, self._count, self._new = [], 0, 0, []
        if last:
            self._parts, self._size = {}, 0
        return batch

    def write(self, batch: Batch) -> None:
        """Write and sync a batch, in the writer's thread. What cannot be written is lost, and told."""
        try:
            self._writer.write(batch)
            self.records += batch.count
        except OSError as error:
            self.lost += batch.count
            self._writer.tell(f"{batch.count} predictions could not be logged: {error.strerror}")
        self._writing = 0
        if self.dropped > self._told_drops:
            self._writer.tell(f"{self.dropped - self._told_drops} predictions were not logged: the disk is too slow")
            self._told_drops = self.dropped

    def has_closed(self) -> bool:
        """Whether a segment was closed since the last time."""
        closed, self._writer.closed = self._writer.closed, False
        return closed

    def finish(self) -> None:
        """Write what waits and close the segment."""
        batch = self.take()
        if batch is not None:
            self.write(batch)
        self._writer.end()

    def _describe(self, place: Place, signature: Signature) -> _Known:
        known = self._parts.get(place)
        if known is not None and known.signature == signature:  # its process was started anew
            known = known._replace(signature=signature)
        else:
            self._numbers = 0 if not self._parts else self._numbers + 1
            known = _Known(self._numbers, signature, form.describe(self._numbers, form.Part(*place, signature)))
            self._new.append(known.text)
        self._parts[place] = known
        return known


class _Writer:
    """The segment that is being written. It is locked as long as it is open, so that nobody compacts it."""

    def __init__(self, folder: Path) -> None:
        self.closed = False
        self._folder = folder
        self._file: int | None = None
        self._path = folder
        self._end = 0  # of what is whole
        self._told = -_TOLD_SECONDS

    def write(self, batch: Batch) -> None:
        """Append a block. Raises OSError; the block is not there then, and the next one begins a new segment."""
        try:
            if batch.count:
                texts = batch.new if self._file is not None else batch.described
                self._append(self._open(batch.first), b"".join((*texts, *batch.pieces)))
        except OSError:
            self.end()
            raise
        if batch.last:
            self.end()

    def end(self) -> None:
        """Close the segment; what is not whole is cut off, and a file with nothing in it goes."""
        if self._file is None:
            return
        file, self._file = self._file, None
        with suppress(OSError):
            os.ftruncate(file, self._end)
        if not self._end:
            for path in (self._path, self._path.with_suffix(NEW)):
                with suppress(OSError):
                    path.unlink()
        os.close(file)
        self.closed = True

    def tell(self, message: str) -> None:
        """A warning; not one for each flush."""
        if time.monotonic() - self._told > _TOLD_SECONDS:
            self._told = time.monotonic()
            _log.warning("%s: %s", self._folder.name, message)

    def _append(self, file: int, payload: bytes) -> None:
        head = form.block_head(payload)
        written = os.writev(file, (head, payload))
        if written != len(head) + len(payload):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.fsync(file)
        self._end += written

    def _open(self, first: int) -> int:
        if self._file is None:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._path = self._folder / f"{form.id_text(first)}{OPEN}"
            new = self._path.with_suffix(NEW)
            self._file = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
            self._end = 0
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            new.rename(self._path)  # only now it can be seen, locked
            sync(self._folder)
        return self._file


def sync(path: Path) -> None:
    """Bring a file, or a folder's list of names, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_all(batches: Iterable[tuple[ModelLog, Batch]]) -> None:
    for log, batch in batches:
        log.write(batch)
