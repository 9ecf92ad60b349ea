"""The process from which every step's process is forked.

It imports the heavy libraries once, one after another while no request waits. For each request (a line of JSON, its
bulk in `workdir/request.json`, and two file descriptors: the answer pipe and the log) it forks a child in a session of
its own, which runs the step and writes JSON lines to the answer pipe. When a child ends, the template ends what is
left of its session and reports the exit status. When the socket closes, because the engine is gone, it kills its
children and leaves. It stays single-threaded up to the fork, so that a child starts from a sane process.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import json
import os
import resource
import selectors
import signal
import socket
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

from engine.signals import ignore_interrupts

PR_SET_PDEATHSIG = 1
REQUEST_FILE = "request.json"
RESULT_FILE = "result.json"


def main(argv: list[str]) -> int:
    """`argv`: the socket's descriptor, then modules to import while there is nothing else to do."""
    channel = socket.socket(fileno=int(argv[0]))
    ignore_interrupts()
    gc.disable()  # imports make a million objects and no garbage; children collect theirs
    serve(channel, argv[1:])
    return 0


def serve(channel: socket.socket, preload: list[str]) -> None:
    """Fork a child for each request until the other end closes."""
    waiting = preload[::-1]
    children: dict[int, int] = {}  # pid → job
    wake_read, wake_write = os.pipe()
    os.set_blocking(wake_write, False)
    signal.set_wakeup_fd(wake_write, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    with selectors.DefaultSelector() as selector:
        selector.register(channel, selectors.EVENT_READ)
        selector.register(wake_read, selectors.EVENT_READ)
        while True:
            ready = {key.fileobj for key, _ in selector.select(0 if waiting else None)}
            if waiting and not ready:
                with suppress(ImportError):
                    importlib.import_module(waiting.pop())
                continue
            if wake_read in ready:
                os.read(wake_read, 4096)
                _reap(children, channel)
            if channel in ready:
                data, descriptors = b"", list[int]()
                with suppress(ConnectionError):  # the other end was killed before it read all reports
                    data, descriptors, _, _ = socket.recv_fds(channel, 1 << 20, 2)
                if not data:
                    break
                request = json.loads(data)
                template = os.getpid()
                ready_read, ready_write = os.pipe()
                pid = os.fork()
                if pid == 0:
                    selector.close()
                    channel.close()
                    os.close(ready_read)
                    _child(request, template, ready_write, *descriptors)
                children[pid] = request["job"]
                os.close(ready_write)
                os.read(ready_read, 1)  # until it has a session: whoever knows the pid may end the session by it
                os.close(ready_read)
                _report(channel, job=request["job"], pid=pid)
                for descriptor in descriptors:
                    os.close(descriptor)
    for pid in children:
        _kill_session(pid)


def _reap(children: dict[int, int], channel: socket.socket) -> None:
    while children:
        pid, status = os.waitpid(-1, os.WNOHANG)
        if pid == 0:
            return
        job = children.pop(pid, None)
        if job is None:
            continue
        _kill_session(pid)
        _report(channel, job=job, status=os.waitstatus_to_exitcode(status))


def _report(channel: socket.socket, **report: int) -> None:
    with suppress(OSError):
        channel.send(json.dumps(report).encode())


def _kill_session(pid: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def _child(request: Mapping[str, Any], template: int, ready: int, answer: int, log: int) -> NoReturn:
    """Run the step in this process and never return. Closes `ready` once its session exists."""
    os.setsid()
    os.close(ready)
    gc.freeze()  # what is shared with the template is not touched, and so not copied
    gc.enable()
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != template:  # it died before the line above
        os._exit(1)
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGCHLD, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
    os.dup2(log, 1)
    os.dup2(log, 2)
    sys.stdout = os.fdopen(1, "w", buffering=1, encoding="utf-8", errors="replace", closefd=False)
    sys.stderr = os.fdopen(2, "w", buffering=1, encoding="utf-8", errors="replace", closefd=False)
    code = 1
    try:
        from engine.adapters.executors.child import run_request

        with os.fdopen(answer, "w", encoding="utf-8") as lines:
            code = run_request(request, lines)
    except BaseException:  # noqa: BLE001 - the last word of a dying process goes to its log
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def limit_memory(size: int | None) -> None:
    """Make this process, and what it starts, unable to hold more than `size` bytes of private memory each."""
    if size is not None:
        resource.setrlimit(resource.RLIMIT_DATA, (size, size))


def scratch_of(workdir: Path) -> Path:
    """The folder in which a step runs."""
    return workdir / "scratch"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
