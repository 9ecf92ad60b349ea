"""How long single predictions take, and how large the model is. The only measures that differ from run to run.

One row of the hold-out after the other, in this process, which does nothing else meanwhile. The interval of the 99th
percentile is that of order statistics (David and Nagaraja 2003, section 7.1): free of any assumption, and without an
upper end where the predictions are too few for one.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from engine.steps.examining.subject import Subject

MOST = 1000
LONGEST = 20.0  # seconds, for all predictions together
WARM_UP = 5
_QUANTILE, _Z = 0.99, 1.959964


def latency(_request: Mapping[str, Any], subject: Subject) -> dict[str, Any]:
    """p99 of the wall time of one prediction, seconds: `{value, low, high, predictions, p50}`."""
    import numpy as np

    walls = np.sort([wall for wall, _ in _timed(subject)])
    count = len(walls)
    spread = _Z * (count * _QUANTILE * (1 - _QUANTILE)) ** 0.5
    low, high = int(count * _QUANTILE - spread) - 1, int(count * _QUANTILE + spread) + 1
    return {
        "value": float(np.quantile(walls, _QUANTILE)),
        "low": float(walls[max(0, low)]),
        "high": float(walls[high]) if high < count else None,
        "p50": float(np.quantile(walls, 0.5)),
        "predictions": count,
    }


def cost(_request: Mapping[str, Any], subject: Subject) -> dict[str, Any]:
    """The mean processor time of one prediction, seconds: `{value, low, high, predictions}`, by the normal interval."""
    import numpy as np

    processor = np.array([cpu for _, cpu in _timed(subject)])
    half = _Z * float(processor.std(ddof=1)) / len(processor) ** 0.5 if len(processor) > 1 else None
    mean = float(processor.mean())
    ends = (None, None) if half is None else (max(0.0, mean - half), mean + half)
    return {"value": mean, "low": ends[0], "high": ends[1], "predictions": len(processor)}


def size(_request: Mapping[str, Any], subject: Subject) -> dict[str, Any]:
    """The bytes of all files of the model."""
    folder = subject.context.inputs["model"]
    return {"value": sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())}


@lru_cache(maxsize=1)
def _timed(subject: Subject) -> list[tuple[float, float]]:
    """Wall and processor seconds of each prediction; two gates share one measurement."""
    features, model = subject.table.features, subject.model
    rows = [features.iloc[[number % len(features)]] for number in range(min(MOST, max(200, len(features))))]
    for row in rows[:WARM_UP]:
        model.answers(row)
    found, end = [], time.perf_counter() + LONGEST
    for row in rows:
        cpu, wall = time.process_time(), time.perf_counter()
        model.answers(row)
        now = time.perf_counter()
        found.append((now - wall, time.process_time() - cpu))
        if now > end:
            break
    return found
