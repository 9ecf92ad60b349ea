"""The new release sees live requests and serves none of them: `{strategy: shadow, duration: 1d}`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from engine.core.rollout import Stage, Strategy
from engine.spec.fields import Block as BaseBlock
from engine.spec.fields import PositiveFraction, Seconds, Share, StrategyBlock, mistake

Guardrail = Literal["errors", "latency", "difference", "prediction_shift"]


def _usual() -> list[Guardrail]:
    return ["errors", "latency"]


class Analysis(BaseBlock):
    """How copies of live requests judge the candidate."""

    guardrails: Annotated[list[Guardrail], Field(min_length=1)] = Field(default_factory=_usual)
    """What must hold; errors and latency if left out. All others are computed and shown, and decide nothing."""
    min_requests: Annotated[int, Field(ge=1, le=10**9)] = 500
    """Copies that the candidate must have got before it can pass."""
    alpha: Share = 0.05
    """The rate of false alarms of a whole rollout, shared among the guardrails."""
    max_error_rate: Share = 0.01
    """A rate of errors that is surely below this passes, whatever the stable release's is."""
    max_error_ratio: Annotated[float, Field(gt=1, le=100)] = 1.25
    """How many times as many errors as the stable release the candidate may surely have at most."""
    max_latency_ratio: Annotated[float, Field(gt=1, le=100)] = 1.25
    """How many times as slow as the stable release the candidate may surely be at most."""
    max_difference: Share = 0.1
    """The share of copies that may surely be predicted otherwise at most."""

    @model_validator(mode="after")
    def _each_once(self) -> Analysis:
        twice = next((name for name in self.guardrails if self.guardrails.count(name) > 1), None)
        if twice is not None:
            raise mistake(f"{twice} is named twice", "Name each guardrail once.")
        return self


class Block(StrategyBlock):
    """`deployment: {strategy: shadow, duration, sample, then}`."""

    strategy: Literal["shadow"]
    """Mirror traffic to the candidate and compare predictions."""
    duration: Seconds = 86400
    """How long to mirror at least."""
    sample: PositiveFraction = 1.0
    """The share of requests that is mirrored."""
    analysis: Analysis = Field(default_factory=Analysis)
    """What has to hold before it goes on."""
    then: Literal["approval", "promote"] = "approval"
    """What comes afterwards: somebody has to agree, or it goes live."""


def strategy_of(block: Mapping[str, Any]) -> Strategy:
    """One stage without traffic of its own, judged by copies of the requests."""
    stage = Stage(0.0, seconds=float(block["duration"]), mirror=float(block["sample"]))
    return Strategy("shadow", (stage,), block["then"] == "approval", block["analysis"])
