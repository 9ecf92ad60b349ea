"""The process in which MLflow runs: `python -m engine.adapters.registries.mlflow_server FD`.

One JSON line per request on stdin, one or more per answer on the file descriptor FD, which nothing else writes to:
`{"call", "state", "bytes"?}` while it works, then `{"call", "result"}` or `{"call", "error": {kind, message, remedy}}`.
It ends with its parent, at once, also in the middle of a request: what it was doing can be done again.
"""

from __future__ import annotations

import gc
import json
import os
import queue
import select
import sys
import threading
import traceback
from collections.abc import Callable
from typing import IO, Any

from engine.adapters.masking import masker, secrets_of
from engine.signals import ignore_interrupts


def main() -> None:
    """Answer requests until stdin ends."""
    ignore_interrupts()
    gc.disable()  # importing MLflow makes a million objects and no garbage: a third of the time goes
    parent = os.getppid()
    answers = os.fdopen(int(sys.argv[1]), "w", encoding="utf-8")
    requests: queue.Queue[bytes] = queue.Queue()
    # Not PR_SET_PDEATHSIG: it fires when the *thread* that started the process ends.
    threading.Thread(target=_read, args=(requests, parent), daemon=True).start()
    configuration = json.loads(requests.get())["arguments"]
    uris = [configuration["tracking"], configuration["registry"]]
    sys.stdout = sys.stderr = _Masked(sys.stderr, masker(secrets_of(os.environ, uris)))
    handle: Callable[..., Any] | None = None
    while True:
        request = json.loads(requests.get())
        number = request["call"]

        def report(number: int = number, **fields: Any) -> None:
            answers.write(json.dumps({"call": number, **fields}) + "\n")
            answers.flush()

        try:
            if handle is None:
                handle = _open(configuration)
                gc.freeze()
                gc.enable()
            report(result=handle(request["operation"], request["arguments"], report))
        except Exception as error:  # noqa: BLE001 - whatever happened has to be told to the caller
            traceback.print_exc()
            report(error=_described(error))


def _read(requests: queue.Queue[bytes], parent: int) -> None:
    rest = b""
    while os.getppid() == parent:
        if not select.select([0], [], [], 1.0)[0]:
            continue
        chunk = os.read(0, 65536)
        if not chunk:
            break
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            requests.put(line)
    os._exit(0)


def _open(configuration: dict[str, Any]) -> Callable[..., Any]:
    from engine.adapters.registries.mlflow_client import Client

    return Client(configuration["tracking"], configuration["registry"], configuration["artifact_root"]).handle


def _described(error: Exception) -> dict[str, str]:
    if isinstance(error, ImportError):
        return {
            "kind": "NotSupportedError",
            "message": f"MLflow cannot be imported: {error}",
            "remedy": "Install it: pip install 'mlflow>=3.10,<4'",
        }
    from engine.adapters.registries.mlflow_errors import described

    return described(error)


class _Masked:
    """A text stream that shows no credentials. Lines are masked whole."""

    def __init__(self, stream: IO[str], mask: Callable[[str], str]) -> None:
        self._stream, self._mask, self._rest = stream, mask, ""

    def write(self, text: str) -> int:
        *lines, self._rest = (self._rest + text).split("\n")
        for line in lines:
            self._stream.write(self._mask(line) + "\n")
        self._stream.flush()
        return len(text)

    def flush(self) -> None:
        self._stream.flush()

    def isatty(self) -> bool:
        return False


if __name__ == "__main__":
    main()
