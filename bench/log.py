"""The prediction log: what a record costs the event loop and the disk, in the ways that it could be kept.

Made-up requests of one row with 20 columns. The event loop's share is processor time of `add` alone; the rest is what
a thread or another process does: writing and syncing a flush of 2,000 records, and compacting a segment.
"""

from __future__ import annotations

import asyncio
import json
import random
import sqlite3
import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bench.options import Options
from bench.report import Report
from engine.serving.counting import Part
from engine.serving.prediction_log import LogSettings, PredictionLog
from engine.serving.prediction_log_files import segments, tidy
from engine.serving.signature import Signature
from engine.serving.wire import OWN, Reply, Request

RECORDS, FLUSH = 20_000, 2_000
NUMBERS, WORDS = 14, 6
PLACE = Part("churn", 7, 3, "candidate", 0.25)
SIGNATURE = Signature(
    (*((f"number_{n}", "numeric") for n in range(NUMBERS)), *((f"word_{n}", "categorical") for n in range(WORDS))),
    ("no", "yes"),
    "yes",
)
Asked = tuple[Request, Reply]


def run(options: Options, records: int = RECORDS) -> Report:
    """All of it."""
    report = Report("log")
    requests = _requests(records)
    raw = statistics.mean(len(asked.body) + len(reply.body) for asked, reply in requests)
    with TemporaryDirectory(dir=options.home) as name:
        folder = Path(name)
        ours = [asyncio.run(_ours(folder / str(turn), requests)) for turn in range(3)]
        loop, flush = (statistics.median(each[place] for each in ours) for place in (0, 1))
        report.compare("segments: event loop, for a record", loop, 5.0, "µs")
        report.compare("segments: written and synced, for a record", flush, unit="µs")
        report.compare("segments: bytes for a record", _size(folder / "0" / "log" / "churn") / records, unit="B")
        tidy(folder / "1", "churn", LogSettings())  # imports
        seconds = _seconds(lambda: tidy(folder / "0", "churn", LogSettings()))
        report.compare("Parquet, compacted by a child: for a record", seconds / records * 1e6, unit="µs")
        report.compare("Parquet: bytes for a record", _size(folder / "0" / "log" / "churn") / records, unit="B")
        for what, write in (("JSON lines", _json_lines), ("SQLite", _sqlite), ("Parquet at once", _parquet)):
            (folder / what).mkdir()
            seconds = _seconds(lambda: write(folder / what, requests))  # noqa: B023 - called at once
            report.compare(f"{what}: taken apart and written", seconds / records * 1e6, unit="µs")
            report.compare(f"{what}: bytes for a record", _size(folder / what) / records, unit="B")
    report.notes.append(f"{records:,} records, {raw:,.0f} bytes of payload and answer each, {FLUSH:,} in a flush.")
    return report


def _requests(records: int) -> list[Asked]:
    draw = random.Random(1)
    found = []
    for _ in range(records):
        row: dict[str, Any] = {f"number_{n}": round(draw.gauss(0, 100), 3) for n in range(NUMBERS)}
        row |= {f"word_{n}": f"category {draw.randrange(12)}" for n in range(WORDS)}
        share = draw.random()
        label = "yes" if share > 0.5 else "no"
        said = f'"predictions":["{label}"],"probabilities":[{{"no":{1 - share!r},"yes":{share!r}}}]'
        body = json.dumps({"instances": [row]}).encode()
        found.append((Request(0, OWN, 0, body), Reply(0, 200, 1, share, share * share, b"\x07", said.encode())))
    return found


async def _ours(folder: Path, requests: Sequence[Asked]) -> tuple[float, float]:
    """Microseconds for a record: of the event loop, and of the flushes."""
    log = PredictionLog(folder / "log", LogSettings())
    adding = flushing = 0.0
    for start in range(0, len(requests), FLUSH):
        some = requests[start : start + FLUSH]
        begun = time.process_time()
        for asked, reply in some:
            log.add(PLACE, SIGNATURE, asked, reply, 0.001, 12345, 0)
        adding += time.process_time() - begun
        begun = time.perf_counter()
        await log.flush()
        flushing += time.perf_counter() - begun
    log.close()
    return adding / len(requests) * 1e6, flushing / len(requests) * 1e6


def _rows(requests: Sequence[Asked]) -> list[tuple[Any, ...]]:
    """As a log of plain rows needs them: taken apart while requests wait."""
    rows = []
    for number, (asked, reply) in enumerate(requests):
        said = json.loads(b"{%s}" % reply.body)
        features = json.dumps(json.loads(asked.body)["instances"][0])
        id_ = f"{time.time_ns() // 1_000_000:012x}{number:020x}"
        rows.append((id_, *PLACE[1:], 12345, 0.001, features, said["predictions"][0], reply.score_sum))
    return rows


def _flushes(requests: Sequence[Asked]) -> list[Sequence[Asked]]:
    return [requests[start : start + FLUSH] for start in range(0, len(requests), FLUSH)]


def _json_lines(folder: Path, requests: Sequence[Asked]) -> None:
    import os

    with (folder / "log").open("ab") as file:
        for some in _flushes(requests):
            file.write(b"".join(json.dumps(row).encode() + b"\n" for row in _rows(some)))
            file.flush()
            os.fsync(file.fileno())


def _sqlite(folder: Path, requests: Sequence[Asked]) -> None:
    with closing(sqlite3.connect(folder / "log")) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(
            "CREATE TABLE log (id TEXT PRIMARY KEY, generation, version, role, weight, key, latency, features, label, "
            "score) WITHOUT ROWID"
        )
        for some in _flushes(requests):
            with connection:
                connection.executemany("INSERT INTO log VALUES (?,?,?,?,?,?,?,?,?,?)", _rows(some))
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def _parquet(folder: Path, requests: Sequence[Asked]) -> None:
    import os

    import pyarrow as pa
    import pyarrow.parquet as pq

    names = ("id", "generation", "version", "role", "weight", "key", "latency", "features", "label", "score")
    for number, some in enumerate(_flushes(requests)):  # a Parquet file has no end to write on at: one for each flush
        columns = dict(zip(names, map(list, zip(*_rows(some), strict=True)), strict=True))
        path = folder / f"{number}.parquet"
        pq.write_table(pa.table(columns), path, compression="zstd")
        with path.open("rb") as file:
            os.fsync(file.fileno())


def _seconds(work: Callable[[], None]) -> float:
    begun = time.process_time()
    work()
    return time.process_time() - begun


def _size(folder: Path) -> int:
    found = segments(folder)
    paths = [segment.path for segment in found] if found else list(folder.iterdir())
    return sum(path.stat().st_size for path in paths)
