"""The registry against a real tracking server, and against what only looks like one."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from engine.adapters.registries.mlflow import MlflowRegistry
from engine.errors import TransientError, UsageError
from engine.ports import RegisterRequest
from engine.testing.registry import ModelRegistryContract

Requests = Callable[..., RegisterRequest]


@dataclass
class Server:
    """A tracking server in a process group of its own."""

    folder: Path
    port: int
    process: subprocess.Popen[bytes] | None = None

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        command = [
            *(sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port)),
            *("--backend-store-uri", f"sqlite:///{self.folder / 'mlflow.db'}", "--serve-artifacts"),
            *("--artifacts-destination", str(self.folder / "artifacts"), "--workers", "1"),
        ]
        environment = {**os.environ, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
        with (self.folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                command, cwd=self.folder, env=environment, stdout=log, stderr=log, start_new_session=True
            )
        deadline = time.monotonic() + 300
        while not self._healthy():
            assert self.process.poll() is None, (self.folder / "server.log").read_text()
            assert time.monotonic() < deadline, (self.folder / "server.log").read_text()
            time.sleep(0.2)

    def _healthy(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.uri}/health", timeout=5) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def kill(self) -> None:
        if self.process is not None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None


def free_port() -> int:
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        return int(listener.getsockname()[1])


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    made = Server(tmp_path_factory.mktemp("server"), free_port())
    made.start()
    yield made
    made.kill()


@pytest.fixture(scope="module")
def remote(server: Server) -> Iterator[MlflowRegistry]:
    made = MlflowRegistry(server.uri, log=server.folder / "client.log", timeout=120.0)
    yield made
    made.close()


@pytest.mark.slow
class TestMlflowServer(ModelRegistryContract):
    @pytest.fixture
    def registry(self, remote: MlflowRegistry) -> MlflowRegistry:
        return remote

    def test_artifacts_go_through_the_server(
        self, remote: MlflowRegistry, model: str, request_for: Requests, server: Server
    ) -> None:
        remote.register(request_for(model, "k"))
        stored = {path.name for path in (server.folder / "artifacts").rglob("*") if path.is_file()}
        assert {"MLmodel", "model.skops", "evaluation.json", "roc_curve.png", "spec.json"} <= stored

    def test_server_killed_in_the_middle(
        self, model: str, request_for: Requests, server: Server, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("ENGINE_FAILPOINTS", "register.version=sleep:3")
        seen = server.folder / "seen"
        monkeypatch.setenv("ENGINE_FAILPOINTS_SEEN", str(seen))
        with closing(MlflowRegistry(server.uri, timeout=120.0)) as registry:
            threading.Thread(target=_kill_when_seen, args=(server, seen), daemon=True).start()
            with pytest.raises(TransientError, match=r"The version may have been registered") as raised:
                registry.register(request_for(model, "k"))
            assert "apply again" in raised.value.remedy
            with pytest.raises(TransientError):
                registry.find(model, "k")
            server.start()
            made = registry.register(request_for(model, "k"))
            assert made.version == 1
            assert registry.register(request_for(model, "k")) == made


def _kill_when_seen(server: Server, seen: Path) -> None:
    while not (seen.exists() and "register.version" in seen.read_text()):
        time.sleep(0.05)
    server.kill()


def test_server_that_accepts_and_never_answers(model: str, tmp_path: Path) -> None:
    log = tmp_path / "mlflow.log"
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        uri = f"http://ada:hush-hush@127.0.0.1:{listener.getsockname()[1]}"
        with closing(MlflowRegistry(uri, timeout=5.0, log=log)) as registry:
            registry.prefetch()
            with pytest.raises(TransientError, match=r"did not answer in time \(5 s\)\. Nothing was changed") as raised:
                registry.find(model, "k")
    assert "127.0.0.1" in raised.value.message
    assert "hush" not in raised.value.message + log.read_text()


class Answers(ThreadingHTTPServer):
    """A server that gives one answer to everything: `status` and `body`."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.status, self.body, self.authorization = 200, "", ""


class _Answer(BaseHTTPRequestHandler):
    server: Answers

    def do_GET(self) -> None:
        self.server.authorization = self.headers.get("Authorization", "")
        self.send_response(self.server.status)
        self.send_header("Content-Length", str(len(self.server.body)))
        self.end_headers()
        self.wfile.write(self.server.body.encode())

    do_POST = do_GET

    def log_message(self, *_: object) -> None:
        """Quiet."""


def test_refusals_and_failures_are_told_apart(model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = tmp_path / "mlflow.log"
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "")
    with Answers() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        registry = MlflowRegistry(f"http://ada:hush-hush@127.0.0.1:{server.server_port}", log=log)
        with closing(registry):
            server.status, server.body = 401, "you sent ada and hush-hush"
            with pytest.raises(UsageError, match="refused access") as denied:
                registry.find(model, "k")
            assert server.authorization.startswith("Basic ")
            assert "MLFLOW_TRACKING_USERNAME" in denied.value.remedy
            server.status, server.body = 503, "overloaded"
            with pytest.raises(TransientError, match="503"):
                registry.find(model, "k")
            server.shutdown()
            server.server_close()
            with pytest.raises(TransientError, match=r":\d+: .*Connection refused\. Nothing was changed") as nobody:
                registry.find(model, "k")
    assert "hush" not in denied.value.message + nobody.value.message + log.read_text()
