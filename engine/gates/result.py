"""What a gate says of a candidate, and how a number is judged against a limit.

A number that is missing, undefined, NaN or infinite never passes: it is `error` when it should have been there and
`inconclusive` when the data could not give it. Two numbers closer than `TOLERANCE` are equal, so that 0.85 against
0.85 passes however the last bit of either was rounded.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from engine.core.verdict import Verdict

TOLERANCE = 1e-9  # relative to the limit, or absolute below 1


@dataclass(frozen=True)
class GateResult:
    """One gate's verdict. `value` was measured, `bound` is the limit that it was held against."""

    verdict: Verdict
    text: str
    value: float | None = None
    bound: float | None = None
    remedy: str = ""


@dataclass(frozen=True)
class Measured:
    """A metric of an evaluation: finite numbers, with its interval where there is one."""

    name: str
    value: float
    low: float | None
    high: float | None

    @property
    def text(self) -> str:
        """`f1_score 0.612 [0.580, 0.640]`."""
        return self._with(number(self.value))

    def against(self, limit: float) -> str:
        """The same, with as many digits as it takes to tell the value from a limit."""
        return self._with(number_against(self.value, limit))

    def _with(self, value: str) -> str:
        if self.low is None or self.high is None:
            return f"{self.name} {value}"
        return f"{self.name} {value} [{number(self.low)}, {number(self.high)}]"


def number(value: float) -> str:
    """A number for people: three decimals below 100, four significant digits where those would hide it."""
    if value != 0 and (abs(value) < 0.001 or abs(value) >= 1e6):
        return f"{value:.4g}"
    return f"{value:.3f}" if abs(value) < 100 else f"{value:,.1f}"


def signed(value: float) -> str:
    """A difference for people: with its sign."""
    return f"+{number(value)}" if value > 0 else number(value).replace("-", "−")


def number_against(value: float, limit: float) -> str:
    """A number for people, with as many digits as it takes to see on which side of a limit it is."""
    text = number(value)
    digits = 4
    while value != limit and digits < 17 and float(text.replace(",", "")) == float(number(limit).replace(",", "")):
        text = f"{value:.{digits}g}"
        digits += 1
    return text


def limit_text(limit: float) -> str:
    """A limit as its author would write it."""
    return f"{limit:.10g}"


def at_least(value: float, limit: float) -> bool:
    """Whether `value >= limit`, equal within the tolerance; False for NaN."""
    return value >= limit - TOLERANCE * max(1.0, abs(limit))


def at_most(value: float, limit: float) -> bool:
    """Whether `value <= limit`, equal within the tolerance; False for NaN."""
    return value <= limit + TOLERANCE * max(1.0, abs(limit))


def finite(value: object) -> float | None:
    """`value` as a float if it is a finite number, else None."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        as_float = float(value)
    except OverflowError:
        return None
    return as_float if math.isfinite(as_float) else None


def counted(value: object) -> int:
    """`value` as a number of things; 0 for what is none."""
    number = finite(value)
    return int(number) if number is not None and number >= 0 else 0


def measured(evaluation: Mapping[str, Any], metric: str, average: str | None = None) -> Measured | GateResult:
    """The metric of an evaluation, or the result that says why it cannot be judged."""
    unusable = broken(evaluation)
    if unusable is not None:
        return unusable
    label = metric if average is None else f"{metric} ({average})"
    found = _entry(evaluation, metric, average)
    if found is None:
        return GateResult(
            Verdict.ERROR,
            f"{label} was not computed",
            remedy=f"It does not apply to a {evaluation.get('task', 'model of this')} task; name another metric.",
        )
    value = finite(found.get("value"))
    if value is None:
        reason = found.get("reason")
        if found.get("value") is None and reason:
            return GateResult(
                Verdict.INCONCLUSIVE, f"{label} is undefined: {reason}", remedy="Give it more hold-out rows."
            )
        return GateResult(Verdict.ERROR, f"{label} is not a finite number", remedy="Look at the model's predictions.")
    return Measured(label, value, finite(found.get("low")), finite(found.get("high")))


def broken(evaluation: Mapping[str, Any]) -> GateResult | None:
    """Why nothing can be judged of an evaluation: it failed, or the hold-out is empty; else None."""
    error = evaluation.get("error")
    if error:
        return GateResult(Verdict.ERROR, f"the evaluation failed: {error}", remedy="Mend the model's predictions.")
    rows = evaluation.get("rows")
    held_out = finite(rows.get("holdout")) if isinstance(rows, Mapping) else None
    if held_out is None or held_out < 1:
        return GateResult(Verdict.INCONCLUSIVE, "the hold-out has no rows", remedy="Enlarge data.split.holdout.")
    return None


def _entry(evaluation: Mapping[str, Any], metric: str, average: str | None) -> Mapping[str, Any] | None:
    plain = _mapping(_mapping(evaluation.get("metrics")).get(metric))
    if average is None or plain.get("average") == average:
        return plain or None
    return _mapping(_mapping(_mapping(evaluation.get("by_average")).get(metric)).get(average)) or None


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
