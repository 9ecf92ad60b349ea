"""Commands run in forks of a process that has imported the program: the real thing, without the second of imports.

So most of a command's short life is work, and a kill at a random moment hits that. Each fork is a process of its own,
leads its own session, and has its own count of failpoints' hits. While processes start warm (see tests/warm.py) that is
how each is started; in a soak, where what a command starts is to start cold, the forks are those of a server.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Protocol

import warm
from harness import ENGINE

_SERVER = """
import json, os, sys
import engine.cli.entry, engine.app.delivering, engine.runtime.deliver, engine.runtime.leases
import engine.app.controller, engine.adapters.executors.processes, engine.triggers.manual
import engine.adapters.state.store, engine.adapters.registries.mlflow, engine.strategies.assess
import engine.kinds, engine.serving.evidence_file, engine.stats.error_process, engine.stats.sample_ratio, numpy
engine.kinds.JUDGES["canary"]
for line in sys.stdin:
    asked = json.loads(line)
    pid = os.fork()
    if pid == 0:
        os.setsid()
        os.environ.update(asked["environment"])
        os.chdir(asked["folder"])
        out = os.open(asked["printed"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        for number in (1, 2):
            os.dup2(out, number)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        code = engine.cli.entry.run(asked["arguments"])
        sys.stdout.flush()
        os._exit(code)
    print(pid, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
"""


class Forks:
    """Runs one command after the other; each may be killed while it runs."""

    def __init__(self, folder: Path, printed: Path) -> None:
        self._folder, self._printed = folder, printed
        self._source: _Source = _Warm() if subprocess.Popen is warm.Popen else _Server()
        self._pid = 0

    def start(self, *arguments: str, environment: Mapping[str, str]) -> None:
        """Start a command; the one before must have been waited for."""
        self._pid = self._source.start(arguments, self._folder, self._printed, environment)

    def kill(self) -> None:
        """SIGKILL, to the command alone; perhaps it has ended."""
        self.signal(signal.SIGKILL)

    def signal(self, number: int) -> None:
        """Send it a signal; perhaps it has ended."""
        with suppress(ProcessLookupError):
            os.kill(self._pid, number)

    def wait(self) -> int:
        """Its exit code; negative ones are signals."""
        return self._source.wait()

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
        try:
            return Path(f"/proc/{self._pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            return ""

    def text(self) -> str:
        """What it printed."""
        return self._printed.read_text(errors="replace")

    def close(self) -> None:
        """End what the forks came from."""
        self._source.close()


class _Source(Protocol):
    """Gives forks, one after the other."""

    def start(self, arguments: Sequence[str], folder: Path, printed: Path, environment: Mapping[str, str]) -> int: ...

    def wait(self) -> int: ...

    def close(self) -> None: ...


class _Warm:
    """Forks of the process that all programs of the engine are forked from."""

    def start(self, arguments: Sequence[str], folder: Path, printed: Path, environment: Mapping[str, str]) -> int:
        with printed.open("wb") as file:
            self._process = subprocess.Popen(
                [*ENGINE, *arguments],
                cwd=folder,
                env={**os.environ, **environment},
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        return self._process.pid

    def wait(self) -> int:
        return self._process.wait()

    def close(self) -> None:
        pass


class _Server:
    """Forks of a server of one's own."""

    def __init__(self) -> None:
        self._server = subprocess.Popen(
            [sys.executable, "-c", _SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def start(self, arguments: Sequence[str], folder: Path, printed: Path, environment: Mapping[str, str]) -> int:
        assert self._server.stdin is not None
        asked = {
            "arguments": arguments,
            "folder": str(folder),
            "printed": str(printed),
            "environment": dict(environment),
        }
        self._server.stdin.write(json.dumps(asked) + "\n")
        self._server.stdin.flush()
        return self.wait()

    def wait(self) -> int:
        assert self._server.stdout is not None
        return int(self._server.stdout.readline())

    def close(self) -> None:
        for pipe in (self._server.stdin, self._server.stdout):
            assert pipe is not None
            pipe.close()
        self._server.wait(60)
