"""Golden predictions: a model's answers to some hold-out rows, recorded when it was evaluated."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any


def difference(golden: Mapping[str, Any], answer: Mapping[str, Any], tolerance: float) -> str:
    """What is unlike between the recorded answers and those given now; empty when nothing is.

    Labels must be equal; probabilities may differ by `tolerance`, values by that share of them.
    """
    if len(golden["predictions"]) != len(answer["predictions"]):
        return f"{len(answer['predictions'])} answers for {len(golden['predictions'])} golden rows"
    for row, (then, now) in enumerate(zip(golden["predictions"], answer["predictions"], strict=True)):
        if not _same(then, now, tolerance):
            return f"golden row {row}: {now!r} is predicted, {then!r} was"
    for row, (then, now) in enumerate(
        zip(golden.get("probabilities") or (), answer.get("probabilities") or (), strict=False)
    ):
        for label, share in then.items():
            if not math.isclose(share, now[label], rel_tol=0, abs_tol=tolerance):
                return f"golden row {row}: probability {now[label]!r} of {label}, it was {share!r}"
    if golden.get("probabilities") and not answer.get("probabilities"):
        return "the model gave probabilities and gives none now"
    return ""


def _same(then: Any, now: Any, tolerance: float) -> bool:
    if isinstance(then, float) and isinstance(now, float):
        return math.isclose(then, now, rel_tol=tolerance, abs_tol=tolerance)
    return bool(then == now)
