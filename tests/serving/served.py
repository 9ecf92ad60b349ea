"""Served projects: a folder with releases in its state, a gateway process on it, and clients."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from warm import CODES

from engine.app.workspace import open_workspace
from engine.core.evidence import Tally
from engine.core.records import Endpoint, Release
from engine.serving.evidence_file import EvidenceFile
from engine.testing.clocks import SharedClock

TWIN, MISCHIEF, CHANGED, ALTERED = 2, 3, 4, 5  # the releases beside the first one: see conftest.py
ROW = {"months": 3, "calls": 5, "plan": "a"}
PREDICT = "/v1/models/churn/predict"
JSON = {"content-type": "application/json"}
_START = """
import json, sys
from dataclasses import replace
from pathlib import Path
from engine.app.serving import serve
from engine.app.workspace import open_workspace
from engine.serving.settings import LogSettings, Settings
from engine.testing.clocks import SharedClock
given = {"port": 0, **json.loads(sys.argv[2])}
settings = Settings(**{**given, "log": LogSettings(**given.pop("log", {}))})
workspace = open_workspace(Path(sys.argv[1]))
for clock in sys.argv[3:]:
    workspace = replace(workspace, clock=SharedClock(Path(clock)))
serve(workspace, settings, insecure=False, announce=lambda a: print(a, flush=True))
"""
CODES.add(_START)


@dataclass(frozen=True)
class Answer:
    """What a request gave."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        """The body, parsed."""
        return json.loads(self.body)


class Client:
    """One keep-alive connection."""

    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        self._connection = http.client.HTTPConnection(host, int(port), timeout=20)

    def ask(self, method: str, path: str, body: Any = None, headers: Mapping[str, str] = {}) -> Answer:
        """Send a request; a body that is no bytes is sent as JSON."""
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        self._connection.request(method, path, data, {**JSON, **headers} if data is not None else dict(headers))
        response = self._connection.getresponse()
        return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())

    def predict(self, row: Mapping[str, Any] = ROW, headers: Mapping[str, str] = {}) -> Answer:
        """One row."""
        return self.ask("POST", PREDICT, {"instances": [row]}, headers)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


@dataclass
class Gateway:
    """A gateway process on a project."""

    folder: Path
    settings: Mapping[str, Any] = field(default_factory=dict)
    address: str = ""
    since: int = 0  # the generation from which on evidence is looked at
    name: str = "churn"  # the model
    clock: SharedClock | None = None  # where time is not the machine's
    _clients: list[Client] = field(default_factory=list)

    def start(self) -> Gateway:
        """Start it; returns once it listens."""
        shared = [] if self.clock is None else [str(self.clock.path)]
        with (self.folder / "gateway.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", _START, str(self.folder), json.dumps(dict(self.settings)), *shared],
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        assert self.process.stdout is not None
        self.address = self.process.stdout.readline().strip()
        assert self.address, (self.folder / "gateway.log").read_text()
        return self

    def ready(self) -> Gateway:
        """Wait until every model can answer."""
        with closing(Client(self.address)) as client:
            self.wait(lambda: client.ask("GET", "/readyz").status == 200)
        return self

    def stop(self) -> int:
        """Have it drain and end; the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(20)
        for client in self._clients:
            client.close()
        assert self.process.stdout is not None
        self.process.stdout.close()
        return code

    def wait_for_end(self) -> None:
        """Wait until it ends by itself."""
        assert self.process.wait(120) == 0, (self.folder / "gateway.log").read_text()

    def client(self) -> Client:
        """A new connection, closed when the gateway is stopped."""
        self._clients.append(Client(self.address))
        return self._clients[-1]

    def ask(self, path: str) -> Answer:
        """GET on a connection of its own."""
        with closing(Client(self.address)) as client:
            return client.ask("GET", path)

    def socket(self) -> socket.socket:
        """A bare connection."""
        host, _, port = self.address.rpartition(":")
        return socket.create_connection((host, int(port)), timeout=20)

    def status(self) -> dict[str, Any]:
        """What status.json says."""
        path = self.serving / "status.json"
        document: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {"models": {}}
        return document

    def model(self) -> dict[str, Any]:
        """What status.json says of the model."""
        nothing = {"generation": 0, "effective": None, "releases": {}}
        found: dict[str, Any] = self.status()["models"].get(self.name, nothing)
        return found

    def state(self, version: int) -> dict[str, str]:
        """What status.json says of a release."""
        found: dict[str, str] = self.model()["releases"].get(str(version), {"state": "unknown"})
        return found

    @property
    def serving(self) -> Path:
        """The gateway's folder."""
        return self.folder / ".engine" / "serving"

    def tallies(self) -> Sequence[Tally]:
        """The evidence."""
        return EvidenceFile(self.serving / "evidence.db").tallies(self.name, self.since)

    def effective(self, *, stable: int, candidate: int | None = None, weight: float = 0.0, mirror: float = 0.0) -> None:
        """Wait until this is in effect."""
        wanted = {"stable": stable, "candidate": candidate, "weight": weight, "mirror": mirror}
        self.wait(lambda: self.model()["effective"] == wanted)

    def metric(self, name: str, **labels: str) -> float:
        """The sum over the metric's samples with these labels."""
        total = 0.0
        for line in self.ask("/metrics").body.decode().splitlines():
            if line.startswith((f"{name}{{", f"{name} ")) and all(f'{k}="{v}"' in line for k, v in labels.items()):
                total += float(line.rpartition(" ")[2])
        return total

    def wait(self, happened: Callable[[], bool], seconds: float = 30) -> None:
        """Wait for what another process does."""
        end = time.monotonic() + seconds
        while not happened():
            log = (self.folder / "gateway.log").read_text()
            assert self.process.poll() is None, log
            assert time.monotonic() < end, f"{self.status()}\n{log}"
            time.sleep(0.02)

    def model_pid(self, version: int) -> int:
        """The process of a release; 0 while there is none."""
        found: list[int] = self.ask(f"/v1/models/{self.name}").json["processes"][str(version)]
        return found[0] if found else 0


def set_endpoint(folder: Path, **changes: Any) -> Endpoint:
    """Change the endpoint's record; the generation grows by one unless it is given."""
    workspace = open_workspace(folder)
    store = workspace.store
    before = store.models(["churn"])["churn"].endpoint
    assert before is not None
    after = replace(before, **{"generation": before.generation + 1, **changes})
    lease = store.acquire("churn", "test", 30)
    try:
        store.set_endpoint(lease, before, after, actor="test", reason="test")
    finally:
        store.release(lease)
        store.close()
    return after


def add_release(folder: Path, version: int, **changes: Any) -> None:
    """A release like the first one, but for these fields."""
    workspace = open_workspace(folder)
    store = workspace.store
    first = next(release for release in store.releases("churn") if release.version == 1)
    lease = store.acquire("churn", "test", 30)
    try:
        store.add_release(lease, replace(first, version=version, key=f"key {version}", **changes))
    finally:
        store.release(lease)
        store.close()


def release_of(folder: Path, version: int) -> Release:
    """A release as it is recorded."""
    reader = open_workspace(folder).reader
    found = next(release for release in reader.releases("churn") if release.version == version)
    reader.close()
    return found


def damage_state(folder: Path) -> None:
    """Make the state unreadable."""
    for path in (folder / ".engine").glob("state.db*"):
        path.write_bytes(b"no database" * 1000)


def rewind(folder: Path, generation: int, **changes: Any) -> None:
    """Put an older record into the state, behind the store's back."""
    with closing(sqlite3.connect(folder / ".engine" / "state.db")) as connection, connection:
        named = {"generation": generation, **changes}
        assignments = ", ".join(f"{name} = :{name}" for name in named)
        connection.execute(f"UPDATE endpoints SET {assignments}", named)
        connection.execute("UPDATE meta SET serial = serial + 1")


def is_alive(pid: int) -> bool:
    """Whether a process runs, and is not only waiting to be buried."""
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False
