"""The gateway's end of the template process: asks it for model processes and has them ended."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from engine.signals import interrupts_held

_KEPT = (
    "PATH",
    "HOME",
    "LANG",
    "TZ",
    "TMPDIR",
    "VIRTUAL_ENV",
    "PYTHONPATH",
    "LD_LIBRARY_PATH",
    "PYTHONDONTWRITEBYTECODE",
)
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")  # batches are small: one thread is fastest


class Template:
    """Starts model processes. A template that died is started again by the next request.

    `private` is a folder of this gateway alone, in which a model process may keep copies of files while it lives.
    """

    def __init__(self, private: Path) -> None:
        self._private = private
        shutil.rmtree(private, ignore_errors=True)  # of a gateway that was killed
        self._process: subprocess.Popen[bytes] | None = None
        self._channel: socket.socket | None = None
        self._jobs = 0

    def start(self) -> None:
        """Start the process now, so that its imports overlap with other work."""
        if self._process is not None and self._process.poll() is None:
            return
        self.close()
        channel, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        environment = {name: value for name, value in os.environ.items() if name in _KEPT or name.startswith("LC_")}
        with other, interrupts_held():
            self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
                [sys.executable, "-m", "engine.serving.template", str(other.fileno())],
                pass_fds=[other.fileno()],
                env={**dict.fromkeys(_THREADS, "1"), **environment},
                stdin=subprocess.DEVNULL,
                cwd="/",
                start_new_session=True,
            )
        self._channel = channel

    def spawn(self, request: Mapping[str, Any]) -> tuple[int, socket.socket]:
        """A model process for `request`: its number, and our end of its socket. Raises OSError."""
        self.start()
        assert self._channel is not None
        self._jobs += 1
        ours, theirs = socket.socketpair()
        asked = {"job": self._jobs, "private": str(self._private / str(self._jobs)), **request}
        with theirs:
            socket.send_fds(self._channel, [json.dumps(asked).encode()], [theirs.fileno()])
        ours.setblocking(False)
        return self._jobs, ours

    def kill(self, job: int) -> None:
        """End a model process and what it started; its private copies go."""
        if self._channel is not None:
            with suppress(OSError):
                self._channel.send(json.dumps({"kill": job}).encode())
        if (mine := self._private / str(job)).exists():
            shutil.rmtree(mine, ignore_errors=True)

    def close(self) -> None:
        """End the template and all model processes."""
        if self._channel is not None:
            self._channel.close()
            self._channel = None
        if self._process is not None:
            try:
                self._process.wait(3)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None
        shutil.rmtree(self._private, ignore_errors=True)


async def close(template: Template) -> None:
    """Close without holding up the loop."""
    await asyncio.get_running_loop().run_in_executor(None, template.close)
