"""All reading of the state, once, for every database: portable SQL and the records made of its rows.

`StateQueries` implements the ports StateReader and HistoryReader over a `Fetch`, which a subclass supplies together
with a consistent snapshot. The number of queries does not depend on the number of models. Standard library and
`engine.core` only: `engine plan` imports this module.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, TypeAlias

from engine.core.audit import ChainHead
from engine.core.canonical import Json, canonical_json
from engine.core.records import (
    Aftermath,
    Artifact,
    Attempt,
    AttemptStatus,
    AuditEvent,
    Endpoint,
    Event,
    EventKind,
    Lease,
    Lineage,
    ModelState,
    Release,
    Run,
    RunStatus,
    StepResult,
    TriggerEvaluation,
)
from engine.core.verdict import Verdict

if TYPE_CHECKING:
    from engine.core.alerts import AlertRecord, Told
    from engine.core.approval import Approval
    from engine.core.rollout import Rollout
    from engine.core.stages import Strategy

SCHEMA_HEAD = "0005"
"""The schema revision that this version reads and writes."""

Row: TypeAlias = tuple[Any, ...]
Fetch: TypeAlias = Callable[[str, Mapping[str, Any]], Sequence[Row]]

REVISION = "SELECT version_num FROM alembic_version"
_META = "SELECT lineage, serial, audit_count, audit_head FROM meta"
_RESULT = "step, fingerprint, components, outputs, facts, summary, verdict, seconds, run_id, finished_at"
_RUN = "run_id, model, status, started_at, finished_at, spec_digest, document, message, provenance"
_RELEASE = "model, version, release_key, run_id, registry_uri, artifact, evidence, created_at"
_ENDPOINT = "model, generation, stable, candidate, weight, deployed, aborted, previous, mirror"
_ROLLOUT = (
    "model, number, candidate, base, strategy, phase, stage, first_generation, stage_generation, started_at,"
    " changed_at, began_at, passed, reason"
)
_APPROVAL = "model, version, artifact, agrees, actor, method, reason, at, sequence"
_OPEN = "(phase = 'progressing' OR phase = 'paused' OR phase = 'awaiting_approval')"
_LEASE = "model, holder, token, acquired_at, expires_at"
_ALERT = "model, name, severity, summary, remedy, labels, episode, fired_at, seen_at, resolved_at"
_TOLD = "model, receiver, grouping, since, sequence, sent_at, alerts, recent, failures, next_at, error"
_EVENT = "id, model, kind, event, reason, actor, received_at, sequence, handled_at, handled_by"
_EVALUATION = "model, status, signature, document, first_at, last_at, count, sequence, aftermath, run_id, settled_at"
_AUDIT = "sequence, at, actor, event, subject, details, previous_hash, hash"

# Beyond this many names it is cheaper to read all models and pick.
_NAMED = 200


class StateQueries(ABC):
    """StateReader and HistoryReader over rows. A state that does not exist yet reads as an empty one."""

    @abstractmethod
    def _snapshot(self) -> AbstractContextManager[Fetch | None]:
        """A consistent view, or None when there is no state yet."""

    def _rows(self, statement: str, parameters: Mapping[str, Any]) -> Sequence[Any]:
        with self._snapshot() as fetch:
            return [] if fetch is None else fetch(statement, parameters)

    # ── StateReader ──

    def lineage(self) -> Lineage:
        """Which state this is; lineage "" and serial 0 when there is none."""
        with self._snapshot() as fetch:
            if fetch is None:
                return Lineage("", 0)
            lineage, serial, _, _ = fetch(_META, {})[0]
            return Lineage(lineage, serial)

    def models(self, names: Sequence[str] | None = None) -> Mapping[str, ModelState]:
        """The named models (all if None); one that the state does not know is an empty ModelState."""
        with self._snapshot() as fetch:
            found = {} if fetch is None else _models(fetch, names)
        if names is None:
            return found
        return {name: found.get(name) or ModelState(name) for name in names}

    def result(self, model: str, step: str, fingerprint: str) -> StepResult | None:
        """The newest finished result of a step with this fingerprint, however long ago."""
        rows = self._rows(
            f"SELECT {_RESULT} FROM steps WHERE model = :model AND step = :step"  # noqa: S608 - constants
            " AND fingerprint = :fingerprint AND status = 'done' ORDER BY id DESC LIMIT 1",
            {"model": model, "step": step, "fingerprint": fingerprint},
        )
        return _result(rows[0]) if rows else None

    def model_serials(self) -> Mapping[str, int]:
        """The serial of every model: it grows with each change of that model and is never used twice."""
        with self._snapshot() as fetch:
            return {} if fetch is None else dict(fetch("SELECT name, serial FROM models", {}))

    # ── HistoryReader ──

    def runs(self, model: str | None = None, limit: int = 50) -> Sequence[Run]:
        """The newest runs (of one model if given), newest first."""
        where = "" if model is None else "WHERE model = :model "
        rows = self._rows(
            f"SELECT {_RUN} FROM runs {where}ORDER BY id DESC LIMIT :limit",  # noqa: S608 - constants
            {"limit": limit} if model is None else {"model": model, "limit": limit},
        )
        return [_run(row) for row in rows]

    def holdout_uses(self, model: str, holdout: str) -> int:
        """How many different models were measured on the hold-out of this digest."""
        rows = self._rows(
            "SELECT components FROM steps WHERE model = :model AND step = 'evaluate' AND status = 'done'",
            {"model": model},
        )
        inputs = [json.loads(text).get("inputs", {}) for (text,) in rows]
        return len({each.get("model") for each in inputs if each.get("holdout") == holdout})

    def steps_of(self, run_id: str) -> tuple[Sequence[StepResult], Sequence[Attempt]]:
        """What a run finished, and its attempts that led to no result, each newest first."""
        with self._snapshot() as fetch:
            if fetch is None:
                return [], []
            done = fetch(
                f"SELECT {_RESULT} FROM steps WHERE run_id = :run_id AND status = 'done' ORDER BY id DESC",  # noqa: S608
                {"run_id": run_id},
            )
            open_ = fetch(
                "SELECT step, fingerprint, status, message, run_id FROM steps"
                " WHERE run_id = :run_id AND status <> 'done' ORDER BY id DESC",
                {"run_id": run_id},
            )
        return [_result(row) for row in done], [_attempt(row) for row in open_]

    def releases(self, model: str | None = None) -> Sequence[Release]:
        """All releases (of one model if given), newest first."""
        where = "" if model is None else "WHERE model = :model "
        rows = self._rows(
            f"SELECT {_RELEASE} FROM releases {where}ORDER BY id DESC",  # noqa: S608 - constants
            {} if model is None else {"model": model},
        )
        return [release_of(row) for row in rows]

    def release_by_key(self, model: str, key: str) -> Release | None:
        """The release that was registered under this idempotency key."""
        with self._snapshot() as fetch:
            return None if fetch is None else find_release(fetch, model, key=key)

    def rollouts(self, model: str | None = None, limit: int = 50) -> Sequence[Rollout]:
        """The rollouts of a model, newest first; of all models (None) by the time at which they started."""
        where = "" if model is None else "WHERE model = :model "
        rows = self._rows(
            f"SELECT {_ROLLOUT} FROM rollouts {where}ORDER BY started_at DESC, number DESC LIMIT :limit"  # noqa: S608
            if model is None
            else f"SELECT {_ROLLOUT} FROM rollouts {where}ORDER BY number DESC LIMIT :limit",  # noqa: S608
            {"limit": limit} if model is None else {"model": model, "limit": limit},
        )
        return [rollout_of(row) for row in rows]

    def open_rollouts(self) -> Mapping[str, Rollout]:
        """The rollout that goes on, of every model that has one."""
        rows = self._rows(f"SELECT {_ROLLOUT} FROM rollouts WHERE {_OPEN} ORDER BY model", {})  # noqa: S608
        return {row[0]: rollout_of(row) for row in rows}

    def open_rollout(self, model: str) -> Rollout | None:
        """The rollout of a model that goes on."""
        with self._snapshot() as fetch:
            return None if fetch is None else find_open_rollout(fetch, model)

    def unmirrored(self) -> Mapping[str, Endpoint]:
        """The endpoints that the registry's aliases were not made to follow."""
        rows = self._rows(
            f"SELECT {_ENDPOINT} FROM endpoints WHERE COALESCE(champion, 0) <> COALESCE(stable, 0)"  # noqa: S608
            " OR COALESCE(challenger, 0) <> COALESCE(candidate, 0) ORDER BY model",
            {},
        )
        return {row[0]: Endpoint(*row) for row in rows}

    # ── Inbox, to read ──

    def approvals(self, model: str, version: int | None = None) -> Sequence[Approval]:
        """What was said of a model's releases, or of one, oldest first."""
        rows = self._rows(
            f"SELECT {_APPROVAL} FROM approvals WHERE model = :model ORDER BY sequence",  # noqa: S608 - constants
            {"model": model},
        )
        return [each for each in map(approval_of_row, rows) if version in (None, each.version)]

    def protected(self) -> frozenset[str]:
        """The models that must not be destroyed."""
        return frozenset(row[0] for row in self._rows("SELECT model FROM protected", {}))

    def pending(self, model: str | None = None) -> Sequence[Event]:
        """The events (of one model if given) that nobody has taken up, in the order of their arrival."""
        only = "" if model is None else "model = :model AND "
        rows = self._rows(
            f"SELECT {_EVENT} FROM inbox WHERE {only}handled_at IS NULL ORDER BY sequence",  # noqa: S608 - constants
            {} if model is None else {"model": model},
        )
        return [event_of(row) for row in rows]

    def events(self, model: str | None = None, limit: int = 50) -> Sequence[Event]:
        """The newest events (of one model if given), handled ones too, newest first."""
        where = "" if model is None else "WHERE model = :model "
        rows = self._rows(
            f"SELECT {_EVENT} FROM inbox {where}ORDER BY sequence DESC LIMIT :limit",  # noqa: S608 - constants
            {"limit": limit} if model is None else {"model": model, "limit": limit},
        )
        return [event_of(row) for row in rows]

    # ── Evaluations, to read ──

    def evaluations(
        self, model: str | None = None, limit: int = 50, *, due_only: bool = False
    ) -> Sequence[TriggerEvaluation]:
        """The newest evaluations (of one model if given), newest first."""
        wanted = [*(["model = :model"] if model is not None else []), *(["status = 'due'"] if due_only else [])]
        where = f"WHERE {' AND '.join(wanted)} " if wanted else ""
        rows = self._rows(
            f"SELECT {_EVALUATION} FROM evaluations {where}ORDER BY sequence DESC LIMIT :limit",  # noqa: S608 - constants
            {"limit": limit} if model is None else {"model": model, "limit": limit},
        )
        return [evaluation_of(row) for row in rows]

    def newest_evaluations(self, models: Sequence[str]) -> Mapping[str, TriggerEvaluation]:
        """The newest evaluation of each of these models that has one."""
        with self._snapshot() as fetch:
            found = [] if fetch is None else [find_newest_evaluation(fetch, model) for model in models]
        return {evaluation.model: evaluation for evaluation in found if evaluation is not None}

    # ── Alerts, to read ──

    def alerts(self, model: str | None = None) -> Sequence[AlertRecord]:
        """The alerts (of one model if given): those that fire first, then those that were resolved last."""
        where = "" if model is None else "WHERE model = :model "
        rows = self._rows(
            f"SELECT {_ALERT} FROM alerts {where}ORDER BY CASE WHEN resolved_at IS NULL THEN 0 ELSE 1 END,"  # noqa: S608
            " resolved_at DESC, fired_at DESC, model, fingerprint",
            {} if model is None else {"model": model},
        )
        return [alert_of(row) for row in rows]

    def told(self, model: str | None = None) -> Sequence[Told]:
        """What the receivers of alerts (of one model if given) were told."""
        where = "" if model is None else "WHERE model = :model "
        rows = self._rows(
            f"SELECT {_TOLD} FROM told {where}ORDER BY model, receiver, grouping",  # noqa: S608 - constants
            {} if model is None else {"model": model},
        )
        return [told_of(row) for row in rows]

    # ── the audit log ──

    def audit(self, after: int = 0) -> Sequence[AuditEvent]:
        """The audit events beyond sequence `after`, oldest first: the order of the chain."""
        rows = self._rows(
            f"SELECT {_AUDIT} FROM audit WHERE sequence > :after ORDER BY sequence",  # noqa: S608 - constants
            {"after": after},
        )
        return [_event(row) for row in rows]

    def audit_head(self) -> ChainHead:
        """How long the audit chain is and its last hash, as kept beside it. Keep a copy elsewhere to detect a cut."""
        with self._snapshot() as fetch:
            if fetch is None:
                return ChainHead(0, "")
            _, _, count, head = fetch(_META, {})[0]
            return ChainHead(count, head)

    # ── for maintenance ──

    def list_models(self) -> Sequence[str]:
        """The names of all models that the state knows, sorted."""
        return sorted(self.model_serials())

    def leases(self) -> Sequence[Lease]:
        """All leases that are held, expired ones included, by model."""
        rows = self._rows(
            f"SELECT {_LEASE} FROM leases WHERE holder IS NOT NULL ORDER BY model",  # noqa: S608 - constants
            {},
        )
        return [Lease(*row) for row in rows]

    def live_digests(self, keep: int = 1, retired: Collection[tuple[str, int]] = ()) -> frozenset[str]:
        """The digests of all artifacts that something still needs.

        These are the outputs of the `keep` newest results of every step (at least the newest), every release's model
        and whatever its evidence names, and the outputs of the runs that made the releases; not of the `retired`
        releases (model, version).
        """
        with self._snapshot() as fetch:
            if fetch is None:
                return frozenset()
            outputs = fetch(
                "SELECT outputs FROM (SELECT outputs, head, ROW_NUMBER() OVER"
                " (PARTITION BY model, step ORDER BY id DESC) AS age FROM steps WHERE status = 'done') AS aged"
                " WHERE head = 'result' OR age <= :keep",
                {"keep": keep},
            )
            released = fetch(
                "SELECT releases.model, releases.version, steps.outputs FROM steps"
                " JOIN releases ON releases.run_id = steps.run_id WHERE steps.status = 'done'",
                {},
            )
            evidence = fetch("SELECT model, version, artifact, evidence FROM releases", {})
        gone = set(retired)
        texts = [text for (text,) in outputs] + [
            text for model, version, text in released if (model, version) not in gone
        ]
        found = {entry[0] for text in texts for entry in json.loads(text).values()}
        for model, version, artifact, text in evidence:
            if (model, version) in gone:
                continue
            found.add(json.loads(artifact)[0])
            found.update(_digests_in(json.loads(text)))
        return frozenset(found)


# ── several models at once ───────────────────────────────────────────────────────────────────────────────────


@dataclass
class _Parts:
    """What is known of a model while its rows come in."""

    serial: int
    spec_digest: str
    latest: dict[str, StepResult] = field(default_factory=dict)
    attempts: dict[str, Attempt] = field(default_factory=dict)
    durations: dict[str, tuple[float, ...]] = field(default_factory=dict)
    tainted: set[str] = field(default_factory=set)
    endpoint: Endpoint | None = None


def _models(fetch: Fetch, names: Sequence[str] | None) -> dict[str, ModelState]:
    only = None if names is None or len(names) > _NAMED else sorted(set(names))

    def select(columns: str, table: str, key: str = "model") -> Sequence[Row]:
        if only == []:
            return []
        marks = "" if only is None else f" {key} IN ({', '.join(f':n{i}' for i in range(len(only)))})"
        both = " AND" if only is not None and " WHERE " in table else " WHERE" if only is not None else ""
        parameters = {f"n{i}": name for i, name in enumerate(only or [])}
        return fetch(f"SELECT {columns} FROM {table}{both}{marks}", parameters)  # noqa: S608 - constants

    parts = {row[0]: _Parts(row[1], row[2]) for row in select("name, serial, spec_digest", "models", "name")}
    done = select(f"{_RESULT}, model, recent", "steps WHERE head = 'result'")
    recent = json.loads(f"[{','.join([row[11] for row in done])}]")  # one document: a call for each costs more
    for row, seconds in zip(done, recent, strict=True):
        part = parts[row[10]]
        part.latest[row[0]] = _result(row)
        part.durations[row[0]] = tuple(seconds)
    for row in select("step, fingerprint, status, message, run_id, model", "steps WHERE head = 'attempt'"):
        parts[row[5]].attempts[row[0]] = _attempt(row)
    for model, step in select("model, step", "taints"):
        parts[model].tainted.add(step)
    for row in select(_ENDPOINT, "endpoints"):
        parts[row[0]].endpoint = Endpoint(*row)
    return {
        name: ModelState(
            name, p.serial, p.spec_digest, p.latest, p.attempts, p.durations, frozenset(p.tainted), p.endpoint
        )
        for name, p in parts.items()
    }


# ── rows and records ─────────────────────────────────────────────────────────────────────────────────────────


def find_release(fetch: Fetch, model: str, *, key: str) -> Release | None:
    """The release under this idempotency key."""
    rows = fetch(
        f"SELECT {_RELEASE} FROM releases WHERE model = :model AND release_key = :key",  # noqa: S608 - constants
        {"model": model, "key": key},
    )
    return release_of(rows[0]) if rows else None


def find_endpoint(fetch: Fetch, model: str) -> Endpoint | None:
    """The endpoint's record; None before the first deployment."""
    rows = fetch(f"SELECT {_ENDPOINT} FROM endpoints WHERE model = :model", {"model": model})  # noqa: S608
    return Endpoint(*rows[0]) if rows else None


def find_rollout(fetch: Fetch, model: str, number: int) -> Rollout | None:
    """One rollout of a model."""
    rows = fetch(
        f"SELECT {_ROLLOUT} FROM rollouts WHERE model = :model AND number = :number",  # noqa: S608 - constants
        {"model": model, "number": number},
    )
    return rollout_of(rows[0]) if rows else None


def find_open_rollout(fetch: Fetch, model: str) -> Rollout | None:
    """The rollout of a model that goes on; there is one at most."""
    rows = fetch(f"SELECT {_ROLLOUT} FROM rollouts WHERE model = :model AND {_OPEN}", {"model": model})  # noqa: S608
    return rollout_of(rows[0]) if rows else None


def find_lease(fetch: Fetch, model: str) -> tuple[str | None, int, str, str] | None:
    """Holder (None when free), token, acquired_at, expires_at; None when it was never taken."""
    rows = fetch(f"SELECT {_LEASE} FROM leases WHERE model = :model", {"model": model})  # noqa: S608
    return rows[0][1:] if rows else None


def artifact_json(artifact: Artifact) -> list[Json]:
    """An artifact as it is stored."""
    return [artifact.digest, artifact.size, artifact.name, artifact.tree]


def outputs_text(outputs: Mapping[str, Artifact]) -> str:
    """A result's outputs as they are stored."""
    return canonical_json({role: artifact_json(artifact) for role, artifact in outputs.items()})


def release_of(row: Row) -> Release:
    """The release of a row with the columns of `_RELEASE`."""
    model, version, key, run_id, uri, artifact, evidence, created_at = row
    return Release(model, version, key, run_id, uri, Artifact(*json.loads(artifact)), json.loads(evidence), created_at)


def strategy_json(strategy: Strategy) -> dict[str, Json]:
    """A strategy as it is stored."""
    from engine.core.approval import terms_json

    return {
        "name": strategy.name,
        "stages": [dict(vars(stage)) for stage in strategy.stages],
        "approval": terms_json(strategy.approval),
        "analysis": None if strategy.analysis is None else dict(strategy.analysis),
        "keep_warm": strategy.keep_warm,
    }


def rollout_of(row: Row) -> Rollout:
    """The rollout of a row with the columns of `_ROLLOUT`."""
    # Not at the top: a plan imports this module and has no use for rollouts.
    from engine.core.approval import stored_terms
    from engine.core.rollout import Phase, Rollout
    from engine.core.stages import Stage, Strategy

    model, number, candidate, base, text, phase, stage, first, since, started, changed, began, passed, reason = row
    stored = json.loads(text)
    stages = tuple(Stage(**each) for each in stored["stages"])
    strategy = Strategy(**{**stored, "stages": stages, "approval": stored_terms(stored["approval"])})
    return Rollout(
        model,
        number,
        candidate,
        base,
        strategy,
        Phase(phase),
        stage,
        first,
        since,
        started,
        changed,
        began,
        bool(passed),
        reason,
    )


class StoredResult(StepResult):
    """A StepResult that decodes its `components`, `outputs` and `facts` when they are first asked for.

    A plan of a thousand models with nothing new compares nine thousand fingerprints and explains none of them.
    """

    def __getattr__(self, name: str) -> Any:
        text = self.__dict__.get(f"_{name}")
        if text is None:
            raise AttributeError(name)
        value = json.loads(text)
        if name == "outputs":
            value = {role: Artifact(*entry) for role, entry in value.items()}
        self.__dict__[name] = value
        return value

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, StepResult):
            return NotImplemented
        return all(getattr(self, f.name) == getattr(other, f.name) for f in fields(StepResult))

    __hash__ = None  # type: ignore[assignment]  # as unhashable as the mappings in it


_STORED = tuple(f"_{name}" if name in ("components", "outputs", "facts") else name for name in _RESULT.split(", "))
_VERDICTS = {verdict.value: verdict for verdict in Verdict}


def _result(row: Row) -> StepResult:
    """The result of a row that begins with the columns of `_RESULT`."""
    result = StoredResult.__new__(StoredResult)
    values = result.__dict__  # filled directly: the constructor of a frozen dataclass takes three times as long
    values.update(zip(_STORED, row, strict=False))
    if values["verdict"] is not None:
        values["verdict"] = _VERDICTS[values["verdict"]]
    return result


def _attempt(row: Row) -> Attempt:
    return Attempt(row[0], row[1], AttemptStatus(row[2]), row[3], row[4])


def _run(row: Row) -> Run:
    run_id, model, status, started, finished, digest, document, message, provenance = row
    return Run(
        run_id,
        model,
        RunStatus(status),
        started,
        finished,
        digest,
        json.loads(document),
        message,
        json.loads(provenance),
    )


def event_of(row: Row) -> Event:
    """The event of a row with the columns of `_EVENT`."""
    return Event(row[0], row[1], EventKind(row[2]), *row[3:])


def find_event(fetch: Fetch, model: str, id: str) -> Event | None:
    """The event that the model knows under this id."""
    rows = fetch(
        f"SELECT {_EVENT} FROM inbox WHERE model = :model AND id = :id",  # noqa: S608 - constants
        {"model": model, "id": id},
    )
    return event_of(rows[0]) if rows else None


def approval_of_row(row: Row) -> Approval:
    """The approval of a row with the columns of `_APPROVAL`."""
    from engine.core.approval import Approval

    model, version, artifact, agrees, actor, method, reason, at, sequence = row
    return Approval(model, version, artifact, bool(agrees), actor, method, reason, at, sequence)


def evaluation_of(row: Row) -> TriggerEvaluation:
    """The evaluation of a row with the columns of `_EVALUATION`."""
    values: list[Any] = list(row)
    values[3], values[8] = json.loads(row[3]), Aftermath(row[8]) if row[8] else None
    return TriggerEvaluation(*values)


def alert_of(row: Row) -> AlertRecord:
    """The alert of a row with the columns of `_ALERT`."""
    from engine.core.alerts import Alert, AlertRecord

    model, name, severity, summary, remedy, labels, *history = row
    return AlertRecord(Alert(model, name, severity, summary, remedy, json.loads(labels)), *history)


def told_of(row: Row) -> Told:
    """What a receiver was told, of a row with the columns of `_TOLD`."""
    from engine.core.alerts import Told

    values: list[Any] = list(row)
    values[6] = {fingerprint: tuple(said) for fingerprint, said in json.loads(row[6]).items()}
    values[7] = tuple(json.loads(row[7]))
    return Told(*values)


def find_newest_evaluation(fetch: Fetch, model: str) -> TriggerEvaluation | None:
    """What the model's triggers said last."""
    rows = fetch(
        f"SELECT {_EVALUATION} FROM evaluations WHERE model = :model ORDER BY sequence DESC LIMIT 1",  # noqa: S608
        {"model": model},
    )
    return evaluation_of(rows[0]) if rows else None


def _event(row: Row) -> AuditEvent:
    sequence, at, actor, event, subject, details, previous_hash, hash_ = row
    return AuditEvent(sequence, at, actor, event, subject, json.loads(details), previous_hash, hash_)


def _digests_in(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        if value.startswith("blake3:"):
            yield value
    elif isinstance(value, Mapping):
        yield from _in_all(value.values())
    elif isinstance(value, list):
        yield from _in_all(value)


def _in_all(values: Iterable[Any]) -> Iterator[str]:
    for value in values:
        yield from _digests_in(value)
