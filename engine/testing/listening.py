"""Real servers for tests of what the engine sends: a web server that answers as told, Prometheus, Alertmanager.

All listen on loopback. `installed` says whether Debian's programs are there; where they are not, tests skip.
"""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import threading
import time
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Received:
    """A request as it came."""

    path: str
    headers: Mapping[str, str]  # names in lower case
    body: bytes

    @property
    def json(self) -> Any:
        """The body, parsed."""
        return json.loads(self.body)


class WebServer:
    """Keeps every POST. `answer` gives status, headers and body for one; by itself 200 and `{}`."""

    def __init__(self, context: Any = None) -> None:
        self.received: list[Received] = []
        self.answer: Callable[[Received], tuple[int, Mapping[str, str], bytes]] = lambda _: (200, {}, b"{}")
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                length = int(self.headers.get("content-length") or 0)
                request = Received(self.path, {k.lower(): v for k, v in self.headers.items()}, self.rfile.read(length))
                owner.received.append(request)
                status, headers, body = owner.answer(request)
                self.send_response(status)
                for name, value in {"content-length": str(len(body)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        if context is not None:
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}/hook"

    def says(self, document: Any, status: int = 200) -> None:
        """Answer every request with a JSON document."""
        body = json.dumps(document).encode()
        self.answer = lambda _: (status, {"content-type": "application/json"}, body)

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def installed(*programs: str) -> bool:
    """Whether all of these are on the path."""
    return all(shutil.which(program) for program in programs)


def free_port() -> int:
    """A port of loopback that nobody listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Server:
    """A server process of Debian's, ready when its `/-/ready` answers."""

    def __init__(self, folder: Path, *command: str, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self._log = folder / f"{command[0]}.log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)  # noqa: S603 - a test's
        self.wait(lambda: self.get("/-/ready") is not None)

    def get(self, path: str) -> Any:
        """What a path answers: a JSON document, or text; None while it does not answer 200."""
        try:
            with urllib.request.urlopen(f"{self.url}{path}", timeout=5) as answer:  # noqa: S310 - loopback
                text = answer.read().decode()
        except OSError:
            return None
        try:
            return json.loads(text)
        except ValueError:
            return text

    def wait(self, happened: Callable[[], bool], seconds: float = 60) -> None:
        """Wait for what it does by itself."""
        end = time.monotonic() + seconds
        while not happened():
            if self._process.poll() is not None or time.monotonic() > end:
                raise AssertionError(self._log.read_text(encoding="utf-8", errors="replace"))
            time.sleep(0.05)

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()


def prometheus(
    folder: Path, targets: Mapping[str, int], rules: Path | None = None, alerts_to: str | None = None
) -> Server:
    """Debian's Prometheus, which scrapes these jobs' ports and evaluates rules five times a second.

    `alerts_to` is the address of an Alertmanager.
    """
    port = free_port()
    jobs = [{"job_name": name, "static_configs": [{"targets": [f"127.0.0.1:{at}"]}]} for name, at in targets.items()]
    times = {"scrape_interval": "200ms", "scrape_timeout": "200ms", "evaluation_interval": "200ms"}
    config: dict[str, Any] = {"global": times, "scrape_configs": jobs}
    if rules is not None:
        config["rule_files"] = [str(rules)]
    if alerts_to is not None:
        to = {"static_configs": [{"targets": [alerts_to.removeprefix("http://")]}]}
        config["alerting"] = {"alertmanagers": [to]}
    (folder / "prometheus.yml").write_text(json.dumps(config), encoding="utf-8")  # YAML 1.2 reads JSON
    files = ["--config.file=prometheus.yml", "--storage.tsdb.path=data"]
    return Server(folder, "prometheus", *files, f"--web.listen-address=127.0.0.1:{port}", port=port)


def alertmanager(folder: Path, webhook: str) -> Server:
    """Debian's Alertmanager, which passes everything on to a webhook at once."""
    port = free_port()
    route = {"receiver": "test", "group_by": ["..."], "group_wait": "0s", "group_interval": "1s"}
    config = {"route": route, "receivers": [{"name": "test", "webhook_configs": [{"url": webhook}]}]}
    (folder / "alertmanager.yml").write_text(json.dumps(config), encoding="utf-8")
    files = ["--config.file=alertmanager.yml", "--storage.path=data", "--cluster.listen-address="]
    return Server(folder, "prometheus-alertmanager", *files, f"--web.listen-address=127.0.0.1:{port}", port=port)
