"""Work that forked children do while this process goes on with something else.

A child starts with this process's memory, does its share, sends its answers through a pipe and is gone. An answer
that does not come, because the child was killed or met an error, is merely missing: whoever asked does that work
in place, and meets the error there. Only a process with a single thread forks; another gets no answers at all.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple, TypeAlias

Work: TypeAlias = Callable[[Sequence[str]], Mapping[str, Any]]


class Children:
    """Children at work since this was made: at most `most` of them, no more than there are processors.

    `work(share)` gives the answers to its share of `items`, by item, as JSON has them. It must write to nothing that
    this process reads too. Use it as a context: what is not waited for is ended.
    """

    def __init__(self, work: Work, items: Sequence[str], most: int) -> None:
        self._running: list[_Child] = []
        count = min(most, len(items), len(os.sched_getaffinity(0)))
        if count and _has_one_thread():
            for number in range(count):
                with suppress(OSError):  # no memory, no process or no descriptor left: no child
                    self._running.append(_begin(work, items[number::count]))

    def __enter__(self) -> Children:
        return self

    def __exit__(self, *_: object) -> None:
        for child in self._running:
            os.close(child.answers)
            with suppress(ChildProcessError):  # the system has reaped it where SIGCHLD is ignored
                if os.waitpid(child.pid, os.WNOHANG) == (0, 0):
                    os.kill(child.pid, signal.SIGKILL)
                    os.waitpid(child.pid, 0)
        self._running.clear()

    def answers(self) -> dict[str, Any]:
        """Wait for the children; the answers that came, by item. A second call gives none."""
        found: dict[str, Any] = {}
        while self._running:
            child = self._running[0]
            with open(child.answers, "rb", closefd=False) as pipe:
                text = pipe.read()
            with suppress(ValueError):  # what a child that died has written is no JSON
                found.update(json.loads(text))
            with suppress(ChildProcessError):
                os.waitpid(child.pid, 0)
            os.close(child.answers)
            del self._running[0]
        return found


class _Child(NamedTuple):
    pid: int
    answers: int  # the pipe's end that is read


def _begin(work: Work, share: Sequence[str]) -> _Child:
    readable, writable = os.pipe()
    try:
        pid = os.fork()
    except OSError:
        os.close(readable)
        os.close(writable)
        raise
    if pid == 0:
        try:
            os.close(readable)
            with open(writable, "wb") as pipe:  # noqa: PTH123 - a descriptor
                pipe.write(json.dumps(work(share)).encode())
        finally:
            os._exit(0)  # whatever has happened: the parent's handlers and unwritten output are not the child's
    os.close(writable)
    return _Child(pid, readable)


def _has_one_thread() -> bool:
    """Whether no thread, of a library neither, could hold a lock while this process forks."""
    with suppress(OSError):
        return len(os.listdir("/proc/self/task")) == 1  # noqa: PTH208 - strings, for speed
    return False
