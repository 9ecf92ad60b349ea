"""Commands that are killed while they run, one after the other.

They start warm (`tests/warm.py`), in a soak too: without the second of imports most of a command's short life is work,
and a kill at a random moment hits that. Each is a process of its own, leads its own session, and has its own count of
failpoints' hits.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from harness import ENGINE


class Forks:
    """Runs one command after the other; each may be killed while it runs."""

    def __init__(self, folder: Path, printed: Path) -> None:
        self._folder, self._printed = folder, printed
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, *arguments: str, environment: Mapping[str, str]) -> None:
        """Start a command; the one before must have been waited for."""
        assert self._process is None
        with self._printed.open("wb") as printed:
            self._process = subprocess.Popen(
                [*ENGINE, *arguments],
                cwd=self._folder,
                env={**os.environ, **environment},
                stdin=subprocess.DEVNULL,
                stdout=printed,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def kill(self) -> None:
        """SIGKILL, to the command alone; perhaps it has ended."""
        self.signal(signal.SIGKILL)

    def signal(self, number: int) -> None:
        """Send it a signal; perhaps it has ended."""
        assert self._process is not None
        self._process.send_signal(number)

    def wait_for(self, seconds: float) -> None:
        """Wait so long, or until it has ended."""
        assert self._process is not None
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)

    def wait(self) -> int:
        """Its exit code; negative ones are signals."""
        assert self._process is not None
        code = self._process.wait(600)
        self._process = None
        return code

    def lives(self) -> bool:
        """Whether it has not ended."""
        return self._state() not in ("", "Z")

    def wait_stopped(self, seconds: float = 60.0) -> None:
        """Wait until it has been stopped (SIGSTOP)."""
        end = time.monotonic() + seconds
        while self._state() != "T":
            assert self.lives() and time.monotonic() < end, self.text()
            time.sleep(0.02)

    def _state(self) -> str:
        assert self._process is not None
        try:
            return Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return ""

    def text(self) -> str:
        """What it printed."""
        return self._printed.read_text(errors="replace")

    def close(self) -> None:
        """End the command that still runs, as after a failed test."""
        if self._process is not None:
            self.kill()
            self.wait()
