"""What a canary can detect: after how many requests a doubled error rate shows.

The number is worked out with numpy, once for each pair of weight and level, and kept in the cache.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from engine.app.cache import Cache
from engine.strategies.judging import levels

BASE_RATE, RISK, POWER = 0.01, 2.0, 0.98


@dataclass(frozen=True)
class Detection:
    """`requests` to both releases together, at the candidate's `weight` (fraction 0-1), until errors that rise from
    `base_rate` to `risk` times as many send it away with probability `power`."""

    weight: float
    requests: int
    base_rate: float = BASE_RATE
    risk: float = RISK
    power: float = POWER


def detection_of(analysis: Mapping[str, Any], weight: float, cache: Cache) -> Detection | None:
    """Of a canary's resolved `analysis` at one weight; None where errors decide nothing or nothing is compared."""
    if "errors" not in analysis.get("guardrails", ()) or not 0 < weight < 1:
        return None
    alpha = levels(analysis)["errors"]
    key = f"detectable {BASE_RATE!r} {RISK!r} {POWER!r} {weight!r} {alpha!r}"
    known = cache.documents([key]).get(key)
    if known is not None:
        return Detection(weight, int(json.loads(known)))
    from engine.stats.error_process import detectable

    requests = detectable(BASE_RATE, RISK, weight, alpha, POWER)
    cache.keep({key: json.dumps(requests)}, [])
    return Detection(weight, requests)


def planned_detection(block: Mapping[str, Any], cache: Cache) -> Detection | None:
    """Of the first step of a resolved `deployment` block; None unless it is a canary."""
    if block["strategy"] != "canary":
        return None
    weight = block["steps"][0]["traffic"] if block["steps"] else block["initial_traffic"]
    return detection_of(block["analysis"], float(weight), cache)
