"""The model processes of one release: what waits goes to an idle process in one batch; who dies or hangs is replaced.

Everything happens in the event loop's thread. A job is answered exactly once, through its callback, with a reply of
the model or one of ours: 503 (no process in time), 504 (no answer in time), 500 (it killed its process twice).
"""

from __future__ import annotations

import asyncio
import json
from collections import deque
from collections.abc import Callable, Mapping
from time import monotonic
from typing import Any, cast

from engine.serving.children import Template
from engine.serving.concurrency import ConcurrencyLimit
from engine.serving.files import ModelFiles
from engine.serving.settings import Settings
from engine.serving.signature import Signature
from engine.serving.wire import HELLO, Hello, Replies, Reply, request_frame

LOADING, READY, FAILED, DRAINING = "loading", "ready", "failed", "draining"

_BATCH_BYTES = 4 << 20
_BATCH_JOBS = 256
_SWEEP_SECONDS = 0.05
_LOAD_SECONDS = 120.0
_BACKOFF = (0.0, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)  # seconds before the n-th start in a row that came to nothing
_AGAIN_SECONDS = 0.1  # before the next start when the process had been ready only a moment
_HEALTHY_SECONDS = 1.0  # after which it is started at once
_DEATHS = 2  # of processes that had this job alone


class Job:
    """A payload on its way. `done` is called once, with the reply."""

    __slots__ = ("alone", "body", "deadline", "deaths", "done", "form", "head")

    def __init__(self, form: int, head: int, body: bytes, deadline: float, done: Callable[[Reply], None]) -> None:
        self.form = form
        self.head = head
        self.body = body
        self.deadline = deadline
        self.done: Callable[[Reply], None] | None = done
        self.alone = False
        self.deaths = 0

    def finish(self, reply: Reply) -> None:
        """Answer it, if that was not done yet."""
        done, self.done = self.done, None
        if done is not None:
            done(reply)


class Pool:
    """See the module. `on_change` is called when `state` changes."""

    def __init__(
        self, files: ModelFiles, template: Template, settings: Settings, on_change: Callable[[], None]
    ) -> None:
        self._files = files
        self._template = template
        self._settings = settings
        self._on_change = on_change
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[Job] = deque()
        self._workers = [_Worker(self) for _ in range(settings.processes)]
        self._scheduled = False
        self.limit = ConcurrencyLimit(settings.max_in_flight, settings.processes)
        self.ready_since = 0.0
        self.closed = False
        self.state = LOADING
        self.reason = ""
        self.golden = "none"
        self.path = ""  # which implementation answers
        self.signature: Signature | None = None
        for worker in self._workers:
            worker.start()
        self._sweeper = self._loop.call_later(_SWEEP_SECONDS, self._sweep)

    @property
    def busy(self) -> bool:
        """Whether anything waits or is being answered."""
        return bool(self._waiting) or any(worker.jobs for worker in self._workers)

    @property
    def has_room(self) -> bool:
        """Whether one more request may come. While no process is ready nothing is known but the ceiling."""
        limit = self.limit
        return limit.has_room if self.state == READY else limit.in_flight < limit.ceiling

    @property
    def waiting(self) -> int:
        """How many jobs no process has taken yet."""
        return len(self._waiting)

    @property
    def pids(self) -> list[int]:
        """The model processes that live."""
        return [worker.pid for worker in self._workers if worker.pid]

    def submit(self, job: Job) -> None:
        """Have a job answered."""
        self._waiting.append(job)
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._dispatch)

    def drain(self) -> None:
        """Take no part in anything new; `close` when it is not busy any more."""
        self._set(DRAINING, "")

    def close(self) -> None:
        """End the processes. What still waits is answered with 503."""
        self.closed = True
        self._sweeper.cancel()
        for worker in self._workers:
            worker.end()
        for job in self._waiting:
            job.finish(_failure(503, "the release is not served any more"))
        self._waiting.clear()

    # ── workers ────────────────────────────────────────────────────────────────────────────────────────────────

    def spawn(self) -> tuple[int, Any]:
        """A process for a worker."""
        return self._template.spawn({**self._files.to_request(), "memory": self._settings.memory})

    def kill(self, number: int) -> None:
        """End a worker's process."""
        self._template.kill(number)

    def greeted(self, hello: Hello) -> None:
        """A worker's process has loaded the model, or could not."""
        self.golden, self.path = hello.golden, hello.path
        if hello.reason:
            if not any(worker.idle or worker.jobs for worker in self._workers):
                self._set(FAILED, hello.reason)
            return
        assert hello.signature is not None
        self.signature = Signature.from_json(hello.signature)
        self._set(READY, "")
        self.idle()

    def idle(self) -> None:
        """A worker can take a batch."""
        if self._waiting:
            self._dispatch()

    def died(self, jobs: Mapping[int, Job]) -> None:
        """A worker's process is gone, and left these jobs unanswered."""
        for job in reversed(list(jobs.values())):
            if job.done is None:
                continue
            job.deaths += len(jobs) == 1
            if job.deaths >= _DEATHS:
                job.finish(_failure(500, "the model's process died"))
            else:
                job.alone = True  # it may be the one that kills
                self._waiting.appendleft(job)
        if not self.closed and self.state == READY and not any(worker.ready for worker in self._workers):
            self._set(LOADING, "its process died")
        if self._waiting:
            self._dispatch()

    def _set(self, state: str, reason: str) -> None:
        if self.state == DRAINING or (state, reason) == (self.state, self.reason):
            return
        self.state, self.reason = state, reason
        if state == READY:
            self.ready_since = monotonic()
        self._on_change()

    # ── batches ────────────────────────────────────────────────────────────────────────────────────────────────

    def _dispatch(self) -> None:
        self._scheduled = False
        for worker in self._workers:
            if not self._waiting:
                return
            if worker.idle:
                worker.send(self._batch())

    def _batch(self) -> list[Job]:
        waiting, size = self._waiting, 0
        batch: list[Job] = []
        while waiting and len(batch) < _BATCH_JOBS and size < _BATCH_BYTES:
            job = waiting[0]
            if job.alone and batch:
                break
            waiting.popleft()
            if job.done is None:
                continue
            batch.append(job)
            size += len(job.body)
            if job.alone:
                break
        return batch

    def _sweep(self) -> None:
        self._sweeper = self._loop.call_later(_SWEEP_SECONDS, self._sweep)
        now = monotonic()
        for worker in self._workers:
            worker.check(now)
        if any(job.deadline <= now for job in self._waiting):
            late = [job for job in self._waiting if job.deadline <= now]
            self._waiting = deque(job for job in self._waiting if job.deadline > now)
            status, text = (504, "no answer in time") if self.state == READY else (503, "the model is not ready")
            for job in late:
                job.finish(_failure(status, text))


class _Worker(asyncio.Protocol):
    """One model process: at most one batch at a time is with it."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._loop = asyncio.get_running_loop()
        self._replies = Replies()
        self._transport: asyncio.Transport | None = None
        self._number = 0
        self._failures = 0  # starts in a row after which it was never ready
        self._since = 0.0  # when it was started, or when its batch was sent
        self._ready_since: float | None = None
        self._ended = False
        self._numbers = 0
        self.ready = False
        self.pid = 0
        self.jobs: dict[int, Job] = {}

    @property
    def idle(self) -> bool:
        """Whether it can take a batch now."""
        return self.ready and not self.jobs

    def start(self, delay: float = 0.0) -> None:
        """Start a process."""
        self._loop.call_later(delay, self._start)

    def _start_again(self) -> None:
        """Who was ready is replaced at once, however often it dies: requests wait. Who cannot be had is tried later."""
        if self._ready_since is not None:
            self._failures = 0
            lived = monotonic() - self._ready_since
            self.start(0.0 if lived > _HEALTHY_SECONDS else _AGAIN_SECONDS)
        else:
            self._failures += 1
            self.start(_BACKOFF[min(self._failures, len(_BACKOFF) - 1)])

    def _start(self) -> None:
        if not self._ended:
            self._task = self._loop.create_task(self._connect())

    async def _connect(self) -> None:
        self._replies, self._ready_since = Replies(), None
        self._since = monotonic()
        try:
            self._number, channel = await self._loop.run_in_executor(None, self._pool.spawn)
        except OSError:
            self._start_again()
            return
        await self._loop.create_connection(lambda: self, sock=channel)

    def send(self, batch: list[Job]) -> None:
        """Give it a batch."""
        if not batch:
            return
        assert self._transport is not None
        self._since = monotonic()
        frames = []
        for job in batch:
            self._numbers = self._numbers % 0xFFFF_FFF0 + 1
            self.jobs[self._numbers] = job
            frames.append(request_frame(self._numbers, job.form, job.head, job.body))
        self._transport.write(b"".join(frames))

    def check(self, now: float) -> None:
        """Answer what is late; end a process that hangs."""
        if self.jobs:
            for job in self.jobs.values():
                if job.deadline <= now:
                    job.finish(_failure(504, "no answer in time"))
            if all(job.done is None for job in self.jobs.values()):
                self._pool.kill(self._number)
        elif not self.ready and self._transport is not None and now - self._since > _LOAD_SECONDS:
            self._pool.kill(self._number)

    def end(self) -> None:
        """End the process for good."""
        self._ended = True
        if self._transport is not None:
            self._transport.abort()
            self._pool.kill(self._number)

    # ── asyncio.Protocol ───────────────────────────────────────────────────────────────────────────────────────

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass
        if self._ended:
            self.end()

    def data_received(self, data: bytes) -> None:
        finished = []
        for reply in self._replies.feed(data):
            if reply.job == HELLO:
                hello = Hello.of(reply)
                self.ready = not hello.reason
                self._ready_since = monotonic() if self.ready else None
                self.pid = hello.pid
                self._pool.greeted(hello)
                continue
            job = self.jobs.pop(reply.job, None)
            if job is not None:
                finished.append((job, reply))
        if not self.jobs and self.ready:
            self._pool.idle()  # the next batch goes out before the answers of this one are written
        for job, reply in finished:
            job.finish(reply)

    def connection_lost(self, _error: Exception | None) -> None:
        jobs, self.jobs = self.jobs, {}
        self.pid, self._transport = 0, None
        self.ready = False
        self._pool.kill(self._number)  # whatever of it may be left
        self._pool.died(jobs)
        if not self._ended:
            self._start_again()


def _failure(status: int, message: str) -> Reply:
    return Reply(0, status, 0, 0.0, 0.0, b"", json.dumps({"error": message}).encode())
