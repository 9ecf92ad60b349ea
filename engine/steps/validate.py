"""The validate step: the gates of the spec turn the evaluation into a verdict.

Inputs: `report` (evaluation.json). Settings: `{"validation": [...]}`. Output: `verdict` (verdict.json, canonical).
The verdict is the outcome's own: a failed gate is a result, not an error. Imports nothing heavy, so that it can run
in place.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from engine.core.canonical import canonical_json
from engine.core.verdict import Verdict
from engine.errors import StepError
from engine.gates.judge import Judged, judge
from engine.ports import StepContext, StepOutcome


def run(context: StepContext) -> StepOutcome:
    """Write the verdict of all gates. Raises StepError when the evaluation cannot be read."""
    try:
        evaluation = json.loads(context.inputs["report"].read_text(encoding="utf-8"))
    except ValueError:
        raise StepError("the evaluation report is not JSON", remedy="Run evaluate again: --replace evaluate") from None
    verdict, judged = judge(context.settings.get("validation") or [], evaluation)
    document = verdict_document(verdict, judged)
    context.outputs["verdict"].write_text(canonical_json(document) + "\n", encoding="utf-8")
    facts = {"verdict": verdict.value, "gates": document["gates"], "retrain": retrain(judged)}
    return StepOutcome(facts=facts, summary=summary(judged), verdict=verdict)


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
