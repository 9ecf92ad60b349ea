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
from engine.errors import NotSupportedError, StateError
from engine.gates import baseline, champion, fairness, latency, slices, threshold
from engine.gates.block import GateBlock
from engine.gates.result import GateResult

BLOCKS: Mapping[str, type[GateBlock]] = {
    "metric": threshold.Block,
    "baseline": baseline.Block,
    "champion": champion.Block,
    "fairness": fairness.Block,
    "slices": slices.Block,
    "latency_p99": latency.Block,
}


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

    Raises StateError for a block that is not valid (the spec was checked before) and NotSupportedError for a kind
    that this version cannot assess.
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
    match block:
        case threshold.Block():
            result = threshold.assess(block, evaluation)
        case baseline.Block():
            result = baseline.assess(block, evaluation)
        case _:
            raise NotSupportedError(f"{kind} gates are not supported yet", remedy="Take it out of validation.")
    return Judged(kind, block.binding, block.on_failure, block.retries, result)
