"""The new release sees live requests and serves none of them: `{strategy: shadow, duration: 1d}`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import Field

from engine.core.rollout import Stage, Strategy
from engine.spec.fields import PositiveFraction, Seconds, Share, StrategyBlock
from engine.strategies.analysis import Limits, usual_guardrails

Guardrail = Literal["errors", "latency", "difference", "prediction_shift"]


class Analysis(Limits):
    """How copies of live requests judge the candidate."""

    guardrails: Annotated[list[Guardrail], Field(min_length=1)] = Field(default_factory=usual_guardrails)
    """What must hold; errors and latency if left out. All others are computed and shown, and decide nothing."""
    max_difference: Share = 0.1
    """The share of copies that may surely be predicted otherwise at most."""

    def named(self) -> Sequence[str]:
        """Those that decide."""
        return self.guardrails


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
