"""How live traffic judges a candidate: the `analysis` block of a deployment."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from engine.spec.fields import Block, Share, empty_list, mistake

Guardrail = Literal["errors", "latency", "prediction_shift", "accuracy"]


def _usual() -> list[Guardrail]:
    return ["errors", "latency"]


class Analysis(Block):
    """How live traffic judges the candidate."""

    guardrails: Annotated[list[Guardrail], Field(min_length=1)] = Field(default_factory=_usual)
    """What must not become worse; errors and latency if left out."""
    report_only: list[Guardrail] = Field(default_factory=empty_list)
    """Guardrails that are computed and shown, and decide nothing."""
    min_requests: Annotated[int, Field(ge=1, le=10**9)] = 500
    """Requests that the candidate must have answered in a step before it can pass."""
    alpha: Share = 0.05
    """The rate of false alarms of a whole rollout, shared among the guardrails."""
    max_error_rate: Share = 0.01
    """A rate of errors that is surely below this passes, whatever the stable release's is."""
    max_error_ratio: Annotated[float, Field(gt=1, le=100)] = 1.25
    """How many times as many errors as the stable release the candidate may surely have at most."""
    max_latency_ratio: Annotated[float, Field(gt=1, le=100)] = 1.25
    """How many times as slow as the stable release the candidate may surely be at most."""
    max_drop: Share = 0.02
    """By how much its accuracy may surely be lower at most."""

    @model_validator(mode="after")
    def _each_once(self) -> Analysis:
        named = [*self.guardrails, *self.report_only]
        twice = next((name for name in named if named.count(name) > 1), None)
        if twice is not None:
            raise mistake(f"{twice} is named twice", "Name each guardrail once: it decides, or it is only reported.")
        return self
