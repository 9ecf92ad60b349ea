"""The process from which every model process is forked.

It imports the heavy libraries once, so that a model process that died is back in a fraction of a second. For each
request (a line of JSON and one descriptor: the child's end of a socketpair) it forks a child in a session of its own.
`{"kill": job}` ends a child with all that it started. When the channel closes, because the gateway is gone, it kills
its children and leaves. It stays single-threaded, so that a child starts from a sane process.
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
from typing import Any, NoReturn

from engine.signals import ignore_interrupts

PRELOAD = (
    "engine.serving.model_process",
    "numpy",
    "pandas",
    "pyarrow.parquet",
    "pyarrow.pandas_compat",
    "engine.serving.compiled",
    "engine.steps.model_files",
    "sklearn.compose",
    "sklearn.linear_model",
    "sklearn.ensemble",
    "skops.io",
)
_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS = 1, 38
_CAPABILITY_VERSION = 0x20080522
_DESCRIPTORS = 256


def main(argv: list[str]) -> int:
    """`argv`: the channel's descriptor."""
    channel = socket.socket(fileno=int(argv[0]))
    ignore_interrupts()
    gc.disable()  # imports make a million objects and no garbage; children collect theirs
    _die_with_parent()
    serve(channel)
    return 0


def serve(channel: socket.socket) -> None:
    """Fork a child for each request until the other end closes."""
    waiting = list(PRELOAD)[::-1]
    children: dict[int, int] = {}  # job → pid
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
                _reap(children)
            if channel in ready:
                data, descriptors = b"", list[int]()
                with suppress(ConnectionError):  # the other end was killed before it read all reports
                    data, descriptors, _, _ = socket.recv_fds(channel, 1 << 20, 1)
                if not data:
                    break
                request = json.loads(data)
                if "kill" in request:
                    _kill_session(children.get(request["kill"]))
                else:
                    children[request["job"]] = _fork(request, descriptors[0], (channel, wake_read, wake_write))
    for pid in children.values():
        _kill_session(pid)


def _fork(request: Mapping[str, Any], descriptor: int, others: tuple[Any, ...]) -> int:
    template = os.getpid()
    ready_read, ready_write = os.pipe()
    pid = os.fork()
    if pid == 0:
        signal.set_wakeup_fd(-1)
        for other in (*others, ready_read):
            os.close(other if isinstance(other, int) else other.detach())
        _child(request, descriptor, template, ready_write)
    os.close(ready_write)
    os.close(descriptor)
    os.read(ready_read, 1)  # until it has a session: it is ended by it
    os.close(ready_read)
    return pid


def _reap(children: dict[int, int]) -> None:
    while children:
        pid, _ = os.waitpid(-1, os.WNOHANG)
        if pid == 0:
            return
        _kill_session(pid)
        for job, known in list(children.items()):
            if known == pid:
                del children[job]


def _kill_session(pid: int | None) -> None:
    if pid is not None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)


def _child(request: Mapping[str, Any], descriptor: int, template: int, ready: int) -> NoReturn:
    """Serve a model in this process and never return. Closes `ready` once its session exists."""
    os.setsid()
    os.close(ready)
    gc.freeze()  # what is shared with the template is not touched, and so not copied
    gc.enable()
    _die_with_parent()
    if os.getppid() != template:  # it died before the line above
        os._exit(1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    code = 1
    try:
        _limit(request.get("memory"))
        from engine.serving.model_process import serve_model

        serve_model(socket.socket(fileno=descriptor), request)
        code = 0
    except BaseException:  # noqa: BLE001 - the last word of a dying process goes to the gateway's log
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _limit(memory: int | None) -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    few = _DESCRIPTORS if hard == resource.RLIM_INFINITY else min(_DESCRIPTORS, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (few, few))
    if memory is not None:
        resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


def drop_capabilities() -> None:
    """Give up every capability, for a process that root started: its user's files are all that is left to it."""
    with suppress(OSError, AttributeError):
        libc = ctypes.CDLL(None)
        header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION, 0)
        libc.capset(header, (ctypes.c_uint32 * 6)())


def _die_with_parent() -> None:
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
