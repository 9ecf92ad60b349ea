"""The validate step: the gates of the spec turn the evaluation into a verdict.

Inputs: `report` (evaluation.json), with gates that ask for more `examination`. Settings: `{"validation": [...]}`.
Output: `verdict` (verdict.json, canonical). The verdict is the outcome's own: a failed gate is a result, not an error.
Imports nothing heavy, so that it can run in place.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from engine.core.canonical import canonical_json
from engine.core.verdict import Verdict
from engine.errors import StepError
from engine.gates.answers import ANSWERS
from engine.gates.judge import Judged, judge
from engine.ports import StepContext, StepOutcome


def run(context: StepContext) -> StepOutcome:
    """Write the verdict of all gates. Raises StepError when the evaluation cannot be read."""
    evaluation = _read(context, "report", "evaluate")
    if "examination" in context.inputs:
        evaluation = {**evaluation, ANSWERS: _read(context, "examination", "examine").get(ANSWERS)}
    verdict, judged = judge(context.settings.get("validation") or [], evaluation)
    document = verdict_document(verdict, judged)
    context.outputs["verdict"].write_text(canonical_json(document) + "\n", encoding="utf-8")
    facts = {"verdict": verdict.value, "gates": document["gates"], "retrain": retrain(judged)}
    return StepOutcome(facts=facts, summary=summary(judged), verdict=verdict)


def _read(context: StepContext, role: str, step: str) -> Mapping[str, Any]:
    try:
        found = json.loads(context.inputs[role].read_text(encoding="utf-8"))
    except ValueError:
        found = None
    if not isinstance(found, Mapping):
        raise StepError(f"the report of {step} is not JSON", remedy=f"Run it again: --replace {step}")
    return found


def retrain(judged: Sequence[Judged]) -> bool:
    """Whether another training may help: every gate that stands in the way asks for one."""
    stopping = [j for j in judged if j.binding and j.result.verdict is not Verdict.PASS]
    return bool(stopping) and all(j.on_failure == "retrain" for j in stopping)


def verdict_document(verdict: Verdict, judged: Sequence[Judged]) -> Mapping[str, Any]:
    """What is written to verdict.json."""
    return {"format_version": 1, "verdict": verdict.value, "gates": [j.to_json() for j in judged]}


def summary(judged: Sequence[Judged]) -> str:
    """One line: the gates that did not pass, else all of them."""
    if not judged:
        return "no gates, so nothing was proved"
    marks = {Verdict.PASS: "", Verdict.FAIL: "", Verdict.INCONCLUSIVE: "inconclusive: ", Verdict.ERROR: "error: "}
    shown = [j for j in judged if j.result.verdict is not Verdict.PASS] or judged
    return "; ".join(f"{marks[j.result.verdict]}{j.result.text}{'' if j.binding else ' (alert only)'}" for j in shown)
