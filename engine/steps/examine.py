"""The examine step: what the gates ask of a candidate beyond its metrics.

Inputs: `report`, `predictions`, `holdout`, `schema`, and what the gates need: `model`, `train` (training rows),
`champion` (the stored model of the release that is live). Settings: `{"validation": [asks]}`, see `gates.asking`.
Output: `report` (examination.json): for each ask its answer in plain values, or `{"error": why}`: what could not be
measured is the gate's to judge, and no gate takes an error for a pass.
"""

from __future__ import annotations

import math
import traceback
from collections.abc import Callable, Mapping
from typing import Any

from engine.core.canonical import canonical_json
from engine.errors import EngineError
from engine.gates.asking import key_of
from engine.ports import StepContext, StepOutcome
from engine.spec.kinds import KindTable
from engine.steps.examining.subject import Subject

MEASURES: Mapping[str, Callable[[Mapping[str, Any], Subject], Mapping[str, Any]]] = KindTable(
    {
        "latency_p99": "engine.steps.examining.speed:latency",
        "cost_per_million": "engine.steps.examining.speed:cost",
        "model_size": "engine.steps.examining.speed:size",
        **{
            name: f"engine.steps.examining.{name}:measure"
            for name in (
                "champion", "churn", "fairness", "slices", "calibration", "robustness", "leakage", "value", "function",
            )
        },
    }
)  # fmt: skip
"""Who answers what a gate asks, by gate."""


def run(context: StepContext) -> StepOutcome:
    """Answer every ask."""
    subject = Subject.of(context)
    asks = context.settings["validation"]
    answers = {}
    for number, ask in enumerate(asks):
        context.progress(number, len(asks), str(ask["gate"]))
        answers[key_of(ask)] = _answer(ask, subject)
    document = {"format_version": 1, "answers": answers}
    context.outputs["report"].write_text(canonical_json(document) + "\n", encoding="utf-8")
    failed = [ask["gate"] for ask in asks if "error" in answers[key_of(ask)]]
    summary = ", ".join(dict.fromkeys(str(ask["gate"]) for ask in asks))
    facts = {"champion": _champion(context), "answers": len(answers), "failed": failed}
    return StepOutcome(facts, summary + (f"; not measured: {', '.join(failed)}" if failed else ""))


def _answer(ask: Mapping[str, Any], subject: Subject) -> Mapping[str, Any]:
    if subject.report.get("error"):
        return {"error": f"the evaluation failed: {subject.report['error']}"}
    if len(subject.table.features) == 0:
        return {"error": "the hold-out has no rows"}
    try:
        answer: Mapping[str, Any] = _without_nan(MEASURES[ask["gate"]](ask, subject))
        return answer
    except EngineError as error:
        return {"error": error.message, "remedy": error.remedy}
    except Exception as error:  # noqa: BLE001 - one gate's failure is that gate's verdict
        traceback.print_exc()
        return {"error": f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"}


def _champion(context: StepContext) -> Mapping[str, Any] | None:
    """What the candidate was held against: it becomes part of its release's record."""
    known = context.facts.get("champion")
    return None if known is None else {"version": known["version"], "model": known["model"]}


def _without_nan(value: Any) -> Any:
    """Plain values; a number that is not finite becomes None, which no gate takes for a number."""
    if isinstance(value, Mapping):
        return {str(name): _without_nan(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(item) for item in value]
    if hasattr(value, "item"):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value
