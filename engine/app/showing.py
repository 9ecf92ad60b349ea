"""Records as JSON documents: what `--json` prints is what the control API answers. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from engine.core.records import Event, Run, TriggerEvaluation

if TYPE_CHECKING:
    from engine.app.delivering import EndpointChange, Progress
    from engine.app.inspecting import ModelStatus
    from engine.core.alerts import AlertRecord, Told
    from engine.core.rollout import Rollout


def model_document(model: ModelStatus) -> dict[str, Any]:
    """A model at a glance."""
    run, release = model.last_run, model.release
    return {
        "name": model.name,
        "endpoint": dict(vars(model.endpoint)) if model.endpoint else None,
        "rollout": rollout_document(model.rollout) if model.rollout else None,
        "release": {
            "version": release.version,
            "uri": release.registry_uri,
            "run_id": release.run_id,
            "created_at": release.created_at,
            "metrics": release.evidence.get("metrics"),
        }
        if release
        else None,
        "last_run": {
            "run_id": run.run_id,
            "status": run.status.value,
            "started_at": run.started_at,
            "finished_at": run.finished_at,
            "message": run.message,
        }
        if run
        else None,
        "awaits": model.awaits or None,
        "held_by": model.holder or None,
    }


def run_document(run: Run) -> dict[str, Any]:
    """A run, without its spec."""
    return {
        "run_id": run.run_id,
        "model": run.model,
        "status": run.status.value,
        "started_at": run.started_at,
        "finished_at": run.finished_at,
        "spec_digest": run.spec_digest,
        "message": run.message,
        "provenance": run.provenance,
    }


def event_document(event: Event) -> dict[str, Any]:
    """An event of the inbox."""
    return {**vars(event), "kind": event.kind.value}


def evaluation_document(evaluation: TriggerEvaluation) -> dict[str, Any]:
    """What a model's triggers said; `document` is that of `triggers.evaluation`, with a format version of its own."""
    aftermath = evaluation.aftermath.value if evaluation.aftermath else None
    return {name: value for name, value in vars(evaluation).items() if name != "signature"} | {"aftermath": aftermath}


def change_document(change: EndpointChange) -> dict[str, Any]:
    """An endpoint before and after. `registry` says why its aliases could not follow, None if they did."""
    return {
        "before": dict(vars(change.before)),
        "endpoint": dict(vars(change.after)),
        "rollout": rollout_document(change.rollout) if change.rollout else None,
        "registry": change.unmirrored or None,
    }


def progress_document(found: Progress) -> dict[str, Any]:
    """Where a model's delivery stands."""
    assessment = found.assessment
    return {
        "model": found.model,
        "endpoint": dict(vars(found.endpoint)) if found.endpoint else None,
        "rollout": rollout_document(found.rollout) if found.rollout else None,
        "readiness": found.seen.readiness.value if found.seen else None,
        "verdict": found.seen.verdict.value if found.seen else None,
        "why": found.seen.why if found.seen else None,
        "detects": None if found.detection is None else dict(vars(found.detection)),
        "evidence": None
        if assessment is None
        else {
            "requests": assessment.requests,
            "needed": assessment.needed,
            "guardrails": [
                {"name": each.name, "verdict": each.verdict.value, "text": each.text, "decides": each.decides}
                for each in assessment.guardrails
            ],
        },
    }


def rollout_document(rollout: Rollout) -> dict[str, Any]:
    """A rollout as JSON."""
    strategy = rollout.strategy
    return {
        "number": rollout.number,
        "candidate": rollout.candidate,
        "base": rollout.base,
        "strategy": strategy.name,
        "phase": rollout.phase.value,
        "stage": rollout.stage + 1,
        "stages": [dict(vars(stage)) for stage in strategy.stages],
        "approval": strategy.approval is not None,
        "started_at": rollout.started_at,
        "changed_at": rollout.changed_at,
        "began_at": rollout.began_at,
        "passed": rollout.passed,
        "reason": rollout.reason,
    }


def alert_document(record: AlertRecord) -> dict[str, Any]:
    """An alert as JSON."""
    alert = record.alert
    return {
        "fingerprint": record.fingerprint,
        "model": alert.model,
        "alert": alert.name,
        "status": record.status,
        "severity": alert.severity,
        "summary": alert.summary,
        "remedy": alert.remedy,
        "labels": dict(alert.labels),
        "episode": record.episode,
        "fired_at": record.fired_at,
        "resolved_at": record.resolved_at,
    }


def told_document(told: Told) -> dict[str, Any]:
    """What a receiver was told, as JSON."""
    return {
        "model": told.model,
        "receiver": told.receiver,
        "group": told.group,
        "notices": told.sequence,
        "sent_at": told.sent_at,
        "failures": told.failures,
        "next_at": told.next_at,
        "error": told.error,
    }
