"""Ctrl-C during an apply: the first lets the running steps finish, the second ends them at once.

SIGTERM, which a CI system or a container sends, counts as the first Ctrl-C. A signal handler runs between any two
instructions of the main thread, even of another handler or of a write to the terminal, so it only counts: all that
takes a lock is done by a thread that waits for signals.
"""

from __future__ import annotations

import queue
import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any

FINISHING = "Finishing the running steps. Ctrl-C again to stop them at once."
STOPPING = "Stopping at once."


class Interrupts:
    """While it is open, the first signal sets `stop`; the second calls what `on_kill` was or will be given."""

    def __init__(self, note: Callable[[str], None]) -> None:
        self.stop = threading.Event()
        self._note = note
        self._kill: Callable[[], None] = lambda: None
        self._killed = threading.Event()
        self._before: dict[signal.Signals, Any] = {}
        self._arrived: queue.SimpleQueue[bool] = queue.SimpleQueue()  # its `put` may be interrupted by itself
        self._waiting = threading.Thread(target=self._answer, name="interrupts", daemon=True)

    def on_kill(self, kill: Callable[[], None]) -> None:
        """What the second signal calls, perhaps twice."""
        self._kill = kill
        if self._killed.is_set():
            kill()

    def __enter__(self) -> Interrupts:
        self._waiting.start()
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._arrived.put(False)

    def _handle(self, _number: int, _frame: FrameType | None) -> None:
        self._arrived.put(True)

    def _answer(self) -> None:
        if not self._arrived.get():
            return
        self.stop.set()
        self._note(FINISHING)
        if not self._arrived.get():
            return
        self._note(STOPPING)
        self._killed.set()
        self._kill()
