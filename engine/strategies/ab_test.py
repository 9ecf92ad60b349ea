"""Two releases share the traffic until a test has an answer: `{strategy: ab_test, metric: conversion}`."""

from __future__ import annotations

from typing import ClassVar, Literal

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
