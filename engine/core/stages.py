"""What a `deployment` block comes to: the stages that a candidate goes through, by `core.rollout`. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from engine.core.approval import Terms


@dataclass(frozen=True)
class Stage:
    """One level of exposure: shares of the traffic are fractions 0–1, `seconds` is the least time it lasts.

    At weight 0 the candidate serves nobody; it may get a copy (`mirror`) of a share of the requests. `evidence` says
    whether live traffic must speak for the candidate; after `limit` seconds without enough of it, it is sent away.
    `hold` says that a person must resume before it goes on, or, with `hold_seconds`, that it waits so long once passed.
    """

    weight: float
    seconds: float = 0.0
    mirror: float = 0.0
    hold: bool = False
    evidence: bool = True
    limit: float | None = None
    hold_seconds: float | None = None


@dataclass(frozen=True)
class Strategy:
    """What a `deployment` block comes to. Without stages a release goes live at once.

    After the last stage the candidate is promoted, once people agreed by the terms of `approval`, if there are any. The
    release before it stays loaded for `keep_warm` seconds.
    """

    name: str
    stages: tuple[Stage, ...] = ()
    approval: Terms | None = None
    analysis: Mapping[str, Any] | None = None
    keep_warm: float = 0.0
