"""The new release sees live requests and serves none of them: `{strategy: shadow, duration: 1d}`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from engine.core.approval import Terms, terms_of
from engine.core.stages import Stage, Strategy
from engine.spec.fields import PositiveFraction, Seconds, Share, StrategyBlock, empty_list
from engine.spec.guardrails import CustomGuardrail
from engine.strategies.analysis import Limits, usual_guardrails, way

BuiltIn = Literal["errors", "latency", "difference", "prediction_shift"]
Guardrail = Annotated[Annotated[BuiltIn, Tag("built_in")] | Annotated[CustomGuardrail, Tag("own")], Discriminator(way)]


class ShadowAnalysis(Limits):
    """How copies of live requests judge the candidate."""

    guardrails: Annotated[list[Guardrail], Field(min_length=1)] = Field(default_factory=usual_guardrails)
    """What must hold, built-in or of your own; errors and latency if left out. All other built-in ones are computed and
    shown, and decide nothing."""
    report_only: list[CustomGuardrail] = Field(default_factory=empty_list)
    """Guardrails of your own that are asked and shown, and decide nothing."""
    max_difference: Share = 0.1
    """The share of copies that may surely be predicted otherwise at most."""


class Block(StrategyBlock):
    """`deployment: {strategy: shadow, duration, sample, then}`."""

    strategy: Literal["shadow"]
    """Mirror traffic to the candidate and compare predictions."""
    duration: Seconds = 86400
    """How long to mirror at least."""
    sample: PositiveFraction = 1.0
    """The share of requests that is mirrored."""
    analysis: ShadowAnalysis = Field(default_factory=ShadowAnalysis)
    """What has to hold before it goes on."""
    then: Literal["approval", "promote"] = "approval"
    """What comes afterwards: somebody has to promote it, or it goes live."""


def strategy_of(block: Mapping[str, Any]) -> Strategy:
    """One stage without traffic of its own, judged by copies of the requests."""
    stage = Stage(0.0, seconds=float(block["duration"]), mirror=float(block["sample"]))
    anybody = Terms(informal=True) if block["then"] == "approval" else None
    return Strategy("shadow", (stage,), terms_of(block) or anybody, block["analysis"])
