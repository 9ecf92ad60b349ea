"""The prediction log on a disk: what is read is what was added, whatever tears, dies, fills up or grows old."""

from __future__ import annotations

import json
import multiprocessing
import os
import resource
import signal
import subprocess
import sys
import time
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from logged import CANDIDATE, CLASSES, NUMBERS, STABLE, Writer, asked, files, read, said

from engine.serving.prediction_log import Ids
from engine.serving.prediction_log_files import tidy
from engine.serving.prediction_log_format import FELL_BACK, count_of, id_number, id_text, time_of
from engine.serving.prediction_log_lookup import Lookup
from engine.serving.settings import LogSettings
from engine.serving.wire import MLFLOW, OPEN_INFERENCE, Reply, Request
from engine.testing.state_contract import FakeClock

SETTINGS = LogSettings()
LONG_AGO = time.time() - 10 * 86400


# ── what is kept ─────────────────────────────────────────────────────────────────────────────────────────────


def test_a_prediction_is_read_as_it_was_made(tmp_path: Path) -> None:
    writer = Writer(tmp_path)
    before = datetime.now(timezone.utc) - timedelta(milliseconds=1)
    id_ = writer.add(months=5, key=0xABC)
    writer.close()
    (row,) = read(tmp_path)
    assert (row.id, row.model, row.generation, row.version, row.role, row.weight) == (
        id_,
        *STABLE[:1],
        7,
        3,
        "stable",
        0.25,
    )
    assert (row.key, row.latency, row.way, row.error, row.actual) == (f"{0xABC:016x}", 0.004, "assigned", None, None)
    assert row.features == {"months": 5, "plan": "ä"}
    assert (row.prediction, row.score) == ("yes", 0.75)
    assert before <= datetime.fromisoformat(row.at.replace("Z", "+00:00")) <= datetime.now(timezone.utc)


def test_every_form_of_payload_and_answer_is_read(tmp_path: Path) -> None:
    writer = Writer(tmp_path)
    one, two = [{"months": n, "plan": None} for n in (1, 2)]
    shares = b'"predictions":["no","yes"],"probabilities":[{"no":0.9,"yes":0.1},{"no":0.2,"yes":0.8}]'
    tensors = (
        b'"outputs":[{"name":"predict","datatype":"BYTES","shape":[2],"data":["no","yes"]},'
        b'{"name":"predict_proba","datatype":"FP64","shape":[2,2],"data":[0.9,0.1,0.2,0.8]}]'
    )
    split = {"dataframe_split": {"columns": ["plan", "months"], "data": [[None, 1], [None, 2]]}}
    inputs = [
        {"name": "months", "datatype": "FP64", "shape": [2], "data": [1, 2]},
        {"name": "plan", "datatype": "BYTES", "shape": [2], "data": [None, None]},
    ]
    forms: list[tuple[int, Any, bytes]] = [
        (0, {"instances": [one, {**two, "customer": 17}]}, shares),
        (MLFLOW, {"dataframe_records": [one, two]}, shares),
        (MLFLOW, split, shares),
        (MLFLOW, {"inputs": {"months": [1, 2], "plan": [None, None]}}, shares),
        (OPEN_INFERENCE, {"inputs": inputs}, tensors),
    ]
    for form, document, text in forms:
        reply = Reply(0, 200, 2, 0.9, 0.65, b"\x02\x10", text)
        writer.add(asked=Request(0, form, 0, json.dumps(document).encode()), reply=reply)
    writer.add(asked=Request(0, 0, 0, json.dumps(one).encode()), reply=said("no", 0.25))
    writer.close()
    rows = read(tmp_path)
    expected = [({"months": 1, "plan": None}, "no", 0.1), ({"months": 2, "plan": None}, "yes", 0.8)]
    assert [(row.features, row.prediction, row.score) for row in rows] == [*expected * 5, (one, "no", 0.25)]
    assert len({row.id for row in rows}) == 11
    tidy(tmp_path, "churn", SETTINGS)
    assert read(tmp_path) == rows


def test_failures_and_numbers_are_kept_too(tmp_path: Path) -> None:
    writer = Writer(tmp_path)
    writer.add(place=CANDIDATE, reply=Reply(0, 500, 0, 0.0, 0.0, b"", b'{"error":"the model failed"}'))
    writer.add(way=FELL_BACK)
    value = Reply(0, 200, 1, 12.5, 156.25, b"\x01", b'"predictions":[12.5]')
    writer.add(signature=NUMBERS, place=STABLE._replace(version=9), asked=asked(), reply=value)
    writer.close()
    failed, fallback, number = rows = read(tmp_path)
    assert (failed.prediction, failed.score, failed.error, failed.role) == (None, None, "the model failed", "candidate")
    assert failed.features == {"months": 3, "plan": "ä"}
    assert (fallback.way, fallback.error, fallback.prediction) == ("fallback", None, "yes")
    assert (number.prediction, number.score, number.version) == (12.5, 12.5, 9)
    tidy(tmp_path, "churn", SETTINGS)
    assert read(tmp_path) == rows


def test_ids_grow_also_when_the_clock_goes_back() -> None:
    clock = FakeClock(datetime.fromtimestamp(1_800_000_000, timezone.utc))
    ids = Ids(clock)
    first = ids.take(3)
    clock.advance(-3600)
    second = ids.take(1)
    assert second > first + 2
    assert time_of(first).timestamp() == 1_800_000_000
    assert count_of(second) == 3
    assert id_number(id_text(first)) == first
    assert [id_number(text) for text in ("", "x" * 32, "A" * 32, "1" * 31, "１" * 32, "1_" * 16)] == [None] * 6


def test_moments_limits_and_order(tmp_path: Path) -> None:
    ids = []
    begin = datetime.fromtimestamp(1_800_000_000, timezone.utc)
    clock = FakeClock(begin)
    for hour in (1, 2, 3):
        clock.advance(3600)
        writer = Writer(tmp_path, clock=clock)
        ids += writer.fill(4)
        writer.close()
        os.utime(files(tmp_path)[-1], (0, 1_800_000_000 + hour * 3600 + 1))

    def found(**limits: Any) -> list[str]:
        return [row.id for row in read(tmp_path, **limits)]

    for _ in range(2):
        assert found() == ids
        assert found(newest_first=True) == ids[::-1]
        assert found(limit=5) == ids[:5]
        assert found(limit=5, newest_first=True) == ids[::-1][:5]
        assert found(since=begin + timedelta(hours=2)) == ids[4:]
        assert found(since=begin + timedelta(hours=2, seconds=1)) == ids[8:]
        assert found(until=begin + timedelta(hours=2)) == ids[:4]
        assert found(since=begin + timedelta(hours=1.5), until=begin + timedelta(hours=2.5), limit=3) == ids[4:7]
        tidy(tmp_path, "churn", replace(SETTINGS, keep_seconds=1e9))
    assert {path.suffix for path in files(tmp_path)} == {".parquet"}


# ── what tears and dies ──────────────────────────────────────────────────────────────────────────────────────


def test_a_torn_tail_is_dropped_wherever_it_is_torn(tmp_path: Path) -> None:
    writer = Writer(tmp_path)
    ids = writer.fill(2)
    (path,) = files(tmp_path)
    whole = path.stat().st_size
    ids += writer.fill(1)
    writer.close()
    data = path.read_bytes()
    for end in range(whole, len(data)):
        path.write_bytes(data[:end])
        assert [row.id for row in read(tmp_path)] == ids[:2]
    for place in range(whole, len(data)):
        path.write_bytes(data[:place] + bytes([data[place] ^ 0x55]) + data[place + 1 :])
        assert [row.id for row in read(tmp_path)] == ids[:2]
    path.write_bytes(data)
    assert [row.id for row in read(tmp_path)] == ids


_WRITE = """
import sys
from pathlib import Path
from logged import Writer
writer = Writer(Path(sys.argv[1]))
while True:
    print(*writer.fill(50), flush=True)
"""


def test_what_was_flushed_outlives_a_killed_writer(tmp_path: Path) -> None:
    argv = [sys.executable, "-c", _WRITE, str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        told = [process.stdout.readline().split() for _ in range(5)]
        tidy(tmp_path, "churn", SETTINGS)  # its segment is not touched while it lives
        assert {path.suffix for path in files(tmp_path)} == {".log"}
        process.kill()
        told += [line.split() for line in process.stdout if line.endswith("\n")]
    flushed = [id_ for line in told for id_ in line if len(line) == 50]
    rows = read(tmp_path)
    assert [row.id for row in rows][: len(flushed)] == flushed
    assert len(rows) - len(flushed) in (0, 50)
    tidy(tmp_path, "churn", SETTINGS)
    assert {path.suffix for path in files(tmp_path)} == {".parquet"}
    assert read(tmp_path) == rows


def _tidy_until(call: int, folder: Path) -> None:
    """Compact, and die before the n-th call that changes the disk."""
    left = call

    def dying(function: Any) -> Any:
        def stand_in(*arguments: Any, **named: Any) -> Any:
            nonlocal left
            left -= 1
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*arguments, **named)

        return stand_in

    os.fsync, os.utime = dying(os.fsync), dying(os.utime)
    Path.replace, Path.unlink = dying(Path.replace), dying(Path.unlink)  # type: ignore[method-assign]
    tidy(folder, "churn", SETTINGS)
    os._exit(0)


def test_compacting_can_be_killed_anywhere_and_repeated(tmp_path: Path) -> None:
    import pyarrow.parquet  # noqa: F401 - once, not in each child

    died, call = True, 0
    while died:
        folder = tmp_path / str(call)
        for _ in range(2):
            writer = Writer(folder)
            writer.fill(3)
            writer.close()
        rows = read(folder)
        child = multiprocessing.get_context("fork").Process(target=_tidy_until, args=(call, folder))
        child.start()
        child.join()
        died, call = child.exitcode == -signal.SIGKILL, call + 1
        assert read(folder) == rows
        tidy(folder, "churn", SETTINGS)
        assert read(folder) == rows
        assert [path.suffix for path in files(folder)] == [".parquet"] * 2
        tidy(folder, "churn", SETTINGS)
        assert read(folder) == rows
    assert child.exitcode == 0
    assert call > 10


def test_reading_goes_on_while_segments_are_compacted(tmp_path: Path) -> None:
    for _ in range(3):
        writer = Writer(tmp_path)
        writer.fill(2)
        writer.close()
    from engine.serving.prediction_log_files import read_log

    rows = read_log(tmp_path, "churn")
    first = next(rows)
    tidy(tmp_path, "churn", SETTINGS)
    assert [first, *rows] == read(tmp_path)


# ── what fills up and grows old ──────────────────────────────────────────────────────────────────────────────


def test_a_full_disk_loses_records_and_nothing_else(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    writer = Writer(tmp_path)
    kept = writer.fill(10)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    (path,) = files(tmp_path)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size - 50, limits[1]))  # a new one ends in a block
    try:
        writer.fill(10, blocks=3)
        log = writer.log.models["churn"]
        assert (log.records, log.lost) == (10, 30)
        assert [row.id for row in read(tmp_path)] == kept
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    kept += writer.fill(10)  # once there is room again
    writer.close()
    assert [row.id for row in read(tmp_path)] == kept
    assert len(files(tmp_path)) == 2
    assert caplog.messages == ["churn: 10 predictions could not be logged: File too large"]  # not one for each flush


def test_memory_is_bounded_while_nothing_is_written(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    writer = Writer(tmp_path, replace(SETTINGS, max_pending=10_000))
    ids = [writer.add() for _ in range(200)]
    log = writer.log.models["churn"]
    assert 120 < log.dropped < 170
    writer.flush()
    ids.append(writer.add())
    writer.close()
    assert [row.id for row in read(tmp_path)] == [*ids[: 200 - log.dropped], ids[-1]]
    assert log.records == 201 - log.dropped
    assert caplog.messages == [f"churn: {log.dropped} predictions were not logged: the disk is too slow"]


def test_segments_end_by_size_and_by_age(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    writer = Writer(tmp_path, replace(SETTINGS, segment_bytes=2000, segment_seconds=60))
    ids = writer.fill(5, blocks=6)
    assert len(files(tmp_path)) == 2
    ids += writer.fill(5)
    assert len(files(tmp_path)) == 3
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now + 61)
    writer.flush()  # nothing new, but it is old
    tidy(tmp_path, "churn", SETTINGS)
    assert [path.suffix for path in files(tmp_path)] == [".parquet"] * 3
    ids += writer.fill(5)
    writer.close()
    assert [row.id for row in read(tmp_path)] == ids


def test_what_is_too_old_or_too_much_goes_oldest_first(tmp_path: Path) -> None:
    ids = []
    for _ in range(4):
        writer = Writer(tmp_path)
        ids += writer.fill(3)
        writer.close()
        time.sleep(0.002)  # ids of several writers sort by the millisecond
    tidy(tmp_path, "churn", SETTINGS)
    paths = files(tmp_path)
    os.utime(paths[0], (LONG_AGO, LONG_AGO))
    tidy(tmp_path, "churn", replace(SETTINGS, keep_seconds=9 * 86400))
    assert [row.id for row in read(tmp_path)] == ids[3:]
    tidy(tmp_path, "churn", replace(SETTINGS, keep_bytes=sum(path.stat().st_size for path in paths[2:])))
    assert [row.id for row in read(tmp_path)] == ids[6:]
    writer = Writer(tmp_path)
    living = writer.fill(3)
    tidy(tmp_path, "churn", replace(SETTINGS, keep_bytes=0))
    assert [row.id for row in read(tmp_path)] == living  # what is being written stays
    writer.close()


def test_an_age_that_is_read_survives_compacting(tmp_path: Path) -> None:
    writer = Writer(tmp_path)
    writer.fill(1)
    writer.close()
    (path,) = files(tmp_path)
    os.utime(path, (LONG_AGO, LONG_AGO))
    tidy(tmp_path, "churn", SETTINGS)
    assert files(tmp_path)[0].stat().st_mtime == pytest.approx(LONG_AGO)


# ── lookup ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_predictions_are_found_by_their_ids(tmp_path: Path) -> None:
    writer = Writer(tmp_path)
    lookup = Lookup(tmp_path / "log" / "churn")
    assert lookup.find(["0" * 32]) == {}
    ids = writer.fill(5, blocks=3)
    assert lookup.find(ids).keys() == set(ids)
    two = Reply(0, 200, 2, 0.9, 0.65, b"", b'"predictions":["no","yes"]')
    first = writer.add(place=CANDIDATE, reply=two)
    writer.add(reply=Reply(0, 500, 0, 0.0, 0.0, b"", b'{"error":"failed"}'))
    assert first not in lookup.find([first])  # not written yet
    writer.flush()
    second = id_text(int(first, 16) + 1)
    for _ in range(2):
        found = lookup.find([*ids, first, second])
        assert [found[id_].prediction for id_ in (first, second)] == ["no", "yes"]
        assert found[second].part.role == "candidate"
        assert found[ids[0]].part.signature == CLASSES
        strangers = [id_text(int(second, 16) + 1), id_text(int(first, 16) + (1 << 80)), "f" * 32, "0" * 32, "no id"]
        assert lookup.find(strangers) == {}
        writer.close()
        tidy(tmp_path, "churn", SETTINGS)
        assert [path.suffix for path in files(tmp_path)] == [".parquet"]
    lookup.close()
