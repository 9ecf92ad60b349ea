"""What `examine` found out for a gate, or the result that says why there is nothing to judge."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engine.core.verdict import Verdict
from engine.gates.asking import ask_of, key_of
from engine.gates.block import GateBlock
from engine.gates.result import GateResult, broken

ANSWERS = "answers"
"""Under this name the evaluation has them when gates judge it."""


def listed(value: object) -> list[Mapping[str, Any]]:
    """The mappings in a list; none if it is not one."""
    return [each for each in value if isinstance(each, Mapping)] if isinstance(value, list) else []


def answer_of(block: GateBlock, evaluation: Mapping[str, Any]) -> Mapping[str, Any] | GateResult:
    """The answer to what this block asks; `error` where there is none or it could not be found out."""
    unusable = broken(evaluation)
    if unusable is not None:
        return unusable
    ask = ask_of(block.model_dump(mode="json", by_alias=True))
    answers = evaluation.get(ANSWERS)
    found = answers.get(key_of(ask)) if ask is not None and isinstance(answers, Mapping) else None
    gate = str(ask["gate"]) if ask is not None else "the gate"
    if not isinstance(found, Mapping):
        return GateResult(Verdict.ERROR, f"{gate} was not measured", remedy="Run it again: --replace examine")
    if found.get("error"):
        who = f"the champion, version {found['champion']}," if found.get("champion") else gate
        text = f"{who} could not be {'scored on these rows' if found.get('champion') else 'measured'}: {found['error']}"
        remedy = str(found.get("remedy") or "") or "Mend the cause, or take the gate out."
        if found.get("champion"):
            remedy = "It cannot be compared any more: let one candidate through with on_failure: alert on this gate."
        return GateResult(Verdict.ERROR, text, remedy=remedy)
    return found
