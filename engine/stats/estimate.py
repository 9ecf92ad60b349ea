"""A metric's value with its confidence interval, or the reason why it has none."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from engine.stats.bootstrap import percentile_interval

if TYPE_CHECKING:
    from engine.stats.bootstrap import Floats

Key: TypeAlias = "tuple[str, str | None]"  # metric, average


@dataclass(frozen=True)
class Estimate:
    """`value` is None when the data leave the metric undefined; `low` and `high` when they leave its interval so."""

    value: float | None
    low: float | None = None
    high: float | None = None
    reason: str = ""

    def to_json(self) -> dict[str, Any]:
        """Plain values; `reason` only where there is one."""
        entry: dict[str, Any] = {"value": self.value, "low": self.low, "high": self.high}
        return entry | ({"reason": self.reason} if self.reason else {})


def estimates(
    points: Mapping[Key, float], samples: Mapping[Key, Floats], reasons: Mapping[str, str]
) -> dict[Key, Estimate]:
    """Bring point values (NaN where undefined) and their bootstrap samples together.

    `reasons` says, by metric, why a value is undefined. A metric without samples has no interval.
    """
    return {key: _estimate(value, samples.get(key), reasons.get(key[0], "")) for key, value in points.items()}


def _estimate(value: float, samples: Floats | None, reason: str) -> Estimate:
    if not math.isfinite(value):
        return Estimate(None, reason=reason or "the hold-out leaves it undefined")
    interval = percentile_interval(samples) if samples is not None else None
    if interval is None:
        why = "no bootstrap interval exists for it" if samples is None else "too many resamples leave it undefined"
        return Estimate(value, reason=why)
    return Estimate(value, *interval)
