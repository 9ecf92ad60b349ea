"""A file's rows through the gateway: predictions for each of them, or traffic for a while.

Speaks HTTP with the standard library alone, so that it is a client like any other. Raises UsageError where no gateway
has served the project, TransientError when it does not answer, and what it says of rows that do not fit the model.
"""

from __future__ import annotations

import http.client
import json
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from secrets import token_hex
from typing import Any
from urllib.parse import quote, urlsplit

from engine.app.workspace import Workspace
from engine.errors import EngineError, TransientError, UsageError

_TIMEOUT = 60.0  # seconds


@dataclass(frozen=True)
class Gateway:
    """Where a gateway listens. `token` is sent if there is one."""

    url: str
    token: str | None = None

    def connect(self) -> http.client.HTTPConnection:
        """A connection of one's own."""
        place = urlsplit(self.url)
        if place.scheme not in ("http", "https") or place.hostname is None:
            raise UsageError(f"{self.url} is not the address of a gateway", remedy="Write http://127.0.0.1:8080.")
        if place.scheme == "https":
            context = ssl.create_default_context()
            return http.client.HTTPSConnection(place.hostname, place.port, timeout=_TIMEOUT, context=context)
        return http.client.HTTPConnection(place.hostname, place.port, timeout=_TIMEOUT)

    def headers(self) -> dict[str, str]:
        """What every request carries."""
        return {"content-type": "application/json"} | ({"authorization": f"Bearer {self.token}"} if self.token else {})


@dataclass
class Traffic:
    """How requests were answered. `answers` counts them by status and release, `seconds` are their latencies."""

    answers: Counter[str] = field(default_factory=Counter)
    failed: int = 0
    seconds: list[float] = field(default_factory=list)
    lasted: float = 0.0

    def quantile(self, share: float) -> float:
        """The latency (seconds) within which this share of the requests was answered; NaN without any."""
        ordered = sorted(self.seconds)
        return ordered[min(len(ordered) - 1, int(len(ordered) * share))] if ordered else float("nan")


def find_gateway(workspace: Workspace) -> Gateway:
    """The gateway that serves this project, as its status says. Raises UsageError without one."""
    try:
        status = json.loads((workspace.serving / "status.json").read_text(encoding="utf-8"))
        return Gateway(f"http://{status['address']}")
    except (OSError, ValueError, KeyError, TypeError):
        raise UsageError(
            "no gateway has served this project yet", remedy="Start one: engine serve. Or name one: --url"
        ) from None


def rows_of(gateway: Gateway, model: str, path: Path) -> list[dict[str, Any]]:
    """The file's rows, with the model's columns only, as JSON has them. Raises UsageError, StepError."""
    from engine.steps.table import read_table

    wanted = _inputs(gateway, model)
    frame, _ = read_table(path)
    missing = sorted(wanted.keys() - set(frame.columns))
    if missing:
        raise UsageError(
            f"{path} lacks the column {', '.join(missing)}", remedy=f"{model} needs: {', '.join(sorted(wanted))}."
        )
    columns = {name: _values(frame[name], kind) for name, kind in wanted.items()}
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def predict(gateway: Gateway, model: str, rows: Sequence[Mapping[str, Any]], batch: int) -> Iterator[Mapping[str, Any]]:
    """One answer for each row, in order: `prediction`, `probability` of what was predicted, `version`, `id`."""
    connection = gateway.connect()
    try:
        for first in range(0, len(rows), batch):
            part = rows[first : first + batch]
            answer = _ask(connection, gateway, _path(model), {"instances": part}, first)
            shares = answer.get("probabilities") or [None] * len(part)
            ids = answer.get("ids") or [answer.get("id")] * len(part)
            for prediction, share, name in zip(answer["predictions"], shares, ids, strict=True):
                yield {
                    "prediction": prediction,
                    "probability": None if share is None else max(share.values()),
                    "version": answer.get("version"),
                    "id": name,
                }
    finally:
        connection.close()


def send_traffic(
    gateway: Gateway, model: str, rows: Sequence[Mapping[str, Any]], seconds: float, clients: int
) -> Traffic:
    """Send the rows one by one, again and again, from several clients at once. Each request has a key of its own.

    So evidence does not run out when the rows do: a key counts once in a rollout.
    """
    bodies = [json.dumps({"instances": [row]}).encode() for row in rows]
    traffic, lock, numbers, mark = Traffic(), threading.Lock(), count(), token_hex(4)
    began = time.monotonic()

    def client() -> None:
        connection = gateway.connect()
        own = Traffic()
        while time.monotonic() < began + seconds:
            started = time.monotonic()
            number = next(numbers)
            said, fine = _sent(connection, gateway, model, bodies[number % len(bodies)], f"{mark} {number}")
            own.seconds.append(time.monotonic() - started)
            own.answers[said] += 1
            own.failed += not fine
        connection.close()
        with lock:
            traffic.answers.update(own.answers)
            traffic.seconds += own.seconds
            traffic.failed += own.failed

    threads = [threading.Thread(target=client, daemon=True) for _ in range(clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    traffic.lasted = time.monotonic() - began
    return traffic


def _sent(
    connection: http.client.HTTPConnection, gateway: Gateway, model: str, body: bytes, key: str
) -> tuple[str, bool]:
    try:
        connection.request("POST", _path(model), body, {**gateway.headers(), "x-routing-key": key})
        response = connection.getresponse()
        answer = json.loads(response.read())
    except (OSError, http.client.HTTPException, ValueError) as error:
        connection.close()
        return f"no answer: {type(error).__name__}", False
    if response.status == 200:
        return f"answered by version {answer.get('version')}", True
    return f"{response.status} {answer.get('error', '')}", False


def _inputs(gateway: Gateway, model: str) -> dict[str, str]:
    """The model's columns and their data types, from the Open Inference Protocol's metadata."""
    connection = gateway.connect()
    try:
        answer = _ask(connection, gateway, f"/v2/models/{quote(model, safe='')}", None, 0)
    finally:
        connection.close()
    return {each["name"]: each["datatype"] for each in answer["inputs"]}


def _ask(
    connection: http.client.HTTPConnection, gateway: Gateway, path: str, body: Mapping[str, Any] | None, first: int
) -> Any:
    """A request that must succeed. `first` is the number of the body's first row."""
    try:
        data = None if body is None else json.dumps(body).encode()
        connection.request("GET" if body is None else "POST", path, data, gateway.headers())
        response = connection.getresponse()
        text = response.read()
    except (OSError, http.client.HTTPException) as error:
        raise TransientError(
            f"the gateway at {gateway.url} does not answer: {error}", remedy="Start it: engine serve"
        ) from None
    try:
        answer = json.loads(text)
    except ValueError:
        raise TransientError(f"{gateway.url} does not speak as a gateway", remedy="Check --url.") from None
    if response.status == 200:
        return answer
    said = str(answer.get("error", "")) if isinstance(answer, dict) else ""
    where = f" (counted from row {first})" if first else ""
    if response.status in (429, 503):
        raise TransientError(f"the gateway answered {response.status}: {said}", remedy="Try again in a moment.")
    remedies = {401: "Give its token: --token-file FILE", 404: "See what is live: engine status"}
    remedy = remedies.get(response.status, "Mend the rows.")
    raise EngineError(f"the gateway answered {response.status}: {said}{where}", remedy=remedy)


def _path(model: str) -> str:
    return f"/v1/models/{quote(model, safe='')}/predict"


def _values(column: Any, kind: str) -> list[Any]:
    """A column as JSON has it: None for missing, text, booleans or numbers as the model's signature wants."""
    as_json: dict[str, Callable[[Any], Any]] = {"BYTES": _text, "BOOL": bool}
    convert = as_json.get(kind, float)
    return [None if missing else convert(value) for value, missing in zip(column, column.isna(), strict=True)]


def _text(value: Any) -> str:
    return str(value.isoformat()) if hasattr(value, "isoformat") else str(value)
