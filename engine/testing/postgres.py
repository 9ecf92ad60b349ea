"""A throw-away PostgreSQL server for tests, on a Unix socket in a temporary folder.

`PostgresServer.find()` is None where no server is installed. As root it runs as the user `postgres`, since it refuses
to run as root. Each `new_url()` is an empty schema of its own.
"""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote


class PostgresServer:
    """One server process; `start` before use, `stop` at the end."""

    def __init__(self, binaries: Path) -> None:
        self._binaries = binaries
        self._user: dict[str, Any] = {"user": "postgres"} if os.geteuid() == 0 else {}
        self._folder = Path(tempfile.mkdtemp(prefix="pg-"))
        self._process: subprocess.Popen[bytes] | None = None
        self._numbers = itertools.count()
        if self._user:
            shutil.chown(self._folder, "postgres")
        self._run("initdb", "-D", "data", "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync")

    @classmethod
    def find(cls) -> Path | None:
        """The folder of the newest installed server's programs."""
        found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
        on_path = shutil.which("initdb")
        return found[-1].parent if found else Path(on_path).parent if on_path else None

    def start(self) -> None:
        """Start it, also after `kill`, and wait until it answers.

        Without fsync, which matters to a power loss but not to killed processes.
        """
        # The files that a killed server leaves in its place would make the next one believe that it still runs.
        for leftover in (*self._folder.glob(".s.PGSQL*"), self._folder / "data" / "postmaster.pid"):
            leftover.unlink(missing_ok=True)
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - a program that was found above
                [
                    self._binaries / "postgres",
                    "-D",
                    "data",
                    "-k",
                    str(self._folder),
                    "-c",
                    "listen_addresses=",
                    "-c",
                    "fsync=off",
                ],
                cwd=self._folder,
                stdout=log,
                stderr=log,
                start_new_session=True,
                **self._user,
            )
        for _ in range(600):
            if self._run("pg_isready", "-q", "-h", str(self._folder), check=False) == 0:
                return
            time.sleep(0.05)
        raise RuntimeError((self._folder / "log").read_text(encoding="utf-8", errors="replace"))

    def kill(self) -> None:
        """End all its processes at once, as a crash would."""
        assert self._process is not None
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text(encoding="ascii")
        for pid in (self._process.pid, *map(int, children.split())):
            os.kill(pid, signal.SIGKILL)
        self._process.wait()
        self._process = None

    def stop(self) -> None:
        """End it and remove everything."""
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait(timeout=30)
        shutil.rmtree(self._folder)

    def new_url(self) -> str:
        """The address of an empty schema."""
        schema = f"test{next(self._numbers)}"
        command = f"CREATE SCHEMA {schema}"
        self._run("psql", "-q", "-h", str(self._folder), "-U", "postgres", "-c", command, "postgres")
        options = quote(f"-csearch_path={schema}", safe="")
        return f"postgresql://postgres@/postgres?host={quote(str(self._folder), safe='')}&options={options}"

    def _run(self, program: str, *arguments: str, check: bool = True) -> int:
        return subprocess.run(  # noqa: S603 - a program that was found above
            [self._binaries / program, *arguments],
            cwd=self._folder,
            check=check,
            stdout=subprocess.DEVNULL,
            **self._user,
        ).returncode
