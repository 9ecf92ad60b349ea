"""The rows of leases, runs, steps and releases: what a write proves first, and what it puts down.

Functions over an open `Transaction`; `store.SqlStateStore` composes them into the methods of its ports.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from engine.adapters.state import holder as holders
from engine.adapters.state.queries import artifact_json, find_lease, outputs_text
from engine.adapters.state.transaction import Transaction
from engine.core.canonical import Json, canonical_json
from engine.core.records import Attempt, AttemptStatus, Endpoint, Lease, Release, RunStatus, StepResult
from engine.errors import EngineError, FencedError, IntegrityError, StateError

DURATIONS_KEPT = 5
"""How many of a step's last durations planning gets to see."""


# ── proofs ───────────────────────────────────────────────────────────────────────────────────────────────────


def prove(tx: Transaction, lease: Lease) -> None:
    """Raises FencedError unless the lease is still this holder's.

    An expired lease that nobody took over is good: its token fences off everybody else.
    """
    found = find_lease(tx.fetch, lease.model)
    if found is None or found[:2] != (lease.holder, lease.token):
        now_held = f"{holders.pretty(found[0])} has it now" if found and found[0] else "it was released"
        raise FencedError(
            f"this run lost its lease of {lease.model}: {now_held}", remedy="Nothing was written. Plan again."
        )


def prove_run(tx: Transaction, lease: Lease, run_id: str) -> None:
    """Raises FencedError without the lease, StateError when the run is not a running one of its model."""
    prove(tx, lease)
    rows = tx.fetch("SELECT model, status FROM runs WHERE run_id = :run_id", {"run_id": run_id})
    if not rows or rows[0] != (lease.model, RunStatus.RUNNING.value):
        what = f"it is {rows[0][1]} for {rows[0][0]}" if rows else "it is not known"
        raise StateError(f"run {run_id} is not a running run of {lease.model}: {what}")


def same_model(lease: Lease, model: str) -> None:
    """Raises ValueError when a lease is used for another model."""
    if lease.model != model:
        raise ValueError(f"a lease of {lease.model} does not cover {model}")


# ── rows of the ledger ───────────────────────────────────────────────────────────────────────────────────────


def add_result(tx: Transaction, model: str, run_id: str, done: StepResult) -> bool:
    """Whether the result was new; raises IntegrityError for another one under the same fingerprint."""
    content = {
        "components": json_text(done.components, f"the fingerprint of {done.step}"),
        "outputs": outputs_text(done.outputs),
        "facts": json_text(done.facts, f"the facts of {done.step}"),
        "summary": done.summary,
        "verdict": None if done.verdict is None else done.verdict.value,
    }
    rows = tx.fetch(
        "SELECT components, outputs, facts, summary, verdict FROM steps WHERE model = :model AND step = :step"
        " AND fingerprint = :fingerprint AND run_id = :run_id AND status = 'done'",
        {"model": model, "run_id": run_id, "step": done.step, "fingerprint": done.fingerprint},
    )
    if rows:
        if rows[0] != tuple(content.values()):
            raise IntegrityError(f"run {run_id} has another result of {done.step} for the same fingerprint")
        return False
    if not (math.isfinite(done.seconds) and done.seconds >= 0):
        raise ValueError(f"a step cannot take {done.seconds} seconds")
    key = {"model": model, "step": done.step}
    earlier = tx.fetch("SELECT recent FROM steps WHERE model = :model AND step = :step AND head = 'result'", key)
    recent = [done.seconds, *(json.loads(earlier[0][0]) if earlier else [])][:DURATIONS_KEPT]
    tx.execute("UPDATE steps SET head = NULL WHERE model = :model AND step = :step AND head IS NOT NULL", key)
    row = {
        **key,
        **content,
        "run_id": run_id,
        "fingerprint": done.fingerprint,
        "seconds": done.seconds,
        "recent": canonical_json(recent),
        "finished_at": done.finished_at or tx.now,
    }
    started = _close_intent(tx, run_id, done.step, done.fingerprint)
    tx.execute(
        "INSERT INTO steps (run_id, model, step, fingerprint, status, head, components, outputs, facts, summary,"
        " verdict, seconds, recent, started_at, finished_at, message) VALUES (:run_id, :model, :step, :fingerprint,"
        " 'done', 'result', :components, :outputs, :facts, :summary, :verdict, :seconds, :recent, :started_at,"
        " :finished_at, '')",
        {**row, "started_at": started or row["finished_at"]},
    )
    tx.execute("DELETE FROM taints WHERE model = :model AND step = :step", key)
    return True


def add_intent(tx: Transaction, model: str, run_id: str, intent: Attempt) -> bool:
    """Whether the intent was new."""
    key = {"run_id": run_id, "step": intent.step, "fingerprint": intent.fingerprint}
    if tx.fetch(
        "SELECT 1 FROM steps WHERE run_id = :run_id AND step = :step AND fingerprint = :fingerprint"
        " AND status = 'intent'",
        key,
    ):
        return False
    _add_attempt(
        tx,
        model,
        {
            **key,
            "status": AttemptStatus.INTENT.value,
            "message": intent.message,
            "started_at": tx.now,
            "finished_at": None,
        },
    )
    return True


def add_failure(tx: Transaction, model: str, run_id: str, attempt: Attempt) -> bool:
    """Whether the failure was new."""
    key = {"run_id": run_id, "step": attempt.step, "fingerprint": attempt.fingerprint}
    started = _close_intent(tx, **key)
    if started is None:
        latest = tx.fetch(
            "SELECT status, message FROM steps WHERE run_id = :run_id AND step = :step"
            " AND fingerprint = :fingerprint ORDER BY id DESC LIMIT 1",
            key,
        )
        if latest and latest[0] == (attempt.status.value, attempt.message):
            return False
    _add_attempt(
        tx,
        model,
        {
            **key,
            "status": attempt.status.value,
            "message": attempt.message,
            "started_at": started or tx.now,
            "finished_at": tx.now,
        },
    )
    return True


def _add_attempt(tx: Transaction, model: str, row: Mapping[str, Any]) -> None:
    tx.execute(
        "UPDATE steps SET head = NULL WHERE model = :model AND step = :step AND head = 'attempt'",
        {"model": model, "step": row["step"]},
    )
    tx.execute(
        "INSERT INTO steps (run_id, model, step, fingerprint, status, head, summary, seconds, started_at, finished_at,"
        " message) VALUES (:run_id, :model, :step, :fingerprint, :status, 'attempt', '', 0, :started_at, :finished_at,"
        " :message)",
        {"model": model, **row},
    )


def _close_intent(tx: Transaction, run_id: str, step: str, fingerprint: str) -> str | None:
    """Take an open intent out of the ledger, for what came of it to replace; when it was started."""
    key = {"run_id": run_id, "step": step, "fingerprint": fingerprint}
    rows = tx.fetch(
        "SELECT id, started_at FROM steps WHERE run_id = :run_id AND step = :step AND fingerprint = :fingerprint"
        " AND status = 'intent'",
        key,
    )
    if not rows:
        return None
    tx.execute("DELETE FROM steps WHERE id = :id", {"id": rows[0][0]})
    return str(rows[0][1])


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


def endpoint_json(endpoint: Endpoint) -> dict[str, Json]:
    """An endpoint for the audit log."""
    return dict(vars(endpoint))


def json_text(value: Mapping[str, Any], what: str) -> str:
    """Canonical JSON; raises EngineError for what is not JSON."""
    try:
        return canonical_json(value)
    except (ValueError, TypeError) as error:
        raise EngineError(
            f"{what} cannot be recorded: {error}",
            remedy="Only finite numbers, text, lists and tables can be.",
        ) from error
