"""The time of day, as it is handed in wherever something is dated or due.

A process has one clock: that of its `Workspace`, or that which a gateway is served with. Tests hand in one that they
move. How long to wait, and what a file system says, is no matter of this clock.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timezone
from typing import TypeAlias

Clock: TypeAlias = Callable[[], datetime]
"""Gives the moment it is now, aware of its zone."""


def system_clock() -> datetime:
    """Now, in UTC, by the machine's clock."""
    return datetime.now(timezone.utc)
