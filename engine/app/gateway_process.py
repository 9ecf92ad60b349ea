"""The gateway as a child of `engine up`: started, started again when it dies, and drained at the end.

A process of its own, so that training and planning take no time from answering requests. It is out of a terminal's
reach (Ctrl-C is for `engine up`), and ends by itself when its parent is gone.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from engine.runtime.loop import exponential_wait
from engine.signals import interrupts_held

PARENT = "ENGINE_PARENT"
"""The environment variable that tells a gateway whose child it is."""
_STEADY_SECONDS = 60.0  # who lived so long has not failed at the start
_DRAIN_SECONDS = 30.0


class GatewayProcess:
    """`engine serve` with these arguments. `say` hears when it ended and is started again; its output is ours."""

    def __init__(self, project: Path, environment: str | None, arguments: Sequence[str], say: Callable[[str], None]):
        where = ["-C", str(project), *(["--env", environment] if environment else [])]
        self._command = [sys.executable, "-m", "engine", "serve", *where, *arguments]
        self._say = say
        self._process: subprocess.Popen[bytes] | None = None
        self._started = self._next = 0.0
        self._failures = 0

    def check(self) -> None:
        """Start it if it does not run and its time has come. Called about once a second."""
        now = time.monotonic()
        if self._process is not None:
            code = self._process.poll()
            if code is None:
                return
            self._process = None
            self._failures = 1 if now - self._started > _STEADY_SECONDS else self._failures + 1
            wait = exponential_wait(self._failures)
            self._next = now + wait
            self._say(f"the gateway ended with {code}; it is started again in {wait:.0f} s")
        if now >= self._next:
            self._started = now
            with interrupts_held():
                self._process = subprocess.Popen(  # noqa: S603 - our own command line, an argv list
                    self._command,
                    env={**os.environ, PARENT: str(os.getpid())},
                    stdin=subprocess.DEVNULL,
                    start_new_session=True,
                )

    def stop(self) -> None:
        """Drain it and wait for its end."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(_DRAIN_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
