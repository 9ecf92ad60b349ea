"""How live traffic judges a candidate: the `analysis` block of a deployment.

Resolved, `guardrails` and `report_only` are the names of the built-in ones; those of the user's own stand in `custom`,
each with `decides`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, SerializerFunctionWrapHandler, Tag, model_serializer, model_validator

from engine.spec.fields import Block, Share, empty_list, mistake
from engine.spec.guardrails import CustomGuardrail


def way(value: Any) -> str:
    """How a guardrail is written: by its name, or as one of the user's own."""
    return "own" if isinstance(value, dict | CustomGuardrail) else "built_in"


BuiltIn = Literal["errors", "latency", "prediction_shift", "accuracy"]
Guardrail = Annotated[Annotated[BuiltIn, Tag("built_in")] | Annotated[CustomGuardrail, Tag("own")], Discriminator(way)]


class Guardrails(Block):
    """What every analysis has: each guardrail once, those of the user's own apart."""

    def listed(self) -> Sequence[Any]:
        """Every guardrail that the block has, by name or written out."""
        return [*getattr(self, "guardrails", ()), *getattr(self, "report_only", ())]

    @model_validator(mode="after")
    def _each_once(self) -> Guardrails:
        own = [each.name for each in self.listed() if isinstance(each, CustomGuardrail)]
        named = [*(each for each in self.listed() if isinstance(each, str)), *own]
        twice = next((name for name in named if named.count(name) > 1), None)
        if twice is not None:
            raise mistake(
                f"{twice} is named twice",
                "Name each once: it decides, or it is only reported. Errors and latency decide if none is named.",
            )
        taken = next((name for name in own if name in RESERVED), None)
        if taken is not None:
            raise mistake(f"{taken} is the name of a built-in guardrail", "Give yours another name.")
        return self

    @model_serializer(mode="wrap")
    def _apart(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        document: dict[str, Any] = handler(self)
        custom = []
        for key in ("guardrails", "report_only"):
            listed = document.get(key)
            if listed is not None:
                custom += [{**each, "decides": key == "guardrails"} for each in listed if isinstance(each, dict)]
                document[key] = [each for each in listed if isinstance(each, str)]
        return {**document, "custom": custom} if custom else document


RESERVED = ("errors", "latency", "prediction_shift", "accuracy", "difference", "split")


class Limits(Guardrails):
    """What an analysis of live traffic has."""

    min_requests: Annotated[int, Field(ge=1, le=10**9)] = 500
    """Requests (of a shadow: copies) that the candidate must have answered in a step before it can pass."""
    alpha: Share = 0.05
    """The rate of false alarms of a whole rollout, shared among the guardrails."""
    max_error_rate: Share = 0.01
    """A rate of errors that is surely below this passes, whatever the stable release's is."""
    max_error_ratio: Annotated[float, Field(gt=1, le=100)] = 1.25
    """How many times as many errors as the stable release the candidate may surely have at most."""
    max_latency_ratio: Annotated[float, Field(gt=1, le=100)] = 1.25
    """How many times as slow as the stable release the candidate may surely be at most."""


def usual_guardrails() -> list[Any]:
    """What is looked at if nothing else is said."""
    return ["errors", "latency"]


class Analysis(Limits):
    """How live traffic judges the candidate."""

    guardrails: Annotated[list[Guardrail], Field(min_length=1)] = Field(default_factory=usual_guardrails)
    """What must not become worse, built-in or of your own; errors and latency if left out."""
    report_only: list[Guardrail] = Field(default_factory=empty_list)
    """Guardrails that are computed and shown, and decide nothing."""
    max_drop: Share = 0.02
    """By how much its accuracy may surely be lower at most; of numbers, its squared error higher."""
