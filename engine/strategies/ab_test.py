"""Two releases share the traffic until a test has an answer: `{strategy: ab_test, metric: conversion}`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from engine.core.rollout import Stage, Strategy
from engine.spec.fields import Seconds, Share, StrategyBlock, Text


class Block(StrategyBlock):
    """`deployment: {strategy: ab_test, metric, traffic, …}`."""

    supported: ClassVar[bool] = False

    strategy: Literal["ab_test"]
    """Both releases serve until the test ends or its time is up."""
    metric: Text
    """What decides: a metric, or the name of a reported outcome."""
    traffic: Share = 0.5
    """The share of traffic that the candidate gets."""
    alpha: Share = 0.05
    """The rate of false winners."""
    max_duration: Seconds | None = None
    """When to end without an answer."""


def strategy_of(block: Mapping[str, Any]) -> Strategy:
    """One stage at a fixed share, ended by the test or by its time."""
    limit = None if block["max_duration"] is None else float(block["max_duration"])
    stage = Stage(float(block["traffic"]), limit=limit)
    return Strategy("ab_test", (stage,), analysis={"metric": block["metric"], "alpha": block["alpha"]})
