"""The engine's processes started warm: forked from one that has imported the libraries, instead of importing them anew.

A process of the engine lives for a second or two, and most of that is imports; the tests start hundreds of them. While
`starting_warm` holds, `subprocess.Popen` has our own programs (`MODULES`, and sources in `CODES`) forked by a process
that did nothing but import, and so have they with what they start. All else is as after an exec: a process of its own
with its parent, session, descriptors, environment, folder, arguments and signals, which can be killed anywhere. Only
`/proc/<pid>/cmdline` and `environ` are those of the first process; `comm` names the module. Tests of what is imported,
and of which process ends which, are marked `cold`.
"""

from __future__ import annotations

import atexit
import ctypes
import fcntl
import gc
import importlib
import inspect
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn

MODULES = frozenset(
    {
        "engine",
        "engine.adapters.executors.template",
        "engine.adapters.registries.mlflow_server",
        "engine.serving.template",
    }
)
CODES: set[str] = set()  # programs for `python -c` that are started warm, too
IMPORTED = (
    *("engine.cli.entry", "engine.app.applying", "engine.app.delivering", "engine.app.controller", "engine.kinds"),
    *("engine.runtime.apply", "engine.runtime.deliver", "engine.adapters.state.store", "engine.serving.evidence_file"),
    *("engine.adapters.executors.child", "engine.adapters.executors.processes", "engine.steps.train"),
    *("engine.steps.evaluate", "engine.steps.split", "engine.steps.check_data", "engine.strategies.assess"),
    *("numpy", "pandas", "pyarrow.csv", "pyarrow.parquet", "pyarrow.pandas_compat", "pydantic", "croniter"),
    *("sklearn.model_selection", "sklearn.compose", "sklearn.ensemble", "sklearn.linear_model", "sklearn.metrics"),
    *("sklearn.inspection", "skops.io", "matplotlib.backends.backend_agg", "matplotlib.figure"),
    *("engine.app.serving", "engine.serving.model_process", "engine.serving.compiled", "engine.steps.model_files"),
    *("engine.adapters.registries.mlflow_client", "mlflow", "mlflow.pyfunc"),
    *("mlflow.store.tracking.sqlalchemy_store", "mlflow.store.model_registry.sqlalchemy_store"),
)
_SUBREAPER, _SET_NAME = 36, 15
_prctl = ctypes.CDLL(None).prctl
_kept: list[object] = []  # what a fork must not take down as it replaces it


class Popen(subprocess.Popen[Any]):
    """As subprocess.Popen; our own programs are forked by a process that is asked, and become children of this one."""

    _lock = threading.Lock()
    _channel: socket.socket | None = None

    def _execute_child(self, *given: Any, **named: Any) -> None:
        asked = _SIGNATURE.bind(self, *given, **named).arguments
        if not _is_ours(asked):
            super()._execute_child(*given, **named)  # type: ignore[misc]
            return
        ends = [asked[name] for name in ("p2cread", "c2pwrite", "errwrite")]
        standard = [number if end == -1 else end for number, end in enumerate(ends)]
        request = {
            "arguments": [os.fspath(each) for each in asked["args"][1:]],
            "environment": dict(os.environ if asked["env"] is None else asked["env"]),
            "folder": os.fspath(asked["cwd"] or Path.cwd()),
            "session": bool(asked["start_new_session"]),
            "held": [int(each) for each in signal.pthread_sigmask(signal.SIG_BLOCK, ())],
            "numbers": [0, 1, 2, *asked["pass_fds"]],
        }
        self.pid = self._forked(request, [*standard, *asked["pass_fds"]])
        self._child_created = True
        pipes = ("p2cread", "p2cwrite", "c2pread", "c2pwrite", "errread", "errwrite")
        self._close_pipe_fds(*(asked[name] for name in pipes))  # type: ignore[attr-defined]

    @classmethod
    def _forked(cls, request: dict[str, Any], descriptors: Sequence[int]) -> int:
        with cls._lock:
            if cls._channel is None:
                cls._channel = _start()
            _prctl(_SUBREAPER, 1, 0, 0, 0)  # whose parent ends becomes our child
            try:
                socket.send_fds(cls._channel, [json.dumps({**request, "codes": sorted(CODES)}).encode()], descriptors)
                return int(cls._channel.recv(64))
            finally:
                _prctl(_SUBREAPER, 0, 0, 0, 0)


_SIGNATURE = inspect.signature(subprocess.Popen._execute_child)  # type: ignore[attr-defined]


def _is_ours(asked: Mapping[str, Any]) -> bool:
    arguments = asked["args"]
    if isinstance(arguments, str | bytes) or asked["preexec_fn"] or asked["shell"] or arguments[0] != sys.executable:
        return False
    how, program = (*arguments[1:3], "", "")[:2]
    return (how == "-m" and program in MODULES) or (how == "-c" and program in CODES)


# ── in the process of the tests ──────────────────────────────────────────────────────────────────────────────


@contextmanager
def starting_warm() -> Iterator[None]:
    """While it holds, our own programs start warm."""
    before = subprocess.Popen
    subprocess.Popen = Popen  # type: ignore[misc]
    try:
        yield
    finally:
        subprocess.Popen = before  # type: ignore[misc]


def _start() -> socket.socket:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    environment = {**os.environ, "MPLBACKEND": "Agg", "OMP_WAIT_POLICY": "PASSIVE", "MLFLOW_DISABLE_TELEMETRY": "true"}
    with theirs:
        process = subprocess.Popen(
            [sys.executable, __file__, str(theirs.fileno()), str(os.getpid())],
            pass_fds=[theirs.fileno()],
            env=environment,
            cwd="/",
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )

    def end() -> None:
        ours.close()
        process.wait()

    atexit.register(end)
    return ours


# ── in the process that is forked ────────────────────────────────────────────────────────────────────────────


def prepare() -> None:
    """Import what the programs need."""
    gc.disable()
    for module in IMPORTED:
        importlib.import_module(module)
    gc.enable()
    gc.freeze()
    assert threading.active_count() == 1, "a process with threads cannot be forked soundly"


def serve(channel: socket.socket, owner: int) -> None:
    """Fork for each request, until the other end closes. `owner`: the process that asks, our parent."""
    with suppress(ConnectionError):  # it was killed while it asked
        while data := (received := socket.recv_fds(channel, 1 << 20, 64))[0]:
            _answer(channel, owner, data, received[1])


def _answer(channel: socket.socket, owner: int, data: bytes, descriptors: Sequence[int]) -> None:
    request = json.loads(data)
    CODES.update(request["codes"])
    told, tell = os.pipe()
    between = _fork()
    if between == 0:
        parent = os.getpid()
        pid = _fork()
        if pid:
            os.write(tell, str(pid).encode())
            os._exit(0)
        while os.getppid() == parent:
            time.sleep(0.0002)
        if os.getppid() != owner:  # it ended meanwhile
            os._exit(1)
        _become(request, descriptors)
    for descriptor in (tell, *descriptors):
        os.close(descriptor)
    os.waitpid(between, 0)
    channel.send(os.read(told, 64))
    os.close(told)


def _fork() -> int:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # libraries keep idle threads that know of forks
        return os.fork()


def _serve_from_now_on() -> None:
    """Keep a fork of this process as it is now, which forks what it starts: later it has threads and loops."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    owner = os.getpid()
    if _fork() == 0:
        ours.close()
        os.setsid()
        serve(theirs, owner)
        os._exit(0)
    theirs.close()
    Popen._channel = ours
    subprocess.Popen = Popen  # type: ignore[misc]


def _become(request: Mapping[str, Any], descriptors: Sequence[int]) -> NoReturn:
    """Be what an exec of `python …` would be, and never return."""
    code: Any = 1
    try:
        gc.freeze()
        _descriptors(request["numbers"], descriptors)
        if request["arguments"][0] == "-c" or request["arguments"][1] == "engine":
            _serve_from_now_on()
        if request["session"]:
            os.setsid()
        _signals(request["held"])
        os.environ.clear()
        os.environ.update(request["environment"])
        os.chdir(request["folder"])
        _mark()
        _interpreter(request["arguments"])
        code = 0
        _run(request["arguments"])
    except SystemExit as end:
        code = end.code
        if isinstance(code, str):
            print(code, file=sys.stderr)
            code = 1
    except BaseException:  # noqa: BLE001 - as the interpreter does
        traceback.print_exc()
    finally:
        with suppress(BaseException):
            threading._shutdown()  # type: ignore[attr-defined]
            atexit._run_exitfuncs()
        for stream in (sys.stdout, sys.stderr):
            with suppress(BaseException):
                stream.flush()
        os._exit(code or 0)


def _descriptors(numbers: Sequence[int], descriptors: Sequence[int]) -> None:
    """Each descriptor under its number, and no others."""
    high = [fcntl.fcntl(descriptor, fcntl.F_DUPFD, 4096) for descriptor in descriptors]
    os.closerange(0, 4096)
    for number, descriptor in zip(numbers, high, strict=True):
        os.dup2(descriptor, number)
        os.close(descriptor)


def _signals(held: Sequence[int]) -> None:
    signal.set_wakeup_fd(-1)
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP, signal.SIGINT, signal.SIGPIPE}:
        if signal.getsignal(number) not in (signal.SIG_DFL, signal.SIG_IGN, None):
            signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, held)


def _mark() -> None:
    """Hold the folder of the failpoints' file open: a process of a test's is known by that, or by its environment."""
    if seen := os.environ.get("ENGINE_FAILPOINTS_SEEN"):
        with suppress(OSError):
            os.open(Path(seen).parent, os.O_RDONLY | os.O_CLOEXEC)


def _interpreter(arguments: Sequence[str]) -> None:
    _kept.extend([sys.stdin, sys.stdout, sys.stderr, sys.__stdin__, sys.__stdout__, sys.__stderr__])
    encoded: Any = {"encoding": "utf-8", "closefd": False}
    sys.stdin = sys.__stdin__ = os.fdopen(0, **encoded)  # type: ignore[misc]
    sys.stdout = sys.__stdout__ = os.fdopen(1, "w", **encoded)  # type: ignore[misc]
    sys.stderr = sys.__stderr__ = os.fdopen(2, "w", 1, errors="backslashreplace", **encoded)  # type: ignore[misc]
    if os.isatty(1):
        sys.stdout.reconfigure(line_buffering=True)
    atexit._clear()
    if os.environ.get("PYTHONWARNINGS") == "ignore":
        warnings.simplefilter("ignore")
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed()
    first = [] if os.environ.get("PYTHONSAFEPATH") else [str(Path.cwd()) if arguments[0] == "-m" else ""]
    named = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path]
    sys.path[:] = [*first, *named, *_PATH]
    name = arguments[1] if arguments[0] == "-m" else "python"
    _prctl(_SET_NAME, name.rpartition(".")[2].encode()[:15], 0, 0, 0)


_PATH = [path for path in sys.path if path not in ("", str(Path(__file__).parent))]


def _run(arguments: Sequence[str]) -> None:
    sys.argv = [arguments[0], *arguments[2:]]
    if arguments[0] == "-c":
        exec(compile(arguments[1], "<string>", "exec"), {"__name__": "__main__"})
        return
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=RuntimeWarning, module="runpy")  # it is imported already
        runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    prepare()
    serve(socket.socket(fileno=int(sys.argv[1])), int(sys.argv[2]))
