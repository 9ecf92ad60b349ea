"""The new release is prepared whole, checked, and takes over in one flip: `{strategy: blue_green}`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from engine.core.rollout import Stage, Strategy
from engine.spec.fields import Seconds, StrategyBlock


class Block(StrategyBlock):
    """`deployment: {strategy: blue_green, keep_warm, approval}`."""

    not_yet: ClassVar[frozenset[str]] = frozenset({"keep_warm"})

    strategy: Literal["blue_green"]
    """Prepare the whole candidate, check it on recorded predictions, flip at once."""
    keep_warm: Seconds = 3600
    """How long the old release stays ready."""
    approval: Literal["required", "automatic"] = "automatic"
    """Whether a person has to agree to the flip."""


def strategy_of(block: Mapping[str, Any]) -> Strategy:
    """One stage without traffic. There is no analysis: the evidence is that it predicts what it did when evaluated."""
    return Strategy("blue_green", (Stage(0.0),), block["approval"] == "required")
