"""The new release is prepared whole, checked, and takes over in one flip: `{strategy: blue_green}`."""

from __future__ import annotations

from typing import ClassVar, Literal

from engine.spec.fields import Seconds, StrategyBlock


class Block(StrategyBlock):
    """`deployment: {strategy: blue_green, keep_warm, approval}`."""

    supported: ClassVar[bool] = False

    strategy: Literal["blue_green"]
    """Prepare the whole candidate, flip at once, keep the old one warm."""
    keep_warm: Seconds = 3600
    """How long the old release stays ready."""
    approval: Literal["required", "automatic"] | None = None
    """Whether a person has to agree to the flip."""
