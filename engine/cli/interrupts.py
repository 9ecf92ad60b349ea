"""Ctrl-C during an apply: the first lets the running steps finish, the second ends them at once.

SIGTERM, which a CI system or a container sends, counts as the first Ctrl-C. Signal handlers run in the main thread
between two of its instructions, so they only set an event, leave a note and call a function that was handed in.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any

FINISHING = "Finishing the running steps. Ctrl-C again to stop them at once."
STOPPING = "Stopping at once."


class Interrupts:
    """While it is open, signals set `stop`, then call what `on_kill` was given."""

    def __init__(self, note: Callable[[str], None]) -> None:
        self.stop = threading.Event()
        self._note = note
        self._kill: Callable[[], None] = lambda: None
        self._before: dict[signal.Signals, Any] = {}

    def on_kill(self, kill: Callable[[], None]) -> None:
        """What the second signal calls."""
        self._kill = kill

    def __enter__(self) -> Interrupts:
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, _number: int, _frame: FrameType | None) -> None:
        if not self.stop.is_set():
            self.stop.set()
            self._note(FINISHING)
            return
        self._note(STOPPING)
        # In a thread of its own: what it needs may be locked by the very code that this handler interrupted.
        threading.Thread(target=self._kill, daemon=True).start()
