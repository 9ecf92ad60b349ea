"""A terminal with a program on it: type, wait for what it shows, read the rest."""

from __future__ import annotations

import fcntl
import os
import re
import select
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path
from typing import NoReturn

_CONTROL = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\r")


class Terminal:
    """A process on a pseudo-terminal, 120 columns wide."""

    def __init__(self, folder: Path, *argv: str) -> None:
        self._parent, child = os.openpty()
        fcntl.ioctl(child, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
        environment = {**os.environ, "TERM": "xterm-256color"}
        environment.pop("NO_COLOR", None)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "engine", *argv],
            cwd=folder,
            env=environment,
            stdin=child,
            stdout=child,
            stderr=child,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        os.close(child)
        self.raw = ""

    @property
    def text(self) -> str:
        """What was shown so far, without control sequences."""
        return _CONTROL.sub("", self.raw)

    def wait_for(self, pattern: str, seconds: float = 180) -> None:
        """Read until something that matches the pattern was shown."""
        end = time.monotonic() + seconds
        while not re.search(pattern, self.text):
            if not self._read(end):
                self._fail(f"{pattern} was not shown")

    def wait_for_file(self, path: Path, seconds: float = 180) -> None:
        """Read until there is a file."""
        end = time.monotonic() + seconds
        while not path.exists():
            if time.monotonic() >= end or self.process.poll() is not None:
                self._fail(f"{path} was not made")
            self._read(time.monotonic() + 0.02)

    def type(self, keys: str) -> None:
        """Press keys; \\x03 is Ctrl-C."""
        os.write(self._parent, keys.encode())

    def close(self, seconds: float = 180) -> int:
        """Read to the end; the exit code."""
        end = time.monotonic() + seconds
        while self._read(end):
            pass
        if time.monotonic() >= end:  # closing the terminal now would end the program, and hide that it did not end
            self._fail(f"the program did not end within {seconds:.0f} s")
        os.close(self._parent)
        return self.process.wait(60)

    def _fail(self, what: str) -> NoReturn:
        self.process.kill()
        self.process.wait()
        raise AssertionError(f"{what}; the terminal shows at the end:\n{self.text[-4000:]}")

    def _read(self, end: float) -> bool:
        ready, _, _ = select.select([self._parent], [], [], max(0.0, end - time.monotonic()))
        try:
            data = os.read(self._parent, 65536) if ready else b""
        except OSError:  # the last user of the terminal has gone
            data = b""
        self.raw += data.decode(errors="replace")
        return bool(data)
