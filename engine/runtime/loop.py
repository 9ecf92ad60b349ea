"""The work loop of a controller: names with a time at which each is due, workers that take them in order.

`reconcile(name)` re-reads everything, does one bounded thing, and returns `Done` or `Again`. The loop owns all else:
a name is never worked on twice at once; one that fails comes back after a wait that doubles up to five minutes, with
jitter, while all others go on; a name that is woken while it is worked on is looked at once more.
"""

from __future__ import annotations

import heapq
import logging
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Protocol

from engine.errors import EngineError, TransientError
from engine.runtime.deliver import Again, Done, Reconciled

FIRST_WAIT, LONGEST_WAIT = 1.0, 300.0
"""Seconds until a name that failed is tried again: after the first time, and at most."""
_log = logging.getLogger("engine.loop")


class Wait(Protocol):
    """How long to wait, in seconds, after so many failures in a row (from 1)."""

    def __call__(self, failures: int) -> float: ...


def exponential_wait(failures: int) -> float:
    """Doubles with each failure; spread by half on each side, so that what failed together does not return together."""
    from tenacity import RetryCallState, Retrying, wait_exponential, wait_random

    state = RetryCallState(Retrying(), None, (), {})
    state.attempt_number = failures
    whole = wait_exponential(multiplier=FIRST_WAIT, max=LONGEST_WAIT)(state)
    return whole * wait_random(0.5, 1.5)(state)


@dataclass
class _Entry:
    """What the loop knows of one name. `due` is None while nothing is to be done until it is woken."""

    due: float | None = None
    ticket: int = 0  # of the newest place in the queue; older places are void
    working: bool = False
    woken: bool = False  # while it was worked on
    gone: bool = False  # forgotten while it was worked on
    failures: int = 0
    why: str = ""


@dataclass
class Loop:
    """Runs `reconcile` for every known name. `failed` hears of each failure with how often in a row it happened."""

    reconcile: Callable[[str], Reconciled]
    workers: int = 1
    failed: Callable[[str, EngineError, int], None] = lambda *_: None
    wait: Wait = exponential_wait
    clock: Callable[[], float] = time.monotonic
    _entries: dict[str, _Entry] = field(default_factory=dict, init=False)
    _queue: list[tuple[float, int, str]] = field(default_factory=list, init=False)
    _tickets: int = field(default=0, init=False)
    _changed: threading.Condition = field(default_factory=threading.Condition, init=False)
    _stopping: bool = field(default=False, init=False)
    _counts: list[float] = field(default_factory=lambda: [0, 0, 0.0], init=False)  # done, failed, seconds

    # ── what is to be done ─────────────────────────────────────────────────────────────────────────────────

    def keep(self, names: Iterable[str]) -> None:
        """The names that there are: new ones are due at once, others are forgotten."""
        wanted = set(names)
        with self._changed:
            for name in self._entries.keys() - wanted:
                if self._entries[name].working:
                    self._entries[name].gone = True
                else:
                    del self._entries[name]
            for name in wanted & self._entries.keys():
                self._entries[name].gone = False
            for name in sorted(wanted - self._entries.keys()):
                self._entries[name] = _Entry()
                self._put(name, self.clock())

    def wake(self, names: Iterable[str]) -> None:
        """These have something to do now, whatever they waited for. A name that failed keeps its wait."""
        with self._changed:
            for name in names:
                entry = self._entries.get(name)
                if entry is None:
                    continue
                if entry.working:
                    entry.woken = True
                elif not entry.failures:
                    self._put(name, self.clock())

    def waiting_for(self) -> dict[str, str]:
        """What each name said last."""
        with self._changed:
            return {name: entry.why for name, entry in self._entries.items()}

    def failing(self, name: str) -> tuple[int, str]:
        """How often in a row a name has failed, and what it said last; 0 and nothing if it has not."""
        with self._changed:
            entry = self._entries.get(name)
            return (entry.failures, entry.why) if entry is not None and entry.failures else (0, "")

    def figures(self) -> tuple[int, int, int, int]:
        """How many names there are, are due and wait for a worker, are worked on, and failed last."""
        with self._changed:
            now, entries = self.clock(), self._entries.values()
            waiting = sum(not each.working and each.due is not None and each.due <= now for each in entries)
            return (
                len(entries),
                waiting,
                sum(each.working for each in entries),
                sum(each.failures > 0 for each in entries),
            )

    def counted(self) -> tuple[float, float, float]:
        """Passes that were done and that failed, and how many seconds all of them took."""
        with self._changed:
            done, failed, seconds = self._counts
            return done, failed, seconds

    # ── running ────────────────────────────────────────────────────────────────────────────────────────────

    def run(self) -> None:
        """Work until `stop` is called, and what was begun has ended."""
        with ThreadPoolExecutor(self.workers, thread_name_prefix="reconcile") as pool:
            workers = [pool.submit(self._work) for _ in range(self.workers)]
        for worker in workers:
            worker.result()

    def stop(self) -> None:
        """Begin nothing more."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()

    def run_once(self) -> dict[str, EngineError]:
        """Work on every name until it has nothing to do at this moment; the names that failed."""
        failures: dict[str, EngineError] = {}
        with ThreadPoolExecutor(self.workers, thread_name_prefix="reconcile") as pool:
            for name, error in pool.map(lambda name: (name, self._settle(name)), sorted(self._entries)):
                if error is not None:
                    failures[name] = error
        return failures

    def _settle(self, name: str) -> EngineError | None:
        while not self._stopping:
            try:
                came = self.reconcile(name)
            except EngineError as error:
                self.failed(name, error, 1)
                return error
            if isinstance(came, Done) or came.seconds > 0:
                return None
        return None

    def _work(self) -> None:
        while (name := self._take()) is not None:
            came: Reconciled | EngineError
            began = time.monotonic()
            try:
                came = self.reconcile(name)
            except EngineError as error:
                came = error
            except Exception as error:  # noqa: BLE001 - a defect in one model's pass must not end the others'
                _log.exception("%s: a pass failed unexpectedly", name)
                came = EngineError(f"unexpected {type(error).__name__}: {error}", remedy="This is a defect of engine.")
            with self._changed:
                self._counts[isinstance(came, EngineError)] += 1
                self._counts[2] += time.monotonic() - began
            self._give_back(name, came)

    def _take(self) -> str | None:
        """The next name that is due, marked as worked on; None once the loop ends."""
        with self._changed:
            while not self._stopping:
                now = self.clock()
                while self._queue:
                    due, ticket, name = self._queue[0]
                    entry = self._entries.get(name)
                    if entry is None or entry.ticket != ticket or entry.working:
                        heapq.heappop(self._queue)  # forgotten, or moved
                        continue
                    if due > now:
                        break
                    heapq.heappop(self._queue)
                    entry.working, entry.woken, entry.due = True, False, None
                    return name
                self._changed.wait(self._queue[0][0] - now if self._queue else None)
            return None

    def _give_back(self, name: str, came: Reconciled | EngineError) -> None:
        failed: tuple[EngineError, int] | None = None
        with self._changed:
            entry = self._entries[name]
            entry.working = False
            if entry.gone:
                del self._entries[name]
                return
            now = self.clock()
            if isinstance(came, EngineError):
                entry.failures += 1
                entry.why = came.message
                self._put(name, now + self._wait_after(came, entry.failures))
                failed = came, entry.failures
            else:
                entry.failures = 0
                entry.why = came.why
                if entry.woken:
                    self._put(name, now)
                elif isinstance(came, Again):
                    self._put(name, now + came.seconds)
        if failed is not None:
            self.failed(name, *failed)

    def _wait_after(self, error: EngineError, failures: int) -> float:
        asked = error.retry_after if isinstance(error, TransientError) and error.retry_after else 0.0
        return max(asked, self.wait(failures))

    def _put(self, name: str, due: float) -> None:
        self._tickets += 1
        entry = self._entries[name]
        entry.due, entry.ticket = due, self._tickets
        heapq.heappush(self._queue, (due, self._tickets, name))
        self._changed.notify()
