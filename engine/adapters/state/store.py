"""The state, written: leases, ledger, releases, endpoints and saved plans over SQLAlchemy.

Every method is one durable transaction that first proves its lease, so that a holder which lost it cannot write.
`SqlStateStore` implements all ports of the state; reading is inherited from `StateQueries`. Raises FencedError for a
lost lease, LockedError for one that somebody holds, StateError and IntegrityError where request and state disagree.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import sqlalchemy as sa

from engine.adapters.state import holder as holders
from engine.adapters.state import ledger
from engine.adapters.state.database import Database
from engine.adapters.state.migrate import prepare
from engine.adapters.state.queries import (
    Fetch,
    StateQueries,
    find_event,
    find_lease,
    find_release,
)
from engine.adapters.state.transaction import Transaction
from engine.clock import Clock, system_clock
from engine.core.alerts import KEPT_RECORDS, AlertRecord, Told
from engine.core.approval import Approval
from engine.core.canonical import Json, utc
from engine.core.records import (
    Aftermath,
    Attempt,
    AttemptStatus,
    Endpoint,
    Event,
    Lease,
    Release,
    Run,
    RunStatus,
    StepResult,
    TriggerEvaluation,
    alerts_of,
)
from engine.errors import (
    EngineError,
    IntegrityError,
    LockedError,
    NotSupportedError,
    StalePlanError,
    StateError,
    UsageError,
)
from engine.ports import RolloutChange

EVALUATIONS_KEPT = 500
"""How many evaluations of a model are kept beside those that were due."""

PENDING_LIMIT = 10_000
"""How many events of one model may wait for somebody to take them up."""


class SqlStateStore(StateQueries):
    """A state in SQLite or PostgreSQL; creates or migrates it when made. Safe to share between threads."""

    def __init__(self, url: str, clock: Clock = system_clock) -> None:
        self._clock = clock
        try:
            address = sa.make_url(url)
        except sa.exc.ArgumentError as error:
            raise StateError(
                f"{url!r} is not the address of a state", remedy="Use sqlite:///… or postgresql://…"
            ) from error
        prepare(address)
        self._database = Database(address, lambda: utc(clock()))

    def close(self) -> None:
        """Close the connection; the next call opens it again."""
        self._database.close()

    @contextmanager
    def _snapshot(self) -> Iterator[Fetch]:
        with self._database.read() as fetch:
            yield fetch

    # ── LeaseStore ──

    def acquire(self, model: str, holder: str, seconds: float) -> Lease:
        """Take the lease for so many seconds, or raise LockedError naming who holds it."""

        def body(tx: Transaction) -> Lease:
            found = find_lease(tx.fetch, model)
            now = self._clock()
            if found is not None:
                held_by, _, since, expires = found
                if held_by is not None and expires > utc(now) and not holders.is_dead(held_by):
                    raise LockedError(model, holders.pretty(held_by), since)
            lease = Lease(model, holder, (found[1] if found else 0) + 1, utc(now), utc(now + _seconds(seconds)))
            tx.execute(
                "INSERT INTO leases (model, holder, token, acquired_at, expires_at) VALUES"
                " (:model, :holder, :token, :acquired_at, :expires_at) ON CONFLICT (model) DO UPDATE SET"
                " holder = :holder, token = :token, acquired_at = :acquired_at, expires_at = :expires_at",
                vars(lease),
            )
            return lease

        return self._database.write(body)

    def renew(self, lease: Lease, seconds: float) -> Lease:
        """The same lease with more time. Raises FencedError when it was lost."""

        def body(tx: Transaction) -> Lease:
            ledger.prove(tx, lease)
            longer = replace(lease, expires_at=utc(self._clock() + _seconds(seconds)))
            tx.execute(
                "UPDATE leases SET expires_at = :expires_at WHERE model = :model",
                {"expires_at": longer.expires_at, "model": lease.model},
            )
            return longer

        return self._database.write(body)

    def release(self, lease: Lease) -> None:
        """Give the lease back. One that was lost is not this holder's to give: nothing happens."""
        self._database.write(
            lambda tx: tx.execute(
                "UPDATE leases SET holder = NULL WHERE model = :model AND token = :token AND holder = :holder",
                {"model": lease.model, "token": lease.token, "holder": lease.holder},
            )
        )

    # ── Ledger ──

    def start_run(self, lease: Lease, run: Run) -> None:
        """Record a run; runs of the same model that are still `running` become `interrupted`."""
        ledger.same_model(lease, run.model)

        def body(tx: Transaction) -> None:
            ledger.prove(tx, lease)
            tx.execute(
                "INSERT INTO models (name, serial, spec_digest) VALUES (:model, 0, :digest)"
                " ON CONFLICT (name) DO UPDATE SET spec_digest = :digest",
                {"model": run.model, "digest": run.spec_digest},
            )
            earlier = tx.fetch(
                "SELECT run_id FROM runs WHERE model = :model AND status = 'running'", {"model": run.model}
            )
            for (run_id,) in earlier:
                ledger.finish(tx, lease, run_id, RunStatus.INTERRUPTED, "its process is gone", tx.now)
            tx.execute(
                "INSERT INTO runs (run_id, model, status, started_at, finished_at, spec_digest, document, message,"
                " provenance) VALUES (:run_id, :model, :status, :started_at, :finished_at, :spec_digest, :document,"
                " :message, :provenance)",
                {
                    "run_id": run.run_id,
                    "model": run.model,
                    "status": run.status.value,
                    "started_at": run.started_at,
                    "finished_at": run.finished_at,
                    "spec_digest": run.spec_digest,
                    "document": ledger.json_text(run.document, "the resolved spec"),
                    "message": run.message,
                    "provenance": ledger.json_text(run.provenance, "the run's provenance"),
                },
            )
            tx.touch(run.model)
            tx.record(
                holders.actor(lease.holder),
                "run started",
                run.model,
                {"run_id": run.run_id, "spec_digest": run.spec_digest, "token": lease.token},
            )

        self._database.write(body)

    def advance(
        self, lease: Lease, run_id: str, *, done: StepResult | None = None, intent: Attempt | None = None
    ) -> None:
        """Record a finished step and the intent of the next one, in one commit.

        The result belongs to `run_id`, also when it was adopted from an earlier run. Recording the same result or the
        same intent twice changes nothing; another result under the same fingerprint in the same run is an
        IntegrityError.
        """

        def body(tx: Transaction) -> None:
            heads = ledger.prove_run(tx, lease, run_id, *(each.step for each in (done, intent) if each is not None))
            changed = done is not None and ledger.add_result(tx, lease.model, run_id, done, heads)
            changed = (intent is not None and ledger.add_intent(tx, lease.model, run_id, intent, heads)) or changed
            if changed:
                tx.touch(lease.model)

        self._database.write(body)

    def fail(self, lease: Lease, run_id: str, attempt: Attempt) -> None:
        """Record that an attempt failed or was interrupted, with its message."""
        if attempt.status not in (AttemptStatus.FAILED, AttemptStatus.INTERRUPTED):
            raise ValueError(f"an attempt that did not succeed is failed or interrupted, not {attempt.status.value}")

        def body(tx: Transaction) -> None:
            heads = ledger.prove_run(tx, lease, run_id, attempt.step)
            if ledger.add_failure(tx, lease.model, run_id, attempt, heads):
                tx.touch(lease.model)

        self._database.write(body)

    def finish_run(self, lease: Lease, run_id: str, status: RunStatus, message: str, finished_at: str) -> None:
        """Record how a run ended; intents that are still open were interrupted."""
        if status is RunStatus.RUNNING:
            raise ValueError("a finished run is not running")

        def body(tx: Transaction) -> None:
            ledger.prove(tx, lease)
            rows = tx.fetch("SELECT model, status FROM runs WHERE run_id = :run_id", {"run_id": run_id})
            if rows and rows[0] == (lease.model, status.value):
                return
            ledger.prove_run(tx, lease, run_id)
            ledger.finish(tx, lease, run_id, status, message, finished_at)
            tx.touch(lease.model)

        self._database.write(body)

    # ── ReleaseStore ──

    def add_release(self, lease: Lease, release: Release) -> None:
        """Record a release. Idempotent by its key; IntegrityError if key or version exist with other content."""
        ledger.same_model(lease, release.model)

        def body(tx: Transaction) -> None:
            ledger.prove(tx, lease)
            known = find_release(tx.fetch, release.model, key=release.key)
            if known is not None:
                if replace(known, created_at="") != replace(release, created_at=""):
                    raise IntegrityError(
                        f"{release.model} version {known.version} is recorded under this key with other content",
                        remedy="Look at both: engine history, and the registry.",
                    )
                return
            ledger.add_release(tx, release)
            tx.touch(release.model)
            tx.record(
                holders.actor(lease.holder),
                "release registered",
                release.model,
                {
                    "version": release.version,
                    "key": release.key,
                    "run_id": release.run_id,
                    "artifact": release.artifact.digest,
                },
            )

        self._database.write(body)

    def set_endpoint(
        self,
        lease: Lease,
        before: Endpoint,
        after: Endpoint,
        *,
        actor: str,
        reason: str,
        rollouts: Sequence[RolloutChange] = (),
    ) -> None:
        """Change the endpoint, its rollouts, or both, in one transaction.

        Compare-and-swap on all of them: StateError when one is not what is stored as. Raises IntegrityError for what
        would leave a rollout going on beside an endpoint that is not its own.
        """
        ledger.covers_endpoint(lease, before.model)
        if {after.model, *(rollout.model for _, rollout in rollouts)} != {before.model}:
            raise ValueError(f"a change of {before.model} does not concern other models")
        if after.generation != before.generation + 1 and not (rollouts and after == before):
            raise ValueError(f"generation {after.generation} does not follow {before.generation}")

        def body(tx: Transaction) -> None:
            ledger.prove(tx, lease)
            if ledger.swap_endpoint(tx, before, after):
                details = {"before": ledger.endpoint_json(before), "after": ledger.endpoint_json(after)}
                tx.record(actor, "endpoint changed", before.model, {"reason": reason, **details})
            for was, rollout in rollouts:
                ledger.swap_rollout(tx, was, rollout)
                event = "rollout changed" if was else "rollout started"
                why = {"reason": rollout.reason or reason}
                tx.record(actor, event, before.model, {**why, "rollout": ledger.rollout_json(rollout)})
            ledger.refuse_disagreement(tx, after)
            tx.touch(before.model)

        self._database.write(body)

    def approve(self, approval: Approval) -> Approval:
        """Keep somebody's word on a release, as it is then stored. Raises StateError for another artifact."""

        def body(tx: Transaction) -> Approval:
            return ledger.add_approval(tx, approval)

        return self._database.write(body)

    def protect(self, model: str, wanted: bool, *, actor: str) -> None:
        """Note whether a model must not be destroyed; nothing happens where that is known."""

        def body(tx: Transaction) -> None:
            known = bool(tx.fetch("SELECT 1 FROM protected WHERE model = :model", {"model": model}))
            if known == wanted:
                return
            add = "INSERT INTO protected (model, at) VALUES (:model, :at)"
            values = {"model": model, "at": tx.now} if wanted else {"model": model}
            tx.execute(add if wanted else "DELETE FROM protected WHERE model = :model", values)
            tx.record(actor, "model protected" if wanted else "model unprotected", model, {})

        self._database.write(body)

    def set_mirrored(self, endpoint: Endpoint) -> None:
        """Note that the registry's aliases say what this endpoint says."""
        self._database.write(
            lambda tx: tx.execute(
                "UPDATE endpoints SET champion = :stable, challenger = :candidate WHERE model = :model",
                vars(endpoint),
            )
        )

    # ── Inbox ──

    def put(self, event: Event) -> bool:
        """Keep an event durably; False when the model knows one of this id already, handled or not.

        Raises TransientError while `PENDING_LIMIT` of them wait.
        """

        def body(tx: Transaction) -> bool:
            if find_event(tx.fetch, event.model, event.id) is not None:
                return False
            ledger.refuse_overflow(tx, event.model, PENDING_LIMIT)
            ledger.add_event(tx, event)
            details = {"id": event.id, "kind": event.kind.value, "event": event.event, "reason": event.reason}
            tx.record(event.actor, "event received", event.model, details)
            return True

        return self._database.write(body)

    def handle(self, lease: Lease, ids: Sequence[str], by: str) -> None:
        """Note that a run or an evaluation `by` took these events of the lease's model up: all of them or none.

        Raises FencedError for a lost lease, StateError for an id that is not known or was handled before.
        """

        def body(tx: Transaction) -> None:
            ledger.prove(tx, lease)
            for id in ids:
                ledger.handle_event(tx, find_event(tx.fetch, lease.model, id), lease.model, id, by)
            tx.record(holders.actor(lease.holder), "events handled", lease.model, {"ids": list(ids), "by": by})

        if ids:
            self._database.write(body)

    # ── EvaluationStore ──

    def record(self, lease: Lease, evaluation: TriggerEvaluation) -> TriggerEvaluation:
        """Keep an evaluation of the lease's model, as it is then stored.

        When the newest one has the same signature and is not settled, that one gets the new document, a later
        `last_at` and a higher count instead. Raises FencedError for a lost lease.
        """
        if evaluation.model != lease.model:
            raise ValueError(f"a lease of {lease.model} does not cover {evaluation.model}")

        def body(tx: Transaction) -> TriggerEvaluation:
            ledger.prove(tx, lease)
            stored = ledger.keep_evaluation(tx, evaluation, EVALUATIONS_KEPT)
            if stored.status == "due" and stored.count == 1:
                details = {"evaluation": stored.sequence}
                tx.record(holders.actor(lease.holder), "retrain due", lease.model, details)
            return stored

        return self._database.write(body)

    def settle(self, lease: Lease, sequence: int, aftermath: Aftermath, run_id: str = "") -> None:
        """Note what became of a due evaluation, once. Raises FencedError; StateError if it is not open."""

        def body(tx: Transaction) -> None:
            ledger.prove(tx, lease)
            ledger.settle_evaluation(tx, lease.model, sequence, aftermath, run_id)
            details = {"evaluation": sequence, "aftermath": aftermath.value, "run_id": run_id}
            tx.record(holders.actor(lease.holder), "retrain settled", lease.model, details)

        self._database.write(body)

    # ── AlertStore ──

    def keep_alerts(self, lease: Lease, records: Sequence[AlertRecord], told: Sequence[Told] = ()) -> None:
        """Store alerts of a model and what its receivers were told, together. Raises FencedError for a lost lease."""
        models = {*(each.alert.model for each in records), *(each.model for each in told)}
        if any(alerts_of(model) != lease.model for model in models):
            raise ValueError(f"a lease of {lease.model} does not cover the alerts of {', '.join(sorted(models))}")

        def body(tx: Transaction) -> None:
            ledger.prove(tx, lease)
            for record in records:
                ledger.keep_alert(tx, record)
                if record.resolved_at is not None or record.fired_at == record.seen_at:
                    alert, event = record.alert, f"alert {record.status}"
                    details: Mapping[str, Json] = {"name": alert.name, "summary": alert.summary}
                    tx.record(holders.actor(lease.holder), event, alert.model, details)
            for each in told:
                ledger.keep_told(tx, each)
            for model in models if records else ():
                ledger.trim_alerts(tx, model, KEPT_RECORDS)

        if models:
            self._database.write(body)

    # ── PlanStore ──

    def redeem(self, plan_id: str, at: str) -> None:
        """Use a saved plan. Raises StalePlanError if it was used before."""

        def body(tx: Transaction) -> None:
            used = tx.fetch("SELECT redeemed_at FROM plans WHERE plan_id = :plan_id", {"plan_id": plan_id})
            if used:
                raise StalePlanError(
                    f"this plan was used before, at {used[0][0]}", remedy="Make a new one: engine plan --out"
                )
            tx.execute(
                "INSERT INTO plans (plan_id, redeemed_at) VALUES (:plan_id, :at)",
                {"plan_id": plan_id, "at": at},
            )
            tx.touch()
            tx.record(holders.actor(holders.this_process()), "plan redeemed", plan_id, {"at": at})

        self._database.write(body)

    # ── maintenance ──

    def taint(self, model: str, step: str, *, actor: str) -> None:
        """Make a step run again at the next apply. Raises UsageError for a model or step without a result."""

        def body(tx: Transaction) -> None:
            steps = [
                row[0]
                for row in tx.fetch(
                    "SELECT step FROM steps WHERE model = :model AND head = 'result' ORDER BY step",
                    {"model": model},
                )
            ]
            if step not in steps:
                raise UsageError(
                    f"{model} has no result of a step {step}",
                    remedy=f"It has results of: {', '.join(steps)}"
                    if steps
                    else "The state knows nothing of this model.",
                )
            tx.execute(
                "INSERT INTO taints (model, step, at) VALUES (:model, :step, :at) ON CONFLICT (model, step) DO NOTHING",
                {"model": model, "step": step, "at": tx.now},
            )
            tx.touch(model)
            tx.record(actor, "step tainted", model, {"step": step})

        self._database.write(body)

    def rm(self, model: str, *, actor: str) -> None:
        """Forget a model: its results, runs, releases, endpoint, events, evaluations and alerts.

        Audit events and the fencing token stay. Raises UsageError when it is not known, LockedError while somebody
        holds its lease.
        """

        def body(tx: Transaction) -> None:
            if not tx.fetch("SELECT 1 FROM models WHERE name = :model", {"model": model}):
                raise UsageError(f"the state knows no model {model}", remedy="List them: engine state list")
            found = find_lease(tx.fetch, model)
            if found and found[0] is not None and found[2] and found[3] > tx.now and not holders.is_dead(found[0]):
                raise LockedError(model, holders.pretty(found[0]), found[2])
            tx.touch()
            (serial,) = tx.fetch("SELECT serial FROM meta", {})[0]
            tx.record(actor, "model removed", model, {"serial": serial})
            for table in (
                "told",
                "alerts",
                "evaluations",
                "inbox",
                "rollouts",
                "endpoints",
                "approvals",
                "protected",
                "releases",
                "taints",
                "steps",
                "runs",
            ):
                tx.execute(f"DELETE FROM {table} WHERE model = :model", {"model": model})  # noqa: S608 - constants
            tx.execute("DELETE FROM models WHERE name = :model", {"model": model})

        self._database.write(body)

    def force_release(self, model: str, *, actor: str) -> Lease:
        """Take a lease away from whoever holds it, who cannot write any more. Raises UsageError if nobody does."""

        def body(tx: Transaction) -> Lease:
            found = find_lease(tx.fetch, model)
            if found is None or found[0] is None:
                raise UsageError(f"nobody holds a lease of {model}")
            taken = Lease(model, found[0], *found[1:])
            # The token grows now, so that the former holder is fenced at once and not only by the next one.
            tx.execute("UPDATE leases SET holder = NULL, token = token + 1 WHERE model = :model", {"model": model})
            tx.record(actor, "lease forced", model, {"holder": taken.holder, "token": taken.token})
            return taken

        return self._database.write(body)

    def backup(self, path: Path) -> None:
        """Copy a SQLite state, as of one moment, into a new file. Raises UsageError if it exists."""
        import sqlite3

        if not self._database.is_sqlite:
            raise NotSupportedError("a state in PostgreSQL is not backed up from here", remedy="Use pg_dump.")
        draft = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
        try:
            target = sqlite3.connect(draft)
            try:
                self._database.copy_to(target)
            finally:
                target.close()
            os.link(draft, path)  # unlike a rename it never replaces a file
        except FileExistsError:
            raise UsageError(f"{path} exists already", remedy="Name a file that does not.") from None
        except (OSError, sqlite3.Error) as error:
            raise EngineError(f"the backup {path} cannot be written: {error}") from error
        finally:
            draft.unlink(missing_ok=True)


def _seconds(seconds: float) -> timedelta:
    return timedelta(seconds=seconds)
