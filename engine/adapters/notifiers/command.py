"""A notice for a command of the user's: JSON on its standard input, no shell, a scrubbed environment, a time limit."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from engine.core.alerts import Notice
from engine.core.notice_text import document_of, lines_of, title_of
from engine.errors import TransientError, UsageError

_PASSED_ON = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR")


def notify(receiver: Mapping[str, Any], notice: Notice, resolve: Callable[[str], str], project: Path) -> None:
    """The port Notifier. The command runs in the project's folder; another exit code than 0 is a failure."""
    lines = lines_of(notice, receiver["template"])
    body = json.dumps(document_of(notice, title_of(notice, receiver["title"]), lines)).encode()
    own = {name: resolve(value) for name, value in receiver["environment"].items()}
    passed = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    environment = {**passed, **own, "ENGINE_ALERT_ID": notice.id, "ENGINE_ALERT_STATUS": notice.status}
    arguments = list(receiver["command"])
    if arguments[0] == "python":  # as in steps: the one that runs engine
        arguments[0] = sys.executable
    try:
        process = subprocess.Popen(  # noqa: S603 - a list of arguments, without a shell
            arguments,
            cwd=project,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    except OSError as error:
        raise UsageError(f"{arguments[0]} cannot be started: {error.strerror}") from None
    try:
        process.communicate(body, timeout=float(receiver["timeout"]))
    except subprocess.TimeoutExpired:
        raise TransientError(f"{arguments[0]} took longer than {receiver['timeout']:g} s") from None
    finally:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)  # and whatever it left behind
        process.wait()
    if process.returncode:
        raise TransientError(f"{arguments[0]} ended with {process.returncode}")
