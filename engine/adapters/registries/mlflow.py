"""An MLflow tracking server and model registry, reached through a process of its own.

The process (`mlflow_server`) is started once, early if `prefetch()` is called, and imports MLflow; this module
imports nothing heavy. Each call has a deadline that is enforced by killing the process, so that a server which
is dead, slow or hangs ends in a TransientError and never in a wait. Credentials are taken out of the URI, handed
over in the process's environment, and masked in everything that comes back.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any
from urllib.parse import unquote, urlsplit, urlunsplit

import engine
from engine.adapters.masking import masker, secrets_of
from engine.core.canonical import Json
from engine.errors import EngineError, NotSupportedError, StepError, TransientError, UsageError
from engine.ports import Registered, RegisterRequest
from engine.signals import interrupts_held

UPLOAD_RATE = 2 * 2**20  # bytes per second that a server must take at least; longer uploads get more time
_FORWARDED = (
    *("PATH", "HOME", "LANG", "LC_ALL", "LC_CTYPE", "TMPDIR", "TZ", "USER", "LOGNAME", "VIRTUAL_ENV", "XDG_CACHE_HOME"),
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"),
    *("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy"),
    *("ENGINE_FAILPOINTS", "ENGINE_FAILPOINTS_SEEN"),
)
_FORWARDED_PREFIXES = (
    "MLFLOW_TRACKING_",
    "MLFLOW_S3_",
    "MLFLOW_WORKSPACE",
    "AWS_",
    "AZURE_",
    "GOOGLE_",
    "DATABRICKS_",
)
_GO_ON = "See whether it is up and reachable, then apply again: it goes on from there."
_DATABASES = ("sqlite", "postgresql", "mysql", "mssql")
_ERRORS: Mapping[str, type[EngineError]] = {
    "UsageError": UsageError,
    "NotSupportedError": NotSupportedError,
    "StepError": StepError,
}


@dataclass
class _Process:
    """The running process, the pipe on which it answers, and what was read of an unfinished line."""

    popen: subprocess.Popen[bytes]
    answers: int
    rest: bytes = b""
    calls: int = 0


@dataclass
class _Call:
    """What is known of a call while it runs."""

    deadline: float  # on the monotonic clock, seconds
    state: str  # a sentence for people: how far it came


class MlflowRegistry:
    """Implements ModelRegistry for any MLflow 3 tracking URI: `sqlite:///…`, another database, `http(s)://…`.

    `timeout` is in seconds and holds for each call; uploads get `UPLOAD_RATE` on top. `artifact_root` is where the
    files of models go when `tracking_uri` is a database: beside an SQLite file by default, else it must be said
    (UsageError); a server decides for itself. What MLflow prints goes to `log`. One call at a time; more threads
    wait for each other.
    """

    def __init__(
        self,
        tracking_uri: str,
        registry_uri: str | None = None,
        *,
        timeout: float = 30.0,
        log: Path | None = None,
        artifact_root: str | None = None,
    ) -> None:
        tracking, credentials = _without_credentials(_absolute(tracking_uri))
        self._uris = {"tracking": tracking, "registry": _absolute(registry_uri or "") or tracking}
        self._artifact_root = artifact_root or _beside_database(tracking)
        if self._artifact_root is None and tracking.startswith(_DATABASES):
            raise UsageError(
                "an MLflow database by itself does not say where the files of models go",
                remedy="Name an artifact root (a folder or an s3://, gs:// … URL), or use an MLflow server.",
            )
        self._environment = {**_scrubbed(os.environ), **credentials}
        self._mask = masker(secrets_of(self._environment, [tracking_uri, registry_uri or ""]))
        self.timeout = timeout
        self._log = log
        self._process: _Process | None = None
        self._lock = threading.Lock()
        self._used = time.monotonic()

    def prefetch(self) -> None:
        """Start the process, which imports MLflow and opens the store, and do not wait for it."""
        with self._lock:
            self._used = time.monotonic()
            if self._process is None:
                self._process = self._start()
                self._send(self._process, "open", {})

    def find(self, model: str, key: str) -> Registered | None:
        """The version of `model` whose tags hold `key`. Raises TransientError when there is no answer in time."""
        found = self._call("find", {"model": model, "key": key}, "Nothing was changed")
        return _registered(found) if found else None

    def register(self, request: RegisterRequest) -> Registered:
        """Make a run and a version for `request.key`, or find and finish those of an earlier try.

        Raises TransientError (nothing is lost; calling again goes on), UsageError, NotSupportedError, StepError.
        """
        return _registered(self._call("register", _payload(request), "Nothing was registered"))

    def set_aliases(self, model: str, aliases: Mapping[str, int | None]) -> None:
        """Point each alias at a version; None removes it. Raises UsageError for a version that is not there."""
        self._call("set_aliases", {"model": model, "aliases": dict(aliases)}, "Aliases may not have been moved")

    def aliases(self, model: str) -> Mapping[str, int]:
        """Every alias of `model` and its version; empty for a model that the registry does not know."""
        answer: Mapping[str, int] = self._call("aliases", {"model": model}, "Nothing was changed")
        return answer

    def close(self) -> None:
        """End the process. Calling anything afterwards starts a new one."""
        with self._lock:
            self._end()

    def close_idle(self, seconds: float) -> None:
        """End the process if nothing was asked of it for so long; nothing waits for a call that goes on."""
        if self._process is None or time.monotonic() - self._used < seconds or not self._lock.acquire(blocking=False):
            return
        try:
            self._end()
        finally:
            self._lock.release()

    def cancel(self) -> None:
        """End the process at once, from any thread; a call that waits for it raises TransientError."""
        process = self._process
        if process is not None:
            process.popen.kill()

    # ── the process ──────────────────────────────────────────────────────────────────────────────────────────

    def _call(self, operation: str, arguments: Mapping[str, Json], state: str) -> Any:
        with self._lock:
            self._used = time.monotonic()
            call = _Call(self._used + self.timeout, state)
            if self._process is None or self._process.popen.poll() is not None:
                self._end()
                self._process = self._start()
            process = self._process
            try:
                number = self._send(process, operation, arguments)
                for message in self._messages(process, call):
                    if message["call"] != number:
                        continue
                    if "state" in message:
                        call.state = message["state"]
                        call.deadline += message.get("bytes", 0) / UPLOAD_RATE
                    elif "error" in message:
                        raise self._error(message["error"], call)
                    else:
                        return message["result"]
            except BrokenPipeError:
                pass
            except EngineError:
                raise
            except BaseException:
                self._end()  # what it still does for this call must not go on behind the caller's back
                raise
            raise self._died(process, call)

    def _messages(self, process: _Process, call: _Call) -> Iterator[Any]:
        """Each message of the process, until it ends. Raises TransientError at the deadline."""
        while True:
            line, newline, rest = process.rest.partition(b"\n")
            if newline:
                process.rest = rest
                yield json.loads(line)
                continue
            left = call.deadline - time.monotonic()
            if left <= 0 or not select.select([process.answers], [], [], left)[0]:
                raise self._no_answer(call)
            chunk = os.read(process.answers, 65536)
            if not chunk:
                return
            process.rest += chunk

    def _start(self) -> _Process:
        try:
            return self._started()
        except OSError as error:
            raise UsageError(
                f"the process that talks to MLflow at {self._place()} cannot be started: {error}",
                remedy="Mend that, or name another place for the registry.",
            ) from error

    def _started(self) -> _Process:
        reader, writer = os.pipe()
        try:
            with _opened(self._log) as log, interrupts_held():
                popen = subprocess.Popen(  # noqa: S603 - our own interpreter and module
                    [sys.executable, "-m", "engine.adapters.registries.mlflow_server", str(writer)],
                    stdin=subprocess.PIPE,
                    stdout=log,
                    stderr=log,
                    pass_fds=(writer,),
                    cwd=self._directory(),
                    env=self._environment,
                    start_new_session=True,  # a terminal's Ctrl-C is for the run, which then decides
                )
        except BaseException:
            os.close(reader)
            raise
        finally:
            os.close(writer)
        process = _Process(popen, reader)
        self._send(process, "configure", {**self._uris, "artifact_root": self._artifact_root})
        return process

    def _directory(self) -> str:
        """Where the process runs: nowhere that user code could be imported from."""
        database = _database_file(self._uris["tracking"])
        if database is None:
            return "/"
        database.parent.mkdir(parents=True, exist_ok=True)
        return str(database.parent)

    def _send(self, process: _Process, operation: str, arguments: Mapping[str, Json]) -> int:
        process.calls += 1
        request = {"call": process.calls, "operation": operation, "arguments": arguments}
        stdin = process.popen.stdin
        assert stdin is not None
        stdin.write(json.dumps(request).encode() + b"\n")
        stdin.flush()
        return process.calls

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.popen.kill()
        process.popen.wait()
        assert process.popen.stdin is not None
        with suppress(BrokenPipeError):  # it died with a request unread
            process.popen.stdin.close()
        os.close(process.answers)

    # ── errors ───────────────────────────────────────────────────────────────────────────────────────────────

    def _error(self, error: Mapping[str, Any], call: _Call) -> EngineError:
        message, remedy = self._mask(error["message"]), self._mask(error["remedy"])
        if error["kind"] == "TransientError":
            return TransientError(f"MLflow at {self._place()}: {message}. {call.state}.", remedy=_GO_ON)
        return _ERRORS[error["kind"]](message, remedy=remedy)

    def _no_answer(self, call: _Call) -> TransientError:
        self._end()
        return TransientError(
            f"MLflow at {self._place()} did not answer in time ({self.timeout:g} s). {call.state}.",
            remedy=_GO_ON,
        )

    def _died(self, process: _Process, call: _Call) -> TransientError:
        with suppress(subprocess.TimeoutExpired):
            process.popen.wait(timeout=5)
        self._end()
        code = process.popen.returncode
        how = f"by {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
        where = f" What it printed is in {self._log}." if self._log else ""
        return TransientError(
            f"the process that talks to MLflow at {self._place()} was ended {how}. {call.state}.",
            remedy=f"Apply again: it goes on from there.{where}",
        )

    def _place(self) -> str:
        return self._mask(self._uris["tracking"])


def _registered(answer: Mapping[str, Any]) -> Registered:
    return Registered(version=answer["version"], run_id=answer["run_id"], uri=answer["uri"])


def _payload(request: RegisterRequest) -> dict[str, Json]:
    return {
        "model": request.model,
        "experiment": request.experiment,
        "key": request.key,
        "run_name": request.run_name,
        "model_dir": str(request.model_dir),
        "params": dict(request.params),
        "metrics": dict(request.metrics),
        "tags": dict(request.tags),
        "datasets": [dict(dataset) for dataset in request.datasets],
        "files": {name: str(path) for name, path in request.files.items()},
        "texts": dict(request.texts),
        "requirements": list(request.requirements),
        "input_example": str(request.input_example) if request.input_example else None,
    }


def _absolute(uri: str) -> str:
    """A relative SQLite path is relative to the caller, not to the process."""
    prefix = "sqlite:///"
    if not uri.startswith(prefix) or uri.startswith(prefix + "/") or uri == prefix + ":memory:":
        return uri
    return f"{prefix}{Path(uri[len(prefix) :]).absolute()}"


def _database_file(uri: str) -> Path | None:
    prefix = "sqlite:////"
    return Path("/" + uri[len(prefix) :]) if uri.startswith(prefix) else None


def _beside_database(uri: str) -> str | None:
    database = _database_file(uri)
    return str(database.parent / "mlartifacts") if database else None


def _without_credentials(uri: str) -> tuple[str, dict[str, str]]:
    """An http(s) URI without its user and password, and these as MLflow's environment variables."""
    parts = urlsplit(uri)
    if parts.scheme not in ("http", "https") or "@" not in parts.netloc:
        return uri, {}
    host = parts.netloc.rpartition("@")[2]
    credentials = {
        "MLFLOW_TRACKING_USERNAME": unquote(parts.username or ""),
        "MLFLOW_TRACKING_PASSWORD": unquote(parts.password or ""),
    }
    return urlunsplit(parts._replace(netloc=host)), credentials


def _scrubbed(environment: Mapping[str, str]) -> dict[str, str]:
    kept = {
        name: value
        for name, value in environment.items()
        if name in _FORWARDED or (name.startswith(_FORWARDED_PREFIXES) and not name.endswith("_URI"))
    }
    return {
        **kept,
        "PYTHONPATH": str(Path(engine.__file__).parent.parent),
        "PYTHONSAFEPATH": "1",
        "PYTHONWARNINGS": "ignore",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_ENABLE_ASYNC_LOGGING": "false",
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",  # MLflow would repeat POSTs; we look before we repeat
        "MLFLOW_HTTP_REQUEST_TIMEOUT": "20",
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
        "GIT_PYTHON_REFRESH": "quiet",
    }


@contextmanager
def _opened(log: Path | None) -> Iterator[int | IO[bytes]]:
    if log is None:
        yield subprocess.DEVNULL
        return
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as file:
        yield file
