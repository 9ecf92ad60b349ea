"""One budget of false alarms for many guardrails, and one verdict from many e-values.

By the union bound, guardrails whose levels add up to alpha raise together a false alarm with probability alpha at most,
however they depend on each other (Bonferroni). An average of e-values is an e-value, under any dependence too, and in
essence no other symmetric merging beats it (Vovk and Wang 2021, Annals of Statistics 49, 1736).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from engine.stats import inputs


def share_alpha(alpha: float, weights: Mapping[str, float]) -> dict[str, float]:
    """The level of each guardrail; together they make `alpha`.

    alpha: probability 0–1. weights: what each guardrail gets of it, by name, in any unit; Bonferroni's are equal.
    Raises ValueError for an alpha outside 0–1 and for a weight that is not above 0. No guardrails get no levels.
    """
    inputs.level(alpha)
    total = math.fsum(inputs.positive(f"the weight of {name}", weight) for name, weight in weights.items())
    return {name: alpha * weight / total for name, weight in weights.items()}


def log_mean_e(log_e_values: Sequence[float], weights: Sequence[float] | None = None) -> float:
    """Log of the average of e-values; 0, no evidence, when there are none.

    log_e_values: natural logarithms, −inf and inf allowed. weights: positive, as many, equal ones when None.
    Raises ValueError for NaN, for a weight that is not above 0, and for lengths that differ.
    """
    if any(math.isnan(value) for value in log_e_values):
        raise ValueError("a log e-value is NaN")
    weights = [1.0] * len(log_e_values) if weights is None else weights
    if len(weights) != len(log_e_values):
        raise ValueError(f"{len(log_e_values)} e-values have {len(weights)} weights")
    if not log_e_values:
        return 0.0
    total = math.fsum(inputs.positive("a weight", weight) for weight in weights)
    top = max(log_e_values)
    if math.isinf(top):
        return top
    pairs = zip(log_e_values, weights, strict=True)
    return top + math.log(math.fsum(weight * math.exp(value - top) for value, weight in pairs) / total)
