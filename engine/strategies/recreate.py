"""The new release takes over at once: `{strategy: recreate}`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from engine.spec.fields import StrategyBlock


class Block(StrategyBlock):
    """`deployment: {strategy: recreate}`."""

    strategy: Literal["recreate"]
    """All traffic moves to the new release at once."""


def initial_weight(block: Mapping[str, Any]) -> float:
    """The share of traffic (0 to 1) that a new release starts with, for a resolved block."""
    del block
    return 1.0
