"""Ctrl-C is for the command that the user typed; the processes that it starts must not hear of it.

A process that gets a session of its own is out of a terminal's reach, but for the moment between its fork and its
session: a signal that comes just then ends it before it began. So signals are held back over that moment.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def interrupts_held() -> Iterator[None]:
    """Around the start of a process: it begins with SIGINT held back, until it calls `ignore_interrupts`."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def ignore_interrupts() -> None:
    """In the started process: who started it decides what Ctrl-C means."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
