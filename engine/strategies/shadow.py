"""The new release sees live requests and serves none of them: `{strategy: shadow, duration: 1d}`."""

from __future__ import annotations

from typing import ClassVar, Literal

from engine.spec.fields import PositiveFraction, Seconds, StrategyBlock


class Block(StrategyBlock):
    """`deployment: {strategy: shadow, duration, sample}`."""

    supported: ClassVar[bool] = False

    strategy: Literal["shadow"]
    """Mirror traffic to the candidate and compare predictions."""
    duration: Seconds | None = None
    """How long to mirror."""
    sample: PositiveFraction = 1.0
    """The share of requests that is mirrored."""
