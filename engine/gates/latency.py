"""One prediction has to be quick: `{latency_p99: 20ms}`. The block is validated; this version does not measure it."""

from __future__ import annotations

from typing import ClassVar

from engine.gates.block import GateBlock
from engine.spec.fields import Seconds


class Block(GateBlock):
    """`validation: {latency_p99}`, in seconds once read."""

    supported: ClassVar[bool] = False

    latency_p99: Seconds
    """99 of 100 predictions of one row must take no longer."""
