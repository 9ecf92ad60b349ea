"""How live traffic judges a candidate: the `analysis` block of a deployment."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from engine.spec.fields import Block, Share, empty_list, mistake

Guardrail = Literal["errors", "latency", "prediction_shift", "accuracy"]


class Limits(Block):
    """What every analysis has."""

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

    def named(self) -> Sequence[str]:
        """Every guardrail that the block names."""
        raise NotImplementedError

    @model_validator(mode="after")
    def _each_once(self) -> Limits:
        named = self.named()
        twice = next((name for name in named if named.count(name) > 1), None)
        if twice is not None:
            raise mistake(
                f"{twice} is named twice",
                "Name each once: it decides, or it is only reported. Errors and latency decide if none is named.",
            )
        return self


def usual_guardrails() -> list[Any]:
    """What is looked at if nothing else is said."""
    return ["errors", "latency"]


class Analysis(Limits):
    """How live traffic judges the candidate."""

    guardrails: Annotated[list[Guardrail], Field(min_length=1)] = Field(default_factory=usual_guardrails)
    """What must not become worse; errors and latency if left out."""
    report_only: list[Guardrail] = Field(default_factory=empty_list)
    """Guardrails that are computed and shown, and decide nothing."""
    max_drop: Share = 0.02
    """By how much its accuracy may surely be lower at most; of numbers, its squared error higher."""

    def named(self) -> Sequence[str]:
        """Those that decide and those that are reported."""
        return [*self.guardrails, *self.report_only]
