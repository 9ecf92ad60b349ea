"""The new release proves itself on a small share of traffic: `{strategy: canary, initial_traffic: 10%}`."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

from engine.spec.fields import Block as BaseBlock
from engine.spec.fields import PositiveFraction, Seconds, Share, StrategyBlock, mistake


class Analysis(BaseBlock):
    """How live traffic judges the candidate."""

    guardrails: Annotated[list[Literal["errors", "latency", "prediction_shift", "accuracy"]], Field(min_length=1)]
    """What must not become worse."""
    min_requests: Annotated[int, Field(ge=1, le=10**9)] = 500
    """Requests that a step needs before it can pass."""


class Block(StrategyBlock):
    """`deployment: {strategy: canary, initial_traffic, …}`."""

    not_yet: ClassVar[frozenset[str]] = frozenset({"steps", "step_duration", "analysis", "approval"})

    strategy: Literal["canary"]
    """A small share of traffic first."""
    initial_traffic: Share = 0.1
    """The share of traffic that the candidate starts with."""
    steps: Annotated[list[PositiveFraction], Field(min_length=1, max_length=50)] | None = None
    """The shares it goes through, growing to 100%."""
    step_duration: Seconds | None = None
    """The least time that a step lasts."""
    analysis: Analysis | None = None
    """What has to hold before the next step."""
    approval: Literal["required", "automatic"] | None = None
    """Whether a person has to agree to the last step."""

    @model_validator(mode="after")
    def _steps_grow(self) -> Block:
        steps = self.steps or []
        if any(later <= earlier for earlier, later in pairwise(steps)):
            raise mistake("the steps of a canary must grow", "Write them like [10%, 25%, 50%, 100%].")
        if steps and steps[0] < self.initial_traffic:
            raise mistake("the first step is below initial_traffic", "Begin the steps with initial_traffic.")
        return self


def initial_weight(block: Mapping[str, Any]) -> float:
    """The share of traffic (0 to 1) that a new release starts with, for a resolved block."""
    return float(block["initial_traffic"])
