"""What keeps the prediction log beside the gateway's event loop: regular flushes, and two kinds of children.

One child takes feedback: it looks predictions up and counts, which would hold the loop up. It is started by the first
feedback and again when it died. Others, one at a time, compact closed segments and delete old ones; each ends when it
is done, with the memory that Parquet took.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sqlite3
import struct
import sys
from contextlib import suppress
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from engine.clock import Clock, system_clock
from engine.serving.prediction_log import PredictionLog
from engine.serving.settings import LogSettings

_ASKED = struct.Struct("<IIBd")  # lengths of the model's name and of the body; whether it is the last try; the time
_SAID = struct.Struct("<HI")  # status (0: ask again after a flush), length
_TAKE, _TIDY = "take", "tidy"
_MOST_WAITING = 16
_DEADLINE_SECONDS = 30.0
_TIDY_SECONDS = 3600.0
_log = logging.getLogger("engine.serving")


class Answer(NamedTuple):
    """To feedback. `right`: (version, role, labelled, correct) of what was accepted."""

    status: int
    body: bytes
    right: list[tuple[int, str, int, int]]


class Keeper:
    """`log.add` takes predictions, `take` takes feedback, `run` goes on until it is cancelled, `close` writes all."""

    def __init__(self, folder: Path, settings: LogSettings, clock: Clock = system_clock) -> None:
        self.log = PredictionLog(folder / "log", settings, clock)
        self._clock = clock
        self._folder = folder
        self._settings = settings
        self._clerk: asyncio.subprocess.Process | None = None
        self._asking = asyncio.Lock()
        self._waiting = 0
        self._closed: set[str] = set()  # models with a segment to be compacted

    async def run(self) -> None:
        """Flush, and have closed segments compacted."""
        loop = asyncio.get_running_loop()
        tidying = loop.create_task(self._tidy(self._names()))
        due = loop.time() + _TIDY_SECONDS
        try:
            while True:
                await asyncio.sleep(self._settings.flush_seconds)
                self._closed.update(await self.log.flush())
                if loop.time() > due:
                    due = loop.time() + _TIDY_SECONDS
                    self._closed.update(self._names())
                if self._closed and tidying.done():
                    tidying = loop.create_task(self._tidy(sorted(self._closed)))
                    self._closed = set()
        finally:
            tidying.cancel()
            with suppress(asyncio.CancelledError):
                await tidying

    async def take(self, model: str, body: bytes) -> Answer:
        """Take the body of a feedback request."""
        if self._waiting >= _MOST_WAITING:
            return _failure(429, "too much feedback at once")
        self._waiting += 1
        try:
            async with self._asking:
                status, text = await asyncio.wait_for(self._ask(model, body, last=False), _DEADLINE_SECONDS)
                if status == 0:
                    self._closed.update(await self.log.flush())
                    status, text = await asyncio.wait_for(self._ask(model, body, last=True), _DEADLINE_SECONDS)
        except (OSError, asyncio.IncompleteReadError, TimeoutError, asyncio.TimeoutError):
            await self._end_clerk()
            return _failure(503, "feedback cannot be taken now")
        finally:
            self._waiting -= 1
        document = json.loads(text)
        return Answer(status, json.dumps(document["answer"]).encode(), [tuple(each) for each in document["right"]])

    async def close(self) -> None:
        """End the clerk, write what is left."""
        await self._end_clerk()
        await self.log.flush()
        await asyncio.get_running_loop().run_in_executor(None, self.log.close)

    def _names(self) -> list[str]:
        with suppress(OSError):
            return sorted(path.name for path in self.log.folder.iterdir() if path.is_dir())
        return []

    # ── children ───────────────────────────────────────────────────────────────────────────────────────────────

    async def _ask(self, model: str, body: bytes, *, last: bool) -> tuple[int, bytes]:
        if self._clerk is None or self._clerk.returncode is not None:
            self._clerk = await self._start(_TAKE)
        clerk, name = self._clerk, model.encode()
        assert clerk.stdin is not None
        assert clerk.stdout is not None
        clerk.stdin.write(_ASKED.pack(len(name), len(body), last, self._clock().timestamp()) + name + body)
        await clerk.stdin.drain()
        status, size = _SAID.unpack(await clerk.stdout.readexactly(_SAID.size))
        return status, await clerk.stdout.readexactly(size)

    async def _end_clerk(self) -> None:
        clerk, self._clerk = self._clerk, None
        if clerk is not None:
            with suppress(ProcessLookupError):
                clerk.kill()
            await clerk.wait()

    async def _tidy(self, models: list[str]) -> None:
        """Compact and delete, in a child."""
        if not models:
            return
        try:
            process = await self._start(_TIDY, json.dumps(asdict(self._settings)), *models)
        except OSError as error:
            _log.warning("The prediction log cannot be compacted now: %s", error.strerror)
            return
        try:
            if await process.wait():
                _log.warning("The prediction log could not be compacted; it stays as it is, and is tried again")
        except asyncio.CancelledError:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()
            raise

    async def _start(self, task: str, *more: str) -> asyncio.subprocess.Process:
        pipe = asyncio.subprocess.PIPE if task == _TAKE else asyncio.subprocess.DEVNULL
        return await asyncio.create_subprocess_exec(
            sys.executable, "-m", __name__, task, str(self._folder.absolute()), *more,
            stdin=pipe, stdout=pipe, cwd="/", start_new_session=True,
        )  # fmt: skip


def _failure(status: int, message: str) -> Answer:
    return Answer(status, json.dumps({"error": message}).encode(), [])


# ── in a child ───────────────────────────────────────────────────────────────────────────────────────────────


def main(argv: list[str]) -> int:
    """`argv`: the task, the gateway's folder; to tidy also the settings and the models."""
    task, folder, *more = argv
    if task == _TAKE:
        with suppress(BrokenPipeError):
            _serve(Path(folder), sys.stdin.buffer, sys.stdout.buffer)
        return 0
    from engine.serving.prediction_log_files import tidy

    os.nice(19)
    with suppress(OSError, AttributeError):
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))  # only what predictions leave over
    settings, failed = LogSettings(**json.loads(more[0])), False
    for model in more[1:]:
        try:
            tidy(Path(folder), model, settings)
        except (OSError, sqlite3.Error) as error:
            failed = True
            print(f"{model}: {error}", file=sys.stderr)
    return int(failed)


def _serve(folder: Path, asked: BinaryIO, said: BinaryIO) -> None:
    """Take feedback until the gateway is gone."""
    from engine.serving.feedback import Desk

    desks: dict[str, Desk] = {}
    now = 0.0

    def clock() -> datetime:
        return datetime.fromtimestamp(now, timezone.utc)

    while head := asked.read(_ASKED.size):
        name, size, last, now = _ASKED.unpack(head)
        model, body = asked.read(name).decode(), asked.read(size)
        if model not in desks:
            desks[model] = Desk(folder, model, clock)
        status, document = _take(desks[model], body, last=bool(last))
        text = json.dumps(document).encode()
        said.write(_SAID.pack(status, len(text)) + text)
        said.flush()


def _take(desk: Any, body: bytes, *, last: bool) -> tuple[int, dict[str, Any]]:
    from engine.serving.feedback import take

    try:
        status, answer, taken = take(desk, body, last=last)
    except (OSError, sqlite3.Error) as error:
        print(f"Feedback could not be kept: {error}", file=sys.stderr)
        return 503, {"answer": {"error": "the feedback could not be kept"}, "right": []}
    right = [] if taken is None else [[*key, *counts] for key, counts in taken.right.items()]
    return status, {"answer": answer, "right": right}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
