"""The rows of leases, runs, steps and releases: what a write proves first, and what it puts down.

Functions over an open `Transaction`; `store.SqlStateStore` composes them into the methods of its ports.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from engine.adapters.state import holder as holders
from engine.adapters.state.queries import (
    artifact_json,
    find_endpoint,
    find_lease,
    find_newest_evaluation,
    find_open_rollout,
    find_rollout,
    outputs_text,
    strategy_json,
)
from engine.adapters.state.transaction import Transaction
from engine.core.alerts import AlertRecord, Told
from engine.core.approval import Approval
from engine.core.canonical import Json, canonical_json
from engine.core.records import (
    Aftermath,
    Attempt,
    AttemptStatus,
    Endpoint,
    Event,
    Lease,
    Release,
    RunStatus,
    StepResult,
    TriggerEvaluation,
    delivery_of,
)
from engine.core.rollout import Rollout
from engine.errors import EngineError, FencedError, IntegrityError, StateError, TransientError
from engine.failpoints import failpoint

DURATIONS_KEPT = 5
"""How many of a step's last durations planning gets to see."""

_PROOF = (
    "SELECT leases.holder, leases.token, runs.model, runs.status, steps.step, steps.head, steps.id, steps.run_id,"
    " steps.fingerprint, steps.status, steps.message, steps.recent FROM leases"
    " LEFT JOIN runs ON runs.run_id = :run_id"
    " LEFT JOIN steps ON steps.model = :model AND steps.step IN (:first, :second) AND steps.head IS NOT NULL"
    " WHERE leases.model = :model"
)
_RECORDED = (
    "SELECT components, outputs, facts, summary, verdict FROM steps WHERE model = :model AND step = :step"
    " AND fingerprint = :fingerprint AND run_id = :run_id AND status = 'done'"
)
_OUTCOME = (
    "status",
    "head",
    "components",
    "outputs",
    "facts",
    "summary",
    "verdict",
    "seconds",
    "recent",
    "finished_at",
)
_FULFIL = f"UPDATE steps SET {', '.join(f'{name} = :{name}' for name in (*_OUTCOME, 'message'))} WHERE id = :id"  # noqa: S608 - constants
_ADDED = ("run_id", "model", "step", "fingerprint", *_OUTCOME, "started_at", "message")
_ADD = f"INSERT INTO steps ({', '.join(_ADDED)}) VALUES ({', '.join(f':{name}' for name in _ADDED)})"  # noqa: S608 - constants


# ── proofs ───────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Head:
    """The row that stands for a step: its newest result, or an attempt that is newer than that."""

    id: int
    run_id: str
    fingerprint: str
    status: str
    message: str
    recent: str | None

    def is_for(self, run_id: str, fingerprint: str) -> bool:
        """Whether it belongs to this run and fingerprint."""
        return (self.run_id, self.fingerprint) == (run_id, fingerprint)


Heads: TypeAlias = Mapping[tuple[str, str], Head]
"""By step and `result` or `attempt`."""


def prove(tx: Transaction, lease: Lease) -> None:
    """Raises FencedError unless the lease is still this holder's.

    An expired lease that nobody took over is good: its token fences off everybody else.
    """
    found = find_lease(tx.fetch, lease.model)
    if found is None or found[:2] != (lease.holder, lease.token):
        raise _fenced(lease, found[0] if found else None)


def prove_run(tx: Transaction, lease: Lease, run_id: str, *steps: str) -> Heads:
    """The heads of some steps (two at most), after proving that they may be written.

    Raises FencedError without the lease, StateError when the run is not a running one of its model. One query answers
    all of it, because this precedes every step's record.
    """
    first, second = (*steps, "", "")[:2]
    rows = tx.fetch(_PROOF, {"model": lease.model, "run_id": run_id, "first": first, "second": second})
    if not rows or rows[0][:2] != (lease.holder, lease.token):
        raise _fenced(lease, rows[0][0] if rows else None)
    model, status = rows[0][2:4]
    if (model, status) != (lease.model, RunStatus.RUNNING.value):
        what = "it is not known" if model is None else f"it is {status} for {model}"
        raise StateError(f"run {run_id} is not a running run of {lease.model}: {what}")
    return {row[4:6]: Head(*row[6:]) for row in rows if row[4] is not None}


def _fenced(lease: Lease, holder: str | None) -> FencedError:
    now_held = f"{holders.pretty(holder)} has it now" if holder else "it was released"
    return FencedError(
        f"this run lost its lease of {lease.model}: {now_held}", remedy="Nothing was written. Plan again."
    )


def same_model(lease: Lease, model: str) -> None:
    """Raises ValueError when a lease is used for another model."""
    if lease.model != model:
        raise ValueError(f"a lease of {lease.model} does not cover {model}")


def covers_endpoint(lease: Lease, model: str) -> None:
    """Raises ValueError unless it is a lease of the model or of its delivery."""
    if lease.model != delivery_of(model):
        same_model(lease, model)


# ── rows of the ledger ───────────────────────────────────────────────────────────────────────────────────────


def add_result(tx: Transaction, model: str, run_id: str, done: StepResult, heads: Heads) -> bool:
    """Whether the result was new; raises IntegrityError for another one under the same fingerprint."""
    content = {
        "components": json_text(done.components, f"the fingerprint of {done.step}"),
        "outputs": outputs_text(done.outputs),
        "facts": json_text(done.facts, f"the facts of {done.step}"),
        "summary": done.summary,
        "verdict": None if done.verdict is None else done.verdict.value,
    }
    key = {"model": model, "step": done.step}
    latest = heads.get((done.step, "result"))
    # A run without the newest result of a step has none of it: a model's runs follow one another.
    if latest is not None and latest.run_id == run_id:
        rows = tx.fetch(_RECORDED, {**key, "run_id": run_id, "fingerprint": done.fingerprint})
        if rows:
            if rows[0] != tuple(content.values()):
                raise IntegrityError(f"run {run_id} has another result of {done.step} for the same fingerprint")
            return False
    if not (math.isfinite(done.seconds) and done.seconds >= 0):
        raise ValueError(f"a step cannot take {done.seconds} seconds")
    earlier = []
    if latest is not None:
        earlier = json.loads(latest.recent or "[]")
        _retire(tx, latest)
    finished_at = done.finished_at or tx.now
    row = {
        **key,
        **content,
        "run_id": run_id,
        "fingerprint": done.fingerprint,
        "status": AttemptStatus.DONE.value,
        "head": "result",
        "seconds": done.seconds,
        "recent": canonical_json([done.seconds, *earlier][:DURATIONS_KEPT]),
        "finished_at": finished_at,
        "message": "",
    }
    _put(tx, row, heads, started_at=finished_at)
    tx.execute("DELETE FROM taints WHERE model = :model AND step = :step", key)
    return True


def add_intent(tx: Transaction, model: str, run_id: str, intent: Attempt, heads: Heads) -> bool:
    """Whether the intent was new. IntegrityError while the step has an open intent for another fingerprint."""
    latest = heads.get((intent.step, "attempt"))
    if latest and latest.status == AttemptStatus.INTENT.value and latest.is_for(run_id, intent.fingerprint):
        return False
    _put(tx, _attempt_row(model, run_id, intent, None), heads, started_at=tx.now)
    return True


def add_failure(tx: Transaction, model: str, run_id: str, attempt: Attempt, heads: Heads) -> bool:
    """Whether the failure was new."""
    latest = heads.get((attempt.step, "attempt"))
    told = (attempt.status.value, attempt.message)
    if latest and latest.is_for(run_id, attempt.fingerprint) and (latest.status, latest.message) == told:
        return False
    _put(tx, _attempt_row(model, run_id, attempt, tx.now), heads, started_at=tx.now)
    return True


def _attempt_row(model: str, run_id: str, attempt: Attempt, finished_at: str | None) -> dict[str, Any]:
    return {
        "run_id": run_id,
        "model": model,
        "step": attempt.step,
        "fingerprint": attempt.fingerprint,
        "status": attempt.status.value,
        "head": "attempt",
        "components": None,
        "outputs": None,
        "facts": None,
        "summary": "",
        "verdict": None,
        "seconds": 0.0,
        "recent": None,
        "finished_at": finished_at,
        "message": attempt.message,
    }


def _put(tx: Transaction, row: dict[str, Any], heads: Heads, *, started_at: str) -> None:
    """Turn the open intent into what came of it; without one, add a row in front of the last attempt's."""
    latest = heads.get((row["step"], "attempt"))
    intended = latest and latest.status == AttemptStatus.INTENT.value
    if latest and intended and latest.is_for(row["run_id"], row["fingerprint"]):
        tx.execute(_FULFIL, {**row, "id": latest.id})
        return
    if latest:
        _retire(tx, latest)
    tx.execute(_ADD, {**row, "started_at": started_at})


def _retire(tx: Transaction, head: Head) -> None:
    tx.execute("UPDATE steps SET head = NULL WHERE id = :id", {"id": head.id})


def finish(tx: Transaction, lease: Lease, run_id: str, status: RunStatus, message: str, at: str) -> None:
    """End a run, and what it still intended."""
    tx.execute(
        "UPDATE steps SET status = 'interrupted', finished_at = :at WHERE run_id = :run_id AND status = 'intent'",
        {"at": at, "run_id": run_id},
    )
    tx.execute(
        "UPDATE runs SET status = :status, message = :message, finished_at = :at WHERE run_id = :run_id",
        {"status": status.value, "message": message, "at": at, "run_id": run_id},
    )
    tx.record(
        holders.actor(lease.holder),
        "run finished",
        lease.model,
        {"run_id": run_id, "status": status.value, "message": message},
    )


def add_release(tx: Transaction, release: Release) -> None:
    """Record a release."""
    tx.execute(
        "INSERT INTO releases (model, version, release_key, run_id, registry_uri, artifact, evidence, created_at)"
        " VALUES (:model, :version, :key, :run_id, :registry_uri, :artifact, :evidence, :created_at)",
        {
            "model": release.model,
            "version": release.version,
            "key": release.key,
            "run_id": release.run_id,
            "registry_uri": release.registry_uri,
            "artifact": canonical_json(artifact_json(release.artifact)),
            "evidence": json_text(release.evidence, "the release's evidence"),
            "created_at": release.created_at or tx.now,
        },
    )


# ── endpoints and rollouts ───────────────────────────────────────────────────────────────────────────────────

_ENDPOINT_COLUMNS = ("generation", "stable", "candidate", "weight", "deployed", "aborted", "previous", "mirror")
_SET_ENDPOINT = (
    f"INSERT INTO endpoints (model, {', '.join(_ENDPOINT_COLUMNS)})"  # noqa: S608 - constants
    f" VALUES (:model, {', '.join(f':{name}' for name in _ENDPOINT_COLUMNS)})"
    f" ON CONFLICT (model) DO UPDATE SET {', '.join(f'{name} = :{name}' for name in _ENDPOINT_COLUMNS)}"
)
_ROLLOUT_COLUMNS = (
    "phase",
    "stage",
    "stage_generation",
    "changed_at",
    "began_at",
    "passed",
    "reason",
)  # what changes in a rollout's life; the rest stays as it began
_ROLLOUT_BEGINNING = ("model", "number", "candidate", "base", "strategy", "first_generation", "started_at")
_ADD_ROLLOUT = (
    f"INSERT INTO rollouts ({', '.join((*_ROLLOUT_BEGINNING, *_ROLLOUT_COLUMNS))})"  # noqa: S608 - constants
    f" VALUES ({', '.join(f':{name}' for name in (*_ROLLOUT_BEGINNING, *_ROLLOUT_COLUMNS))})"
)
_CHANGE_ROLLOUT = (
    f"UPDATE rollouts SET {', '.join(f'{name} = :{name}' for name in _ROLLOUT_COLUMNS)}"  # noqa: S608 - constants
    " WHERE model = :model AND number = :number"
)


def swap_endpoint(tx: Transaction, before: Endpoint, after: Endpoint) -> bool:
    """Whether the record changed. Raises StateError when `before` is not what is stored."""
    stored = find_endpoint(tx.fetch, before.model) or Endpoint(before.model)
    if stored != before:
        raise StateError(
            f"the endpoint of {before.model} was changed meanwhile: it is at generation {stored.generation},"
            f" not {before.generation}",
            remedy="Look at it again: engine status",
        )
    if after == before:
        return False
    tx.execute(_SET_ENDPOINT, vars(after))
    if (after.stable, after.candidate) != (before.stable, before.candidate):
        # Not left as they are: aliases may have been moved by somebody who died before that was noted, and an endpoint
        # that comes back to what they said earlier would pass for mirrored.
        tx.execute("UPDATE endpoints SET champion = NULL, challenger = NULL WHERE model = :model", vars(after))
    return True


def swap_rollout(tx: Transaction, before: Rollout | None, after: Rollout) -> None:
    """Add a rollout (`before` is None) or change one. Raises StateError when `before` is not what is stored."""
    failpoint("state.rollout")
    if find_rollout(tx.fetch, after.model, after.number) != before:
        raise StateError(
            f"rollout {after.number} of {after.model} was changed meanwhile",
            remedy=f"Look at it again: engine rollout status {after.model}",
        )
    row = {**vars(after), "phase": after.phase.value, "passed": int(after.passed)}
    row["strategy"] = canonical_json(strategy_json(after.strategy))
    tx.execute(_CHANGE_ROLLOUT if before else _ADD_ROLLOUT, row)


def refuse_disagreement(tx: Transaction, endpoint: Endpoint) -> None:
    """Raises IntegrityError where a rollout that goes on and its endpoint would say different things."""
    rollout = find_open_rollout(tx.fetch, endpoint.model)
    if rollout is None:
        return
    present = rollout.present
    if (endpoint.candidate, endpoint.weight, endpoint.mirror) != (rollout.candidate, present.weight, present.mirror):
        raise IntegrityError(
            f"rollout {rollout.number} of {endpoint.model} would go on beside an endpoint that is not its own",
            remedy="Nothing was changed.",
        )


def add_approval(tx: Transaction, approval: Approval) -> Approval:
    """Keep an approval or a rejection. Raises StateError where the release has another artifact, or is not there."""
    release = next(
        iter(
            tx.fetch(
                "SELECT artifact FROM releases WHERE model = :model AND version = :version",
                {"model": approval.model, "version": approval.version},
            )
        ),
        None,
    )
    if release is None or json.loads(release[0])[0] != approval.artifact:
        raise StateError(
            f"version {approval.version} of {approval.model} is not the artifact that was meant",
            remedy=f"See it: engine show {approval.model}@{approval.version}",
        )
    stored = replace(approval, at=approval.at or tx.now)
    tx.execute(
        "INSERT INTO approvals (model, version, artifact, agrees, actor, method, reason, at)"
        " VALUES (:model, :version, :artifact, :agrees, :by, :method, :reason, :at)",
        {**vars(stored), "agrees": int(stored.agrees)},
    )
    tx.touch(stored.model)
    details = {name: getattr(stored, name) for name in ("version", "artifact", "method", "reason")}
    tx.record(stored.by, f"release {'approved' if stored.agrees else 'rejected'}", stored.model, details)
    [(sequence,)] = tx.fetch("SELECT MAX(sequence) FROM approvals WHERE model = :model", {"model": stored.model})
    return replace(stored, sequence=sequence)


def rollout_json(rollout: Rollout) -> dict[str, Json]:
    """A rollout for the audit log."""
    return {
        "number": rollout.number,
        "candidate": rollout.candidate,
        "base": rollout.base,
        "strategy": strategy_json(rollout.strategy),
        "phase": rollout.phase.value,
        "stage": rollout.stage,
    }


def endpoint_json(endpoint: Endpoint) -> dict[str, Json]:
    """An endpoint for the audit log."""
    return dict(vars(endpoint))


# ── events ───────────────────────────────────────────────────────────────────────────────────────────────────


def refuse_overflow(tx: Transaction, model: str, limit: int) -> None:
    """Raises TransientError when so many events of a model wait already."""
    waiting = "SELECT COUNT(*) FROM inbox WHERE model = :model AND handled_at IS NULL"
    if tx.fetch(waiting, {"model": model})[0][0] >= limit:
        raise TransientError(
            f"{limit:,} events of {model} wait already, and nobody takes them up",
            remedy="Nothing was kept. Start what acts on them: engine up",
        )


def add_event(tx: Transaction, event: Event) -> None:
    """Keep an event that is not there yet."""
    tx.execute(
        "INSERT INTO inbox (id, model, kind, event, reason, actor, received_at)"
        " VALUES (:id, :model, :kind, :event, :reason, :actor, :received_at)",
        {**vars(event), "kind": event.kind.value, "received_at": event.received_at or tx.now},
    )


def handle_event(tx: Transaction, event: Event | None, model: str, id: str, by: str) -> None:
    """Mark an event as taken up. Raises StateError when it is not known or was taken up before."""
    if event is None:
        raise StateError(f"{model} has no event {id}", remedy="Nothing was changed.")
    if event.handled_at is not None:
        raise StateError(
            f"event {id} of {model} was handled before, by {event.handled_by}", remedy="Nothing was changed."
        )
    tx.execute(
        "UPDATE inbox SET handled_at = :at, handled_by = :by WHERE sequence = :sequence",
        {"at": tx.now, "by": by, "sequence": event.sequence},
    )


# ── what the triggers said ───────────────────────────────────────────────────────────────────────────────────


def keep_evaluation(tx: Transaction, evaluation: TriggerEvaluation, kept: int) -> TriggerEvaluation:
    """Add an evaluation, or let the newest one stand for it too if it says the same and is not settled.

    Of those that were not due the model keeps the newest `kept`.
    """
    document = json_text(evaluation.document, f"an evaluation of {evaluation.model}")
    last = find_newest_evaluation(tx.fetch, evaluation.model)
    if last and last.settled_at is None and (last.status, last.signature) == (evaluation.status, evaluation.signature):
        tx.execute(
            "UPDATE evaluations SET document = :document, last_at = :at, count = count + 1 WHERE sequence = :sequence",
            {"document": document, "at": evaluation.last_at, "sequence": last.sequence},
        )
        return replace(last, document=evaluation.document, last_at=evaluation.last_at, count=last.count + 1)
    tx.execute(
        "INSERT INTO evaluations (model, status, signature, document, first_at, last_at, count, run_id)"
        " VALUES (:model, :status, :signature, :document, :first_at, :last_at, 1, '')",
        {
            "model": evaluation.model,
            "status": evaluation.status,
            "signature": evaluation.signature,
            "document": document,
            "first_at": evaluation.first_at,
            "last_at": evaluation.last_at,
        },
    )
    tx.execute(
        "DELETE FROM evaluations WHERE model = :model AND status <> 'due' AND sequence <= (SELECT sequence"
        " FROM evaluations WHERE model = :model ORDER BY sequence DESC LIMIT 1 OFFSET :kept)",
        {"model": evaluation.model, "kept": kept},
    )
    added = find_newest_evaluation(tx.fetch, evaluation.model)
    assert added is not None
    return added


def settle_evaluation(tx: Transaction, model: str, sequence: int, aftermath: Aftermath, run_id: str) -> None:
    """Note what became of a due evaluation. Raises StateError when there is no such open one."""
    which = {"model": model, "sequence": sequence}
    found = tx.fetch("SELECT status, settled_at FROM evaluations WHERE model = :model AND sequence = :sequence", which)
    if not found or found[0][0] != "due":
        raise StateError(f"{model} has no due evaluation {sequence}", remedy="Nothing was changed.")
    if found[0][1] is not None:
        raise StateError(f"evaluation {sequence} of {model} was settled before", remedy="Nothing was changed.")
    tx.execute(
        "UPDATE evaluations SET aftermath = :aftermath, run_id = :run_id, settled_at = :at WHERE sequence = :sequence",
        {"aftermath": aftermath.value, "run_id": run_id, "at": tx.now, "sequence": sequence},
    )


# ── alerts ───────────────────────────────────────────────────────────────────────────────────────────────────


def keep_alert(tx: Transaction, record: AlertRecord) -> None:
    """Store an alert, or what became of it."""
    alert = record.alert
    tx.execute(
        "INSERT INTO alerts (model, fingerprint, name, severity, summary, remedy, labels, episode, fired_at, seen_at,"
        " resolved_at) VALUES (:model, :fingerprint, :name, :severity, :summary, :remedy, :labels, :episode, :fired_at,"
        " :seen_at, :resolved_at) ON CONFLICT (model, fingerprint) DO UPDATE SET severity = :severity,"
        " summary = :summary, remedy = :remedy, episode = :episode, fired_at = :fired_at, seen_at = :seen_at,"
        " resolved_at = :resolved_at",
        {
            **vars(alert),
            "labels": canonical_json(dict(alert.labels)),
            "fingerprint": alert.fingerprint,
            "episode": record.episode,
            "fired_at": record.fired_at,
            "seen_at": record.seen_at,
            "resolved_at": record.resolved_at,
        },
    )


def trim_alerts(tx: Transaction, model: str, kept: int) -> None:
    """Of the resolved alerts of a model keep the newest `kept`."""
    tx.execute(
        "DELETE FROM alerts WHERE model = :model AND resolved_at IS NOT NULL AND resolved_at <= (SELECT resolved_at"
        " FROM alerts WHERE model = :model AND resolved_at IS NOT NULL ORDER BY resolved_at DESC LIMIT 1 OFFSET :kept)",
        {"model": model, "kept": kept},
    )


def keep_told(tx: Transaction, told: Told) -> None:
    """Store what a receiver was told of a group."""
    tx.execute(
        "INSERT INTO told (model, receiver, grouping, since, sequence, sent_at, alerts, recent, failures, next_at,"
        " error) VALUES (:model, :receiver, :group, :since, :sequence, :sent_at, :alerts, :recent, :failures, :next_at,"
        " :error) ON CONFLICT (model, receiver, grouping) DO UPDATE SET sequence = :sequence, sent_at = :sent_at,"
        " alerts = :alerts, recent = :recent, failures = :failures, next_at = :next_at, error = :error",
        {**vars(told), "alerts": canonical_json(dict(told.alerts)), "recent": canonical_json(list(told.recent))},
    )


def json_text(value: Mapping[str, Any], what: str) -> str:
    """Canonical JSON; raises EngineError for what is not JSON."""
    try:
        return canonical_json(value)
    except (ValueError, TypeError) as error:
        raise EngineError(
            f"{what} cannot be recorded: {error}",
            remedy="Only finite numbers, text, lists and tables can be.",
        ) from error
