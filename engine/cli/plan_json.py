"""A plan as one JSON document, the contract with other programs: stable within its `format_version`."""

from __future__ import annotations

from statistics import median
from typing import Any

from engine.app.planning import Planned, PlannedModel
from engine.cli.reasons import delivery, kind_of, tally
from engine.core.plan import Action, Conditional, Reason, Reuse, Run, Wait

FORMAT_VERSION = 1


def plan_document(planned: Planned) -> dict[str, Any]:
    """The document, of plain values."""
    plan = planned.plan
    return {
        "format_version": FORMAT_VERSION,
        "lineage": plan.lineage,
        "serial": plan.serial,
        "created_at": plan.created_at,
        "models": [_model(model) for model in planned.models.values()],
        "summary": tally({name: model.plan for name, model in planned.models.items()}),
    }


def _model(model: PlannedModel) -> dict[str, Any]:
    plan = model.plan
    return {
        "name": plan.name,
        "spec_digest": plan.spec_digest,
        "actions": [_action(action, model) for action in plan.actions],
    }


def _action(action: Action, model: PlannedModel) -> dict[str, Any]:
    reason = None if isinstance(action, Reuse) else _reason(action.reason)
    seconds = () if isinstance(action, Reuse | Wait) else action.seconds
    document: dict[str, Any] = {
        "step": action.step,
        "action": kind_of(action),
        "reason": reason,
        "estimate_seconds": round(median(seconds), 3) if seconds else None,
    }
    if action.step == "deploy" and isinstance(action, Run | Conditional):
        document["delivery"] = delivery(model.plan, model.document)
        document["detects"] = None if model.detection is None else dict(vars(model.detection))
    return document


def _reason(reason: Reason) -> dict[str, Any]:
    return {
        "code": reason.code.value,
        "field": reason.field,
        "before": reason.before,
        "after": reason.after,
        "cause": reason.cause,
    }
