"""Two releases share the traffic until a test has an answer: `{strategy: ab_test, metric: accuracy}`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from engine.core.approval import terms_of
from engine.core.stages import Stage, Strategy
from engine.spec.fields import Seconds, Share, StrategyBlock


class Block(StrategyBlock):
    """`deployment: {strategy: ab_test, metric, traffic, …}`."""

    strategy: Literal["ab_test"]
    """Both releases serve until the test ends or its time is up."""
    metric: Literal["accuracy", "squared_error", "errors", "latency"]
    """What decides; accuracy (of classes) and squared_error (of numbers) need actual values as feedback."""
    traffic: Share = 0.5
    """The share of traffic that the candidate gets."""
    alpha: Share = 0.05
    """The rate of false answers, however often it is looked at."""
    min_requests: Annotated[int, Field(ge=1, le=10**9)] = 500
    """Requests that the candidate must have answered before somebody wins."""
    max_duration: Seconds | None = None
    """When to end without an answer: then the candidate is sent away."""


def strategy_of(block: Mapping[str, Any]) -> Strategy:
    """One stage at a fixed share, ended by the test or by its time."""
    limit = None if block["max_duration"] is None else float(block["max_duration"])
    stage = Stage(float(block["traffic"]), limit=limit)
    analysis = {name: block[name] for name in ("metric", "alpha", "min_requests")}
    return Strategy("ab_test", (stage,), terms_of(block), analysis=analysis)
