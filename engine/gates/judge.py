"""Several gates make one verdict.

`judge` reads the resolved blocks, assesses each against the evaluation and takes the worst verdict of those that
bind. Advisory gates (`on_failure: alert`) are assessed and reported, and decide nothing. Without a binding gate the
verdict is `inconclusive`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from engine.core.verdict import Verdict, worst
from engine.errors import StateError
from engine.gates import (
    baseline,
    calibration,
    champion,
    churn,
    cost,
    fairness,
    function,
    latency,
    leakage,
    model_size,
    robustness,
    slices,
    threshold,
    value,
)
from engine.gates.block import GateBlock
from engine.gates.result import GateResult

GATES: Mapping[str, Any] = {
    "metric": threshold,
    "baseline": baseline,
    "champion": champion,
    "fairness": fairness,
    "slices": slices,
    "calibration": calibration,
    "churn": churn,
    "robustness": robustness,
    "leakage": leakage,
    "latency_p99": latency,
    "model_size": model_size,
    "cost_per_million": cost,
    "value": value,
    "function": function,
}
"""Gate → the module with its `Block` and its `assess(block, evaluation)`."""

BLOCKS: Mapping[str, type[GateBlock]] = {name: module.Block for name, module in GATES.items()}


@dataclass(frozen=True)
class Judged:
    """One gate with its result, as it stands in the verdict's file."""

    gate: str
    binding: bool
    on_failure: str
    retries: int | None
    result: GateResult

    def to_json(self) -> dict[str, Any]:
        """Plain values, NaN-free."""
        return {
            "gate": self.gate,
            "binding": self.binding,
            "on_failure": self.on_failure,
            "retries": self.retries,
            "verdict": self.result.verdict.value,
            "text": self.result.text,
            "value": self.result.value,
            "bound": self.result.bound,
            "remedy": self.result.remedy,
        }


def kind_of(block: Mapping[str, Any]) -> str | None:
    """The key that tells a gate's kind; a `champion` gate has a `metric` too. None if there is no such key."""
    special = [key for key in BLOCKS if key != "metric" and key in block]
    if special:
        return special[0]
    return "metric" if "metric" in block else None


def judge(validation: Sequence[Mapping[str, Any]], evaluation: Mapping[str, Any]) -> tuple[Verdict, list[Judged]]:
    """The verdict of the binding gates, and every gate's result.

    Raises StateError for a block that is not valid: the spec was checked before.
    """
    judged = [_assess(block, evaluation) for block in validation]
    return worst(j.result.verdict for j in judged if j.binding), judged


def _assess(raw: Mapping[str, Any], evaluation: Mapping[str, Any]) -> Judged:
    kind = kind_of(raw)
    if kind is None:
        raise StateError(f"a gate of no known kind: {', '.join(sorted(raw))}", remedy=f"Known: {', '.join(BLOCKS)}.")
    try:
        block = BLOCKS[kind].model_validate(raw)
    except ValidationError as error:
        raise StateError(f"the {kind} gate is not valid: {error.errors()[0]['msg']}") from None
    result: GateResult = GATES[kind].assess(block, evaluation)
    return Judged(kind, block.binding, block.on_failure, block.retries, result)
