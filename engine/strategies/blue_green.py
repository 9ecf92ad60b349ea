"""The new release is prepared whole, checked, and takes over in one flip: `{strategy: blue_green}`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from engine.core.approval import terms_of
from engine.core.stages import Stage, Strategy
from engine.spec.fields import Seconds, StrategyBlock, empty_list
from engine.spec.guardrails import CustomGuardrail
from engine.strategies.analysis import Guardrails


class PreviewAnalysis(Guardrails):
    """What must hold before the flip, beside the recorded predictions."""

    guardrails: Annotated[list[CustomGuardrail], Field(min_length=1)]
    """Guardrails of your own: the candidate answers nobody yet, so that there is no live traffic to judge it by."""
    report_only: list[CustomGuardrail] = Field(default_factory=empty_list)
    """Guardrails of your own that are asked and shown, and decide nothing."""


class Block(StrategyBlock):
    """`deployment: {strategy: blue_green, keep_warm, analysis, approval}`."""

    strategy: Literal["blue_green"]
    """Prepare the whole candidate, check it on recorded predictions, flip at once."""
    keep_warm: Seconds = 3600
    """How long the old release's processes stay loaded after the flip, so that a rollback is immediate."""
    analysis: PreviewAnalysis | None = None
    """What must hold before the flip; by itself the recorded predictions alone."""

    says_automatic: ClassVar[bool] = True


def strategy_of(block: Mapping[str, Any]) -> Strategy:
    """One stage without traffic: the evidence is that it predicts what it did when evaluated, and what is asked for."""
    return Strategy(
        "blue_green",
        (Stage(0.0),),
        terms_of(block),
        block.get("analysis"),
        keep_warm=float(block["keep_warm"]),
    )
