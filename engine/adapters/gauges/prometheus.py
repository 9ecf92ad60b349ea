"""A guardrail's number from Prometheus, by an instant query through its HTTP API."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from engine.adapters.outgoing import Post, persistently, send
from engine.core.evidence import Measurement
from engine.errors import EngineError, UsageError
from engine.ports import Question

_PATH = "/api/v1/query"
_LONGEST = 200  # characters of an error of Prometheus's


def measure(guardrail: Mapping[str, Any], question: Question) -> Measurement:
    """The port Gauge. An empty vector and NaN are no data; more than one series is an error of the query's."""
    try:
        return persistently(lambda: _asked(guardrail, question))
    except EngineError as error:
        return Measurement(error=error.message)


def query_of(guardrail: Mapping[str, Any], question: Question) -> str:
    """The query with the names of the candidate, the stable release and the model in it, as values of labels."""
    query = str(guardrail["query"])
    for name in ("candidate", "stable", "model"):
        query = query.replace(f"${{{name}}}", _label_value(str(getattr(question, name))))
    return query


def _label_value(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _asked(guardrail: Mapping[str, Any], question: Question) -> Measurement:
    address, token = question.resolve(guardrail["prometheus"]), question.resolve(guardrail["token"] or "")
    base, mark, parameters = address.partition("?")
    seconds = float(guardrail["timeout"])
    headers = {"content-type": "application/x-www-form-urlencoded"}
    reply = send(
        Post(
            f"{base.rstrip('/')}{_PATH}{mark}{parameters}",
            urlencode({"query": query_of(guardrail, question), "timeout": f"{seconds:g}s"}).encode(),
            {**headers, **({"authorization": f"Bearer {token}"} if token else {})},
            seconds,
            guardrail["private"],
        )
    )
    document = reply.document()
    if not isinstance(document, dict) or document.get("status") != "success":
        why = document.get("error") if isinstance(document, dict) else None
        raise UsageError(f"Prometheus answered {reply.status}: {_shown(why)}")
    return Measurement(_number(document.get("data")))


def _number(data: Any) -> float | None:
    try:
        kind, result = data["resultType"], data["result"]
        if kind == "scalar":
            return float(result[1])
        if kind != "vector":
            raise UsageError(f"the query gives a {_shown(kind)}, not one number")
        if len(result) > 1:
            raise UsageError(f"the query gives {len(result)} series, not one number: add sum() around it")
        return float(result[0]["value"][1]) if result else None
    except (TypeError, KeyError, IndexError, ValueError):
        raise UsageError("Prometheus answered what its API does not promise") from None


def _shown(text: object) -> str:
    words = "".join(char if char.isprintable() else " " for char in str(text))
    return words if len(words) <= _LONGEST else f"{words[:_LONGEST]}…"
