"""The new release takes over at once: `{strategy: recreate}`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from engine.core.approval import terms_of
from engine.core.stages import Strategy
from engine.spec.fields import StrategyBlock


class Block(StrategyBlock):
    """`deployment: {strategy: recreate}`."""

    strategy: Literal["recreate"]
    """All traffic moves to the new release at once."""


def strategy_of(block: Mapping[str, Any]) -> Strategy:
    """No stages: a release goes live at once."""
    return Strategy("recreate", approval=terms_of(block))
