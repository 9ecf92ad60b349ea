"""The same model behind different servers: how each is started and asked, and load from wrk, in a process of its own.

Peers are run as their documentation says, with one process for the model, each in the environment that
`python -m bench setup` made. They give predictions alone; ours gives probabilities and ids as well, and logs.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.measure import SCRIPTS, CommandError, environment
from bench.projects import ENGINE

ROOT = Path(__file__).parent.parent
OURS, ECHO = "engine", "ASGI echo without a model"
FASTAPI, ARRAYS, MLFLOW, MLSERVER, BENTOML = "FastAPI", "FastAPI, arrays", "mlflow models serve", "MLServer", "BentoML"
_START_SECONDS = 120.0
_TICKS = os.sysconf("SC_CLK_TCK")
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Model:
    """A model that is served: a joblib file for peers, a folder for each of those that want one, and a row.

    `arrays` is a joblib file of the same kind of model without column names, for a peer that does without data frames.
    """

    name: str
    file: Path
    arrays: Path | None
    mlflow: Path
    mlserver: Path
    row: Row


@dataclass(frozen=True)
class Server:
    """How a server is started (`{port}` stands for the port) and asked."""

    name: str
    argv: Sequence[str]
    path: str
    body: bytes
    cwd: Path
    env: Mapping[str, str] = field(default_factory=dict)
    ready: str | None = None  # a path that answers 200 once all its models are loaded: loading takes processor time


@dataclass(frozen=True)
class Load:
    """What wrk found in one run: seconds; `cpu` are processor seconds of all the server's processes per request."""

    rate: float
    p50: float
    p99: float
    cpu: float
    failed: int


def servers(model: Model, project: Path, home: Path) -> tuple[list[Server], list[str]]:
    """Those that are installed, and the names of those that are not."""
    instances = json.dumps({"instances": [model.row]}).encode()
    records = json.dumps({"dataframe_records": [model.row]}).encode()
    here = {"MODEL": str(model.file), "PYTHONPATH": f"{ROOT}:{SCRIPTS}"}
    http = ["--host", "127.0.0.1", "--port", "{port}"]
    uvicorn = [_in(home, "asgi", "uvicorn"), "--no-access-log", "--loop", "uvloop", "--http", "httptools", *http]
    mlflow = str(Path(sys.executable).parent / "mlflow")
    local = ["--env-manager", "local"]
    known = [
        Server(OURS, [ENGINE, "serve", *http], f"/v1/models/{model.name}/predict", instances, project, ready="/readyz"),
        Server(ECHO, [*uvicorn, "serve_echo:app"], "/", instances, home, here),
        Server(FASTAPI, [*uvicorn, "serve_fastapi:app"], "/predict", instances, home, here),
        Server(
            MLFLOW, [mlflow, "models", "serve", "-m", str(model.mlflow), *local, *http], "/invocations", records, home,
            {**here, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
        ),
        Server(
            MLSERVER, [_in(home, "mlserver", "mlserver"), "start", "."], f"/v2/models/{model.name}/infer",
            _tensors(model.row), model.mlserver,
            {**here, "MLSERVER_HTTP_PORT": "{port}", "MLSERVER_GRPC_PORT": "{port+1}",
             "MLSERVER_METRICS_PORT": "{port+2}", "MLSERVER_HOST": "127.0.0.1", "MLSERVER_DEBUG": "false"},
        ),
        Server(
            BENTOML, [_in(home, "bentoml", "bentoml"), "serve", "serve_bentoml:Predictor", *http], "/predict",
            instances, SCRIPTS, {**here, "BENTOML_HOME": str(home / "bentoml-home"), "BENTOML_DO_NOT_TRACK": "1"},
        ),
    ]  # fmt: skip
    if model.arrays is not None:
        plain = json.dumps({"instances": [list(model.row.values())]}).encode()
        env = {**here, "ARRAYS": str(model.arrays)}
        known.insert(3, Server(ARRAYS, [*uvicorn, "serve_fastapi:app"], "/predict_arrays", plain, home, env))
    there = [server for server in known if Path(server.argv[0]).exists()]
    return there, [server.name for server in known if server not in there]


def _in(home: Path, environment: str, command: str) -> str:
    return str(home / environment / "bin" / command)


def _tensors(row: Row) -> bytes:
    inputs = []
    for name, value in row.items():
        kind = "BOOL" if isinstance(value, bool) else "BYTES" if isinstance(value, str) else "FP64"
        one: dict[str, Any] = {"name": name, "shape": [1, 1], "datatype": kind, "data": [value]}
        inputs.append(one | ({"parameters": {"content_type": "str"}} if kind == "BYTES" else {}))
    return json.dumps({"parameters": {"content_type": "pd"}, "inputs": inputs}).encode()


class Running:
    """A server that answers."""

    def __init__(self, server: Server, port: int, process: subprocess.Popen[bytes]) -> None:
        self.server, self.process, self.port = server, process, port
        self.url = f"http://127.0.0.1:{port}{server.path}"

    def ask(self, body: bytes | None = None) -> Any:
        """The answer to a payload. Raises OSError."""
        head = {"content-type": "application/json"}
        request = urllib.request.Request(self.url, body or self.server.body, head)
        with urllib.request.urlopen(request, timeout=10) as answer:
            return json.loads(answer.read())

    def load(self, scratch: Path, connections: int, seconds: int, headers: Mapping[str, str] = {}) -> Load:
        """Keep so many connections busy. Raises CommandError."""
        body = scratch / "body"
        body.write_bytes(self.server.body)
        named = {"BODY": str(body), "HEADERS": "".join(f"{name}: {value}\n" for name, value in headers.items())}
        wrk = ["wrk", "-t1", f"-c{connections}", f"-d{seconds}s", "-s", str(SCRIPTS / "predict.lua"), self.url]
        before = processor_seconds(self.process.pid)
        done = subprocess.run(wrk, env=environment(named), check=False, capture_output=True, text=True)
        spent = processor_seconds(self.process.pid) - before
        if done.returncode:
            raise CommandError(f"wrk: {done.stdout}{done.stderr}")
        found = json.loads(done.stdout.splitlines()[-1])
        requests = max(1, found["requests"])
        return Load(requests / found["seconds"], found["p50"], found["p99"], spent / requests, found["failed"])


@contextmanager
def started(server: Server, log: Path) -> Iterator[Running]:
    """A server, once it answers. Raises CommandError with the end of its output if it does not."""
    port = free_port()
    values = {"{port}": str(port), "{port+1}": str(port + 1), "{port+2}": str(port + 2)}
    env = environment({name: values.get(value, value) for name, value in server.env.items()})
    with log.open("wb") as output:
        process = subprocess.Popen(
            [values.get(part, part) for part in server.argv], cwd=server.cwd, env=env,
            stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
    running = Running(server, port, process)
    try:
        _await(running, log)
        yield running
    finally:
        children = _tree(process.pid)
        process.send_signal(signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(15)
        for pid in children:  # what it left behind
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait()


def _await(running: Running, log: Path) -> None:
    end = time.monotonic() + _START_SECONDS
    while True:
        try:
            running.ask()
            if running.server.ready is not None:
                urllib.request.urlopen(f"http://127.0.0.1:{running.port}{running.server.ready}", timeout=10).close()
            return
        except OSError as error:
            if running.process.poll() is not None or time.monotonic() > end:
                last = log.read_text(errors="replace")[-2000:]
                raise CommandError(f"{running.server.name} does not answer: {error}\n{last}") from error
            time.sleep(0.1)


def free_port() -> int:
    """A port that nobody has, with two behind it that are probably free too."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
    return port if port < 65_000 else port - 1000


def has_wrk() -> bool:
    """Whether the load generator is there."""
    return shutil.which("wrk") is not None


def processor_seconds(pid: int) -> float:
    """User and system time of a process and all below it."""
    total = 0
    for each in _tree(pid):
        fields = _stat(each)
        total += sum(map(int, fields[11:15])) if fields else 0
    return total / _TICKS


def _tree(pid: int) -> list[int]:
    below: dict[int, list[int]] = {}
    for path in Path("/proc").iterdir():
        if path.name.isdigit() and (fields := _stat(int(path.name))):
            below.setdefault(int(fields[1]), []).append(int(path.name))
    found = [pid]
    for each in found:
        found += below.get(each, [])
    return found


def _stat(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def median_of(loads: Sequence[Load], what: Callable[[Load], float]) -> float:
    """The median of a figure."""
    import statistics

    return statistics.median(what(load) for load in loads)
