"""The new release sees live requests and serves none of them: `{strategy: shadow, duration: 1d}`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from engine.core.rollout import Stage, Strategy
from engine.spec.fields import PositiveFraction, Seconds, StrategyBlock


class Block(StrategyBlock):
    """`deployment: {strategy: shadow, duration, sample, then}`."""

    supported: ClassVar[bool] = False

    strategy: Literal["shadow"]
    """Mirror traffic to the candidate and compare predictions."""
    duration: Seconds = 86400
    """How long to mirror at least."""
    sample: PositiveFraction = 1.0
    """The share of requests that is mirrored."""
    then: Literal["approval", "promote"] = "approval"
    """What comes afterwards: somebody has to agree, or it goes live."""


def strategy_of(block: Mapping[str, Any]) -> Strategy:
    """One stage without traffic of its own, judged by how the predictions differ."""
    stage = Stage(0.0, seconds=float(block["duration"]), mirror=float(block["sample"]))
    return Strategy("shadow", (stage,), block["then"] == "approval", {})
