"""What the state remembers: results of steps, runs, releases, endpoints. Immutable, and free of any store.

Times are UTC in ISO 8601 (`2026-11-23T04:00:00.000000Z`), durations seconds, traffic weights fractions 0–1.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from engine.core.canonical import Json
from engine.core.verdict import Verdict


@dataclass(frozen=True)
class Artifact:
    """Stored content. A `tree` is a folder, stored as a manifest of files; its digest is the manifest's."""

    digest: str
    size: int
    name: str
    tree: bool = False


@dataclass(frozen=True)
class StepResult:
    """A step that finished. `components` is what its fingerprint was made of, kept to explain a later change.

    `facts` are small figures for people and for later steps (rows, metrics), `summary` is one line of them.
    """

    step: str
    fingerprint: str
    components: Mapping[str, Any]
    outputs: Mapping[str, Artifact]
    facts: Mapping[str, Any] = field(default_factory=dict)
    summary: str = ""
    verdict: Verdict | None = None
    seconds: float = 0.0
    run_id: str = ""
    finished_at: str = ""


class AttemptStatus(str, Enum):
    """Where a step of a run stands in the ledger."""

    INTENT = "intent"
    DONE = "done"
    FAILED = "failed"
    INTERRUPTED = "interrupted"


@dataclass(frozen=True)
class Attempt:
    """The last attempt at a step that has not led to a result."""

    step: str
    fingerprint: str
    status: AttemptStatus
    message: str = ""
    run_id: str = ""


class RunStatus(str, Enum):
    """How a run ended, or that it goes on."""

    RUNNING = "running"
    DONE = "done"
    STOPPED = "stopped"  # by a gate's verdict
    FAILED = "failed"
    CANCELLED = "cancelled"
    INTERRUPTED = "interrupted"  # its process is gone


@dataclass(frozen=True)
class Run:
    """One execution of a plan for one model."""

    run_id: str
    model: str
    status: RunStatus
    started_at: str
    finished_at: str | None
    spec_digest: str
    document: Mapping[str, Json]  # the resolved spec that was applied
    message: str = ""
    provenance: Mapping[str, Json] = field(default_factory=dict)  # git commit, user, host, versions


@dataclass(frozen=True)
class Release:
    """A registered model version with what it was made of. `key` is the idempotency key of its registration."""

    model: str
    version: int
    key: str
    run_id: str
    registry_uri: str
    artifact: Artifact  # the model's own file or folder
    evidence: Mapping[str, Json]
    created_at: str = ""


@dataclass(frozen=True)
class Endpoint:
    """Who serves a model. Exactly one stable release once there is any.

    A candidate has a weight in [0, 1), its share of the traffic; `mirror` is the share of requests of which it gets a
    copy without answering anybody. Every change raises `generation` by one. `deployed` is the fingerprint of the deploy
    step that was carried out last; `aborted` is set when its candidate was sent away, and parks that deployment until
    the spec changes.
    """

    model: str
    generation: int = 0
    stable: int | None = None
    candidate: int | None = None
    weight: float = 0.0
    deployed: str = ""
    aborted: str = ""  # why, and by whom; empty when it was not
    previous: int | None = None  # the release that was stable before
    mirror: float = 0.0


@dataclass(frozen=True)
class ModelState:
    """All that planning needs to know of one model."""

    name: str
    serial: int = 0
    spec_digest: str = ""
    latest: Mapping[str, StepResult] = field(default_factory=dict)  # by step, newest
    attempts: Mapping[str, Attempt] = field(default_factory=dict)  # by step, if newer than `latest`
    durations: Mapping[str, tuple[float, ...]] = field(default_factory=dict)  # by step, seconds, newest first
    tainted: frozenset[str] = frozenset()  # steps that must run again
    endpoint: Endpoint | None = None


@dataclass(frozen=True)
class Lineage:
    """Which state this is, and how often it was changed."""

    lineage: str
    serial: int


def delivery_of(model: str) -> str:
    """The name under which a model's delivery is leased: its endpoint changes also while a run holds the model."""
    return f"{model}:delivery"


def alerts_of(model: str) -> str:
    """The name under which a model's alerts are leased: who is told of them is nobody else's concern."""
    return f"{model}:alerts"


@dataclass(frozen=True)
class Lease:
    """The right to change one model, until it expires or is taken over. Writes carry `token`, the fence."""

    model: str
    holder: str
    token: int
    acquired_at: str
    expires_at: str


class EventKind(str, Enum):
    """Where an event came from."""

    MANUAL = "manual"  # a person, by command or over the control API
    WEBHOOK = "webhook"  # a signed delivery
    UPSTREAM = "upstream"  # another model of the project


@dataclass(frozen=True)
class Event:
    """Something that happened outside and may call for a retrain.

    `id` is its idempotency key: the model knows an event of that id once. `sequence` is the order of arrival over all
    models (0 until it is stored). `handled_by` is the run or the evaluation that took it up.
    """

    id: str
    model: str
    kind: EventKind
    event: str = ""  # what happened, in the sender's words: `push`
    reason: str = ""
    actor: str = ""
    received_at: str = ""  # empty: when it is stored
    sequence: int = 0
    handled_at: str | None = None
    handled_by: str | None = None


class Aftermath(str, Enum):
    """What became of a retrain that was due."""

    RELEASED = "released"  # a candidate passed its gates
    STOPPED = "stopped"  # a gate refused it
    FAILED = "failed"
    NOTHING_NEW = "nothing_new"  # the same data and code: there was nothing to train


@dataclass(frozen=True)
class TriggerEvaluation:
    """What a model's triggers said. Evaluations in a row that say the same are one record, with the newest figures.

    `document` is JSON of its own format (`triggers.evaluation`); `signature` is equal for those that say the same.
    `status` is `due`, `held`, `not_due` or `unknown`. `sequence` is 0 until it is stored. A due one is open until it
    is settled: `aftermath` says how, `run_id` by which run.
    """

    model: str
    status: str
    signature: str
    document: Mapping[str, Json]
    first_at: str
    last_at: str
    count: int = 1
    sequence: int = 0
    aftermath: Aftermath | None = None
    run_id: str = ""
    settled_at: str | None = None


@dataclass(frozen=True)
class AuditEvent:
    """A link of the hash chain: `hash` covers everything here and the hash before it."""

    sequence: int
    at: str
    actor: str
    event: str
    subject: str
    details: Mapping[str, Json]
    previous_hash: str
    hash: str
