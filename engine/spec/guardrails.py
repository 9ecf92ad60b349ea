"""A guardrail of the user's own in an `analysis`: what a Prometheus query or a webhook says of a candidate.

`{name: refunds, prometheus: URL, query: …, max: 0.02}` or `{name: fraud, webhook: URL}`.
"""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import Field, PlainValidator, WithJsonSchema, model_validator

from engine.spec.fields import Block, HttpUrl, Seconds, Text, mistake, show

QUERY_NAMES = ("candidate", "stable", "model")
"""What a query may refer to: the versions of both releases and the model's name."""

_NAME = "[a-z][a-z0-9_]{0,62}"
_REPLACED = re.compile(r"\$\{([^{}]*)\}?")
_MOST_SECONDS = 60


def _query(value: object) -> str:
    if not isinstance(value, str) or not value.strip() or len(value) > 10_000:
        raise mistake(f"{show(value)} is not a query", "Write PromQL that gives one number.")
    unknown = next((match[0] for match in _REPLACED.finditer(value) if match[0] not in _WRITTEN), None)
    if unknown is not None:
        raise mistake(f"{unknown} refers to nothing", f"Only {', '.join(_WRITTEN)} are replaced in a query.")
    return value


_WRITTEN = tuple(f"${{{name}}}" for name in QUERY_NAMES)
Query = Annotated[str, PlainValidator(_query), WithJsonSchema({"type": "string", "minLength": 1})]


class CustomGuardrail(Block):
    """A guardrail of your own: a number that Prometheus gives, within limits, or the verdict of a webhook."""

    name: Annotated[str, Field(pattern=f"^{_NAME}$")]
    """What it is called: lower-case letters, digits and _."""
    prometheus: HttpUrl | None = None
    """The address of a Prometheus server (or of what speaks its API)."""
    query: Query | None = None
    """For prometheus: PromQL that gives one number; ${candidate}, ${stable} and ${model} are replaced."""
    min: float | None = None
    """For prometheus: the number must be at least this."""
    max: float | None = None
    """For prometheus: the number must be at most this."""
    webhook: HttpUrl | None = None
    """An address that gets a POST of JSON and answers {"verdict": "pass", "fail" or "inconclusive", "reason": …}."""
    token: Text | None = None
    """Sent as a bearer token; usually ${env:NAME}."""
    interval: Seconds = 10
    """How often it is asked."""
    delay: Seconds | None = None
    """How long after the beginning of a stage it is first asked; at once if left out."""
    timeout: Annotated[Seconds, Field(le=_MOST_SECONDS)] = 5
    """How long one of four tries may take."""
    private: bool = False
    """Whether the host's name may lead to a private or loopback address; literal ones always may."""

    @model_validator(mode="after")
    def _is_asked_in_one_way(self) -> CustomGuardrail:
        if (self.prometheus is None) == (self.webhook is None):
            raise mistake(
                f"the guardrail {self.name} is asked either of prometheus or of a webhook",
                "Write {name, prometheus, query, max} or {name, webhook}.",
            )
        if self.webhook is not None:
            useless = next((key for key in ("query", "min", "max") if getattr(self, key) is not None), None)
            if useless is not None:
                raise mistake(f"{useless} has no effect on a webhook", "Remove it: a webhook gives the verdict itself.")
            return self
        if self.query is None:
            raise mistake(f"the guardrail {self.name} has no query", "Add query: PromQL that gives one number.")
        if self.min is None and self.max is None:
            raise mistake(
                f"the guardrail {self.name} has no condition", "Add min or max: without one it would say nothing."
            )
        if self.min is not None and self.max is not None and self.min > self.max:
            raise mistake("min is above max, so that nothing passes", "Exchange them.")
        return self
