"""One measured figure with its interval, held against a floor or a ceiling."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal, TypeAlias

from engine.core.verdict import Verdict
from engine.gates.result import GateResult, at_least, at_most, finite, limit_text, number

Bound: TypeAlias = Literal["point", "cautious"]


def judge_figure(
    label: str,
    figure: Mapping[str, Any],
    limit: float,
    *,
    side: Literal["min", "max"],
    bound: Bound = "point",
    remedy: str = "",
    show: Callable[[float], str] = number,
    show_limit: Callable[[float], str] = limit_text,
) -> GateResult:
    """`pass` or `fail` by `figure` {value, low, high, reason}; `inconclusive` where it is undefined or has no interval.

    `bound: cautious` judges the end of the interval that is nearer to failing.
    """
    value, low, high = (finite(figure.get(name)) for name in ("value", "low", "high"))
    if value is None:
        reason = figure.get("reason") or "it is not a finite number"
        return GateResult(Verdict.INCONCLUSIVE, f"{label} is undefined: {reason}", remedy="Give it more hold-out rows.")
    text = f"{label} {show(value)}" + ("" if low is None or high is None else f" [{show(low)}, {show(high)}]")
    judged = value if bound == "point" else (low if side == "min" else high)
    if judged is None:
        reason = f": {figure['reason']}" if figure.get("reason") else ""
        text += f" has no interval{reason}"
        return GateResult(
            Verdict.INCONCLUSIVE, text, value, limit, "Give it more hold-out rows, or write bound: point."
        )
    holds = (at_least if side == "min" else at_most)(judged, limit)
    sign = {("min", True): "≥", ("min", False): "<", ("max", True): "≤", ("max", False): ">"}[side, holds]
    text += f" {sign} {show_limit(limit)}" + ("" if bound == "point" else " (its cautious end is judged)")
    if holds:
        return GateResult(Verdict.PASS, text, judged, limit)
    return GateResult(Verdict.FAIL, text, judged, limit, remedy)


def too_few(what: str, count: int, unit: str, least: int, remedy: str) -> GateResult | None:
    """`inconclusive` where `count` is below `least`; None where it is enough."""
    if count >= least:
        return None
    text = f"{what} cannot be told from {count} {unit}: {least} are needed"
    return GateResult(Verdict.INCONCLUSIVE, text, remedy=remedy)
