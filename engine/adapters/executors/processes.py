"""An executor that runs each step in a process of its own, forked from a warm template.

Threads of the engine may call `run` at the same time; at most `jobs` steps run at once. A step that exceeds its
time is asked to stop, then killed with all that it started. Its output goes through the engine into its log, with
secrets masked. The template is started by the first step, or earlier by `prefetch`.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from engine.adapters.executors.template import REQUEST_FILE, RESULT_FILE, scratch_of
from engine.adapters.masking import MaskedLog
from engine.core.verdict import Verdict
from engine.errors import StepCancelledError, StepCrashedError, StepError, StepMemoryError, StepTimeoutError
from engine.ports import StepOutcome, StepRequest
from engine.signals import interrupts_held

PRELOAD = (  # in the order in which the steps of a life cycle need them
    "engine.adapters.executors.child",
    "numpy",
    "pandas",
    "pyarrow.csv",
    "pyarrow.parquet",
    "pyarrow.pandas_compat",
    "pydantic",
    "sklearn.model_selection",
    "sklearn.compose",
    "sklearn.ensemble",
    "sklearn.linear_model",
    "skops.io",
    "matplotlib.backends.backend_agg",
    "matplotlib.figure",
)
# BLAS and OpenMP let threads without work spin for a while, which is processor time that another step could have.
_IDLE_THREADS_SLEEP = {"OMP_WAIT_POLICY": "PASSIVE", "OPENBLAS_THREAD_TIMEOUT": "4"}
GRACE_SECONDS = 3.0
KEPT_ENVIRONMENT = frozenset(
    {
        "PATH",
        "HOME",
        "USER",
        "LOGNAME",
        "LANG",
        "LANGUAGE",
        "TZ",
        "TMPDIR",
        "VIRTUAL_ENV",
        "PYTHONPATH",
        "LD_LIBRARY_PATH",
        "OMP_NUM_THREADS",
        "OPENBLAS_NUM_THREADS",
        "MKL_NUM_THREADS",
        "CUDA_VISIBLE_DEVICES",
        "SSL_CERT_FILE",
        "REQUESTS_CA_BUNDLE",
        "PYTHONDONTWRITEBYTECODE",
        "PYTHONPYCACHEPREFIX",
        "ENGINE_FAILPOINTS",
        "ENGINE_FAILPOINTS_SEEN",
    }
)


class ProcessExecutor:
    """See the module. Use as `with ProcessExecutor(...) as executor`, or call `close`."""

    def __init__(self, *, jobs: int | None = None, preload: Sequence[str] = PRELOAD) -> None:
        self._slots = threading.BoundedSemaphore(jobs or os.cpu_count() or 1)
        self._preload = tuple(preload)
        self._lock = threading.Lock()
        self._template: _Template | None = None
        self._running: dict[int, int] = {}  # job → pid
        self._cancelled = False
        self._jobs = 0

    def __enter__(self) -> ProcessExecutor:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def prefetch(self) -> None:
        """Start the template now, so that its imports overlap with other work."""
        with self._lock:
            self._started()

    def run(self, request: StepRequest, progress: Callable[[int, int, str], None]) -> StepOutcome:
        """Run one step and return what it says of itself. Raises StepError and its kin."""
        with self._slots:
            if self._cancelled:
                raise StepCancelledError(f"{request.step} was cancelled before it began")
            _lay_out(request)
            return self._run(request, progress)

    def cancel(self) -> None:
        """End all running steps at once and refuse new ones."""
        with self._lock:
            self._cancelled = True
            pids = list(self._running.values())
        for pid in pids:
            _signal_session(pid, signal.SIGKILL)

    def close(self) -> None:
        """End the template and whatever still runs."""
        with self._lock:
            if self._template is not None:
                self._template.close()
                self._template = None

    def _started(self) -> _Template:
        if self._template is not None and self._template.gone:
            self._template.close()
            self._template = None
        if self._template is None:
            self._template = _Template(self._preload)
        return self._template

    def _run(self, request: StepRequest, progress: Callable[[int, int, str], None]) -> StepOutcome:
        answer_read, answer_write = os.pipe()
        log_read, log_write = os.pipe()
        with self._lock:
            self._jobs += 1
            job = self._jobs
            template = self._started()
            try:
                template.start(job, request, answer_write, log_write)
            finally:
                os.close(answer_write)
                os.close(log_write)
        try:
            return self._follow(job, request, answer_read, log_read, template, progress)
        finally:
            with self._lock:
                self._running.pop(job, None)
            os.close(answer_read)
            os.close(log_read)

    def _follow(
        self,
        job: int,
        request: StepRequest,
        answer: int,
        log: int,
        template: _Template,
        progress: Callable[[int, int, str], None],
    ) -> StepOutcome:
        deadline = None if request.timeout is None else time.monotonic() + request.timeout
        final: dict[str, Any] = {}

        def on_message(message: Mapping[str, Any]) -> None:
            if "pid" in message:
                with self._lock:
                    self._running[job] = message["pid"]
            elif "progress" in message:
                progress(*message["progress"])
            else:
                final.update(message)

        pid = template.pid_of(job)
        on_message({"pid": pid})
        if self._cancelled:
            _signal_session(pid, signal.SIGKILL)
        with MaskedLog(request.log, request.secrets.values()) as masked:
            timed_out = _pump(answer, log, masked, on_message, deadline, pid)
        try:
            status = template.wait(job)
        except StepCrashedError:
            _signal_session(pid, signal.SIGKILL)  # what the step started, and nobody else is left to end
            raise
        if "result" in final:
            return outcome_of(final["result"])
        if self._cancelled:
            raise StepCancelledError(f"{request.step} was cancelled", log=str(request.log))
        raise _failure(request, final.get("error"), status, timed_out)


class _Template:
    """The template process, and what it reports of its children."""

    def __init__(self, preload: Sequence[str]) -> None:
        self._channel, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        environment = {name: value for name, value in os.environ.items() if _kept(name)}
        with other, interrupts_held():
            self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
                [sys.executable, "-m", "engine.adapters.executors.template", str(other.fileno()), *preload],
                pass_fds=[other.fileno()],
                env={**_IDLE_THREADS_SLEEP, "MPLBACKEND": "Agg", **environment},
                stdin=subprocess.DEVNULL,
                start_new_session=True,  # who kills the engine's process group leaves it to end the steps
            )
        self._reports: dict[str, dict[int, int]] = {"pid": {}, "status": {}}
        self._news = threading.Condition()
        self._gone = False
        threading.Thread(target=self._listen, daemon=True).start()

    def start(self, job: int, request: StepRequest, answer: int, log: int) -> None:
        message = json.dumps(
            {
                "job": job,
                "workdir": str(request.workdir),
                "secrets": dict(request.secrets),
                "environment": dict(request.environment),
            }
        ).encode()
        try:
            socket.send_fds(self._channel, [message], [answer, log])
        except OSError as error:
            raise StepCrashedError(f"the step's process could not be started: {error}") from error

    def pid_of(self, job: int) -> int:
        return self._report("pid", job)

    def wait(self, job: int) -> int:
        """The exit code of a job's process; negative for a signal."""
        return self._report("status", job)

    @property
    def gone(self) -> bool:
        """Whether the process has ended by itself."""
        return self._gone

    def close(self) -> None:
        self._channel.shutdown(socket.SHUT_RDWR)
        try:
            self._process.wait(GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._channel.close()

    def _report(self, kind: str, job: int) -> int:
        with self._news:
            self._news.wait_for(lambda: job in self._reports[kind] or self._gone)
            if job not in self._reports[kind]:
                raise StepCrashedError("the process that starts the steps is gone", remedy="Run engine apply again.")
            return self._reports[kind].pop(job)

    def _listen(self) -> None:
        while True:
            with suppress(OSError):
                data = self._channel.recv(65536)
                if data:
                    report = json.loads(data)
                    with self._news:
                        for kind, known in self._reports.items():
                            if kind in report:
                                known[report["job"]] = report[kind]
                        self._news.notify_all()
                    continue
            with self._news:
                self._gone = True
                self._news.notify_all()
            return


def outcome_of(result: Mapping[str, Any]) -> StepOutcome:
    """A step's result as the child wrote it."""
    facts = {**result["facts"], "usage": result["usage"]}
    return StepOutcome(facts, result["summary"], Verdict(result["verdict"]) if result["verdict"] else None)


def finished_before(workdir: Path) -> StepOutcome | None:
    """The outcome that a child left in `workdir` before whoever waited for it died; None if it left none."""
    try:
        return outcome_of(json.loads((workdir / RESULT_FILE).read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError):
        return None


def _pump(
    answer: int,
    log: int,
    masked: MaskedLog,
    on_message: Callable[[Mapping[str, Any]], None],
    deadline: float | None,
    pid: int,
) -> bool:
    """Move log and answers until the step closed its answer pipe; returns whether it ran out of time."""
    pending = b""
    timed_out = False
    with selectors.DefaultSelector() as selector:
        for descriptor in (answer, log):
            os.set_blocking(descriptor, False)
            selector.register(descriptor, selectors.EVENT_READ)
        while answer in selector.get_map():
            wait = None if deadline is None else max(0.0, deadline - time.monotonic())
            events = selector.select(wait)
            if not events and deadline is not None:
                _signal_session(pid, signal.SIGKILL if timed_out else signal.SIGTERM)
                deadline = None if timed_out else time.monotonic() + GRACE_SECONDS
                timed_out = True
                continue
            for key, _ in events:
                data = os.read(key.fd, 65536)
                if not data:
                    selector.unregister(key.fd)
                elif key.fd == log:
                    masked.write(data)
                else:
                    *lines, pending = (pending + data).split(b"\n")
                    for line in lines:
                        on_message(json.loads(line))
        _drain(log, masked)
    return timed_out


def _drain(log: int, masked: MaskedLog) -> None:
    """Take what the step printed last, without waiting for processes it may have left behind."""
    with suppress(BlockingIOError):
        while data := os.read(log, 65536):
            masked.write(data)


def _failure(request: StepRequest, error: Mapping[str, Any] | None, status: int, timed_out: bool) -> StepError:
    log = str(request.log)
    if timed_out:
        return StepTimeoutError(
            f"{request.step} was stopped after {request.timeout:g} s",
            remedy="Raise resources.timeout, or make the step faster.",
            log=log,
        )
    if error is None:
        how = f"was killed by {signal.Signals(-status).name}" if status < 0 else f"exited with code {status}"
        return StepCrashedError(
            f"{request.step}: its process {how} and left no result",
            remedy="If the machine ran out of memory, set resources.memory or use less data.",
            log=log,
        )
    if error["kind"] == "memory":
        return StepMemoryError(
            f"{request.step} ran out of memory", remedy="Raise resources.memory, or use less data.", log=log
        )
    return StepError(f"{request.step}: {error['message']}", remedy=error.get("remedy", ""), log=log)


def _lay_out(request: StepRequest) -> None:
    """Make the step's folders, and link into its scratch folder what it may read."""
    scratch = scratch_of(request.workdir)
    for folder in (scratch, request.workdir / "out", request.log.parent):
        folder.mkdir(parents=True, exist_ok=True)
    for relative, target in request.links.items():
        link = scratch / relative
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(target)
    (request.workdir / REQUEST_FILE).write_text(json.dumps(_as_json(request)), encoding="utf-8")


def _as_json(request: StepRequest) -> dict[str, Any]:
    return {
        "step": request.step,
        "function": request.function,
        "settings": request.settings,
        "inputs": {
            **{role: str(path) for role, path in request.inputs.items()},
            **{role: str(scratch_of(request.workdir) / path) for role, path in request.linked.items()},
        },
        "outputs": dict(request.outputs),
        "facts": request.facts,
        "project": str(request.project),
        "memory": request.memory,
        "models": {role: vars(model) for role, model in request.models.items()},
    }


def _kept(name: str) -> bool:
    return name in KEPT_ENVIRONMENT or name.startswith("LC_")


def _signal_session(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)
