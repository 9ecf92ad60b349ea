"""Every boundary that an adapter implements. Small on purpose: two to four methods each.

A fake and every real adapter of a port pass the same contract suite (`engine/testing`, `tests/contracts`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeAlias

from engine.core.canonical import Json
from engine.core.evidence import Measurement, Tally
from engine.core.records import (
    Aftermath,
    Artifact,
    Attempt,
    AuditEvent,
    Endpoint,
    Event,
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
    from engine.core.alerts import AlertRecord, Notice, Told
    from engine.core.approval import Approval, Consent, Terms
    from engine.core.monitoring import WindowReport
    from engine.core.rollout import Rollout, Seen
    from engine.stats.drift import Column, DriftReport, Profile

# ── state ────────────────────────────────────────────────────────────────────────────────────────────────────


class StateReader(Protocol):
    """What planning may see. Reading never waits for a writer and never creates anything."""

    def lineage(self) -> Lineage: ...

    def models(self, names: Sequence[str] | None = None) -> Mapping[str, ModelState]:
        """The named models (all if None); one that the state does not know is an empty ModelState."""

    def result(self, model: str, step: str, fingerprint: str) -> StepResult | None:
        """The newest finished result of a step with this fingerprint, however long ago."""


class HistoryReader(Protocol):
    """What happened, newest first."""

    def runs(self, model: str | None = None, limit: int = 50) -> Sequence[Run]: ...

    def steps_of(self, run_id: str) -> tuple[Sequence[StepResult], Sequence[Attempt]]: ...

    def releases(self, model: str | None = None) -> Sequence[Release]: ...

    def holdout_uses(self, model: str, holdout: str) -> int:
        """How many different models were measured on the hold-out of this digest."""

    def audit(self, after: int = 0) -> Sequence[AuditEvent]: ...


class LeaseStore(Protocol):
    """Who may change a model. A lease expires; its token only ever grows."""

    def acquire(self, model: str, holder: str, seconds: float) -> Lease:
        """Take the lease, or raise LockedError naming the holder. An expired lease, or one whose holder is a dead
        process of this host, is taken over with a higher token."""

    def renew(self, lease: Lease, seconds: float) -> Lease:
        """Raises FencedError when it was lost."""

    def release(self, lease: Lease) -> None: ...

    def leases(self) -> Sequence[Lease]: ...


class Ledger(Protocol):
    """The durable record of a run. Every method is one transaction, and raises FencedError for a stale lease."""

    def start_run(self, lease: Lease, run: Run) -> None:
        """Record a run; runs of the same model that are still `running` become `interrupted`."""

    def advance(
        self, lease: Lease, run_id: str, *, done: StepResult | None = None, intent: Attempt | None = None
    ) -> None:
        """Record a finished step and the intent of the next one, in one commit. A result lifts the step's taint."""

    def fail(self, lease: Lease, run_id: str, attempt: Attempt) -> None: ...

    def finish_run(self, lease: Lease, run_id: str, status: RunStatus, message: str, finished_at: str) -> None: ...


RolloutChange: TypeAlias = "tuple[Rollout | None, Rollout]"
"""A rollout as it was (None: there was none) and as it shall be."""


class ReleaseStore(Protocol):
    """Releases and the endpoint that serves them."""

    def add_release(self, lease: Lease, release: Release) -> None:
        """Idempotent by `release.key`; raises IntegrityError if the key or the version exists with other content."""

    def release_by_key(self, model: str, key: str) -> Release | None: ...

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
        """Change the endpoint, its rollouts, or both (`after` may be `before`), in one transaction.

        `lease` is of the model or of its delivery. Compare-and-swap: raises StateError when what was is not what is
        stored.
        """

    def set_mirrored(self, endpoint: Endpoint) -> None:
        """Note that the registry's aliases say what this endpoint says."""


class ApprovalStore(Protocol):
    """What people said of releases."""

    def approve(self, approval: Approval) -> Approval:
        """Keep an approval or a rejection, as it is then stored; audited under its `by`. Raises StateError where the
        release is not there, or is another artifact."""

    def approvals(self, model: str, version: int | None = None) -> Sequence[Approval]:
        """Oldest first."""


class RolloutReader(Protocol):
    """Rollouts, and what the registry has not been told yet."""

    def rollouts(self, model: str | None = None, limit: int = 50) -> Sequence[Rollout]: ...

    def open_rollout(self, model: str) -> Rollout | None: ...

    def open_rollouts(self) -> Mapping[str, Rollout]: ...

    def unmirrored(self) -> Mapping[str, Endpoint]: ...


class Permissions(Protocol):
    """Whether a release may go live: who has to agree and has, and what policies say at a moment."""

    def consent(self, model: str, version: int, terms: Terms, now: datetime) -> Consent: ...

    def refused(self, model: str, version: int, now: datetime) -> str:
        """The policy that keeps a release from more traffic at this moment, and why; empty if none does."""


class Observer(Protocol):
    """What can be seen of a rollout in the world: its candidate's processes, and what live traffic says."""

    def seen(self, rollout: Rollout, now: datetime) -> Seen: ...


@dataclass(frozen=True)
class Question:
    """What a guardrail of the user's own is asked about: a candidate in a stage (from 1) at a weight (fraction 0-1).

    `evidence`: what was counted of both releases since the rollout began, by role and name. `resolve` turns a secret
    reference into its value.
    """

    model: str
    candidate: int
    stable: int
    weight: float
    stage: int
    evidence: Mapping[str, Mapping[str, int]]
    resolve: Callable[[str], str]


class Gauge(Protocol):
    """Asks for a guardrail of the user's own: `measure` of a module in `engine/adapters/gauges`."""

    def __call__(self, guardrail: Mapping[str, Any], question: Question) -> Measurement:
        """What it gives now; what keeps it from being asked is told by the measurement's `error`, never raised.

        `guardrail` is the resolved block. Blocks for four tries at most.
        """


class Notifier(Protocol):
    """Brings a notice to a receiver of alerts: `notify` of a module in `engine/adapters/notifiers`."""

    def __call__(
        self, receiver: Mapping[str, Any], notice: Notice, resolve: Callable[[str], str], project: Path
    ) -> None:
        """Returns once it was accepted. `receiver` is the resolved block. Blocks for four tries at most.

        Raises TransientError for what is worth another try later, UsageError for what somebody must mend. Neither
        names the address, which may be a secret.
        """


class EvidenceReader(Protocol):
    """What the gateway observed of the releases that serve."""

    def tallies(self, model: str, since_generation: int = 0) -> Sequence[Tally]:
        """The tallies of a model from a generation of its endpoint on, oldest first."""


class Inbox(Protocol):
    """Events from outside, kept until somebody takes them up. None is lost and none counts twice."""

    def put(self, event: Event) -> bool:
        """Keep an event durably; False when the model knows one of this id already, handled or not.

        Moves no serial: an event is no part of what a plan is made of. Raises TransientError while too many wait.
        """

    def pending(self, model: str | None = None) -> Sequence[Event]:
        """The events (of one model if given) that nobody has taken up, in the order of their arrival."""

    def handle(self, lease: Lease, ids: Sequence[str], by: str) -> None:
        """Note that a run or an evaluation `by` took these events of the lease's model up: all of them or none.

        Raises FencedError for a lost lease, StateError for an id that is not known or was handled before.
        """


class EvaluationStore(Protocol):
    """What the triggers said, and what became of it. Moves no serial: it is no part of what a plan is made of."""

    def record(self, lease: Lease, evaluation: TriggerEvaluation) -> TriggerEvaluation:
        """Keep an evaluation of the lease's model, as it is then stored.

        When the newest one has the same signature and is not settled, that one gets the new document, a later
        `last_at` and a higher count instead. Raises FencedError for a lost lease.
        """

    def settle(self, lease: Lease, sequence: int, aftermath: Aftermath, run_id: str = "") -> None:
        """Note what became of a due evaluation, once. Raises FencedError; StateError if it is not open."""

    def evaluations(
        self, model: str | None = None, limit: int = 50, *, due_only: bool = False
    ) -> Sequence[TriggerEvaluation]:
        """The newest evaluations (of one model if given), newest first."""

    def newest_evaluations(self, models: Sequence[str]) -> Mapping[str, TriggerEvaluation]:
        """The newest evaluation of each of these models that has one."""


class AlertStore(Protocol):
    """Alerts, and what their receivers were told. Moves no serial: it is no part of what a plan is made of."""

    def alerts(self, model: str | None = None) -> Sequence[AlertRecord]:
        """The alerts (of one model if given): those that fire first, then those that were resolved last."""

    def told(self, model: str | None = None) -> Sequence[Told]:
        """What the receivers of alerts (of one model if given) were told."""

    def keep_alerts(self, lease: Lease, records: Sequence[AlertRecord], told: Sequence[Told] = ()) -> None:
        """Store alerts of a model and what its receivers were told, together, under a lease of the model's alerts.

        Raises FencedError for a lost lease.
        """


# ── monitoring ───────────────────────────────────────────────────────────────────────────────────────────────


class LoggedPrediction(Protocol):
    """A row of the prediction log; see `engine.serving.prediction_log_format.Prediction`."""

    @property
    def id(self) -> str: ...

    @property
    def at(self) -> str: ...

    @property
    def latency(self) -> float: ...

    @property
    def features(self) -> Mapping[str, Any] | None: ...

    @property
    def prediction(self) -> str | float | None: ...

    @property
    def score(self) -> float | None: ...

    @property
    def error(self) -> str | None: ...

    @property
    def actual(self) -> str | float | None: ...


class PredictionReader(Protocol):
    """What the live release was asked and said, with the actual values that are known. Rows in order of their ids."""

    def served(self, model: str, version: int, after: str) -> Iterable[LoggedPrediction]:
        """What a release answered, or failed, as the stable one, behind the id `after` (empty: from the start)."""

    def between(self, model: str, version: int, first: str, last: str) -> Sequence[LoggedPrediction]:
        """The same from one id to another, both included; those that are still in the log."""

    def labels(self, model: str, first: str, last: str) -> int:
        """How many actual values are known of a model's ids from one to another."""


class DriftDetector(Protocol):
    """Carries out what a resolved `{type: drift, …}` says: `adapters.detectors.find.check_block`."""

    def __call__(self, profile: Profile, batch: Iterable[Column], block: Mapping[str, Any]) -> DriftReport:
        """Raises EngineError where a library is missing or a detector fails, ValueError for columns that are not
        there."""


class LabelledRows(Protocol):
    """Predictions whose actual value is known, to learn from."""

    def mark(self, model: str) -> str:
        """How far they go now: the text of a `LabelMark`. The same text means the same rows."""

    def write(self, model: str, mark: str, target: Path, newest: int | None = None) -> int:
        """Write the rows up to a mark, or the `newest` of them, to a Parquet file; how many.

        Raises StalePlanError when some of them are gone.

        Columns: `id` (of the prediction), `at` (UTC), `identity` (its `data.id`, null if it came without), `actual`
        and `features` (JSON). In the order of the predictions.
        """


class MonitoringStore(Protocol):
    """Reports of closed windows. Whoever adds a window first has judged it."""

    def add(self, report: WindowReport) -> bool:
        """Keep a new window's report; False, and nothing changed, if somebody else did before."""

    def update(self, report: WindowReport) -> None:
        """Replace the report of a window that is not final; one that is final stays as it is."""

    def reports(self, model: str, version: int | None = None, limit: int = 50) -> Sequence[WindowReport]:
        """Newest first."""

    def pending(self, model: str) -> Sequence[WindowReport]:
        """Those that are not final, oldest first."""

    def trim(self, model: str, keep: int) -> None:
        """Delete all but the newest windows of a model."""


class ReferenceStore(Protocol):
    """The window of a release's own predictions that later ones are compared with: one for each release."""

    def keep_reference(self, model: str, version: int, number: int, profile: bytes) -> None:
        """Keep window `number` as the reference, unless there is one."""

    def drop_reference(self, model: str, version: int, number: int) -> None:
        """Window `number` is the reference no more, if it was."""

    def production_reference(self, model: str, version: int) -> tuple[int, bytes] | None:
        """The number of the window, and the bytes of its profile."""


class PlanStore(Protocol):
    """Saved plans may be used once."""

    def redeem(self, plan_id: str, at: str) -> None:
        """Raises StalePlanError if this plan was used before."""


# ── artifacts, sources, registry ─────────────────────────────────────────────────────────────────────────────


class Hashed(NamedTuple):
    """A file's digest and what the file looked like then: bytes, nanoseconds."""

    digest: str
    size: int
    mtime: int
    inode: int


class ArtifactStore(Protocol):
    """Content-addressed storage."""

    def put(self, path: Path, name: str | None = None, *, move: bool = False, known: Hashed | None = None) -> Artifact:
        """Store a file or a folder (as a tree), durably. The same content is stored once.

        `known` says what the file held when it was hashed: while it is that file, it need not be read again.

        `move` lets the store take the files themselves instead of copying them. They may stay where they are,
        read-only, until the caller removes them: the call can be made again after a crash.
        """

    def put_tree(self, files: Mapping[str, Path], name: str) -> Artifact:
        """Store several files as one tree; keys are relative POSIX paths inside it."""

    def path(self, artifact: Artifact) -> Path:
        """The verified content, read-only, under a path that ends in its name.

        Raises IntegrityError if it is missing or altered.
        """

    def files(self, artifact: Artifact) -> Mapping[str, tuple[str, str]]:
        """The files of an artifact by their paths in it: where each is, and the digest that its bytes must have.

        For who reads a place once and verifies what it read. Raises IntegrityError if it is missing or altered.
        """

    def has(self, artifact: Artifact) -> bool:
        """Whether the content is there, without reading it."""

    def collect(self, keep: Iterable[str], *, dry_run: bool = False) -> int:
        """Remove every object that no digest in `keep` reaches; returns the bytes freed. A `dry_run` only counts."""


class StatCache(Protocol):
    """Digests of files that were hashed before, recognised by path, size, mtime, ctime and inode."""

    def digest(self, path: Path) -> str: ...


class Source(Protocol):
    """Where data comes from, by the shape of `data.source`."""

    def is_local(self, source: Json) -> bool:
        """Whether it lies in the project's own files, so that `snapshot` needs no worker."""

    def observe(self, source: Json, project: Path, cache: StatCache) -> str | None:
        """A digest of the content as it is now; None when only reading all of it would tell.

        Raises UsageError when there is nothing at that place.
        """

    def snapshot(self, source: Json, project: Path, store: ArtifactStore, seen: str) -> Artifact:
        """Bring local content into the store, as it was when `observe` gave `seen`.

        Files that have only grown since are stored as far as they went then. Raises StalePlanError for other changes.
        """


@dataclass(frozen=True)
class RegisterRequest:
    """What a registry needs to make a version. `key` is in the version's tags, so that a second try finds it."""

    model: str
    experiment: str
    key: str
    run_name: str
    model_dir: Path  # the train step's `model` output
    params: Mapping[str, Json]
    metrics: Mapping[str, float]
    tags: Mapping[str, str]
    datasets: Sequence[Mapping[str, Json]]
    files: Mapping[str, Path]  # artifact path in the tracking run → local file
    requirements: Sequence[str]
    texts: Mapping[str, str] = field(default_factory=dict)  # artifact path in the tracking run → content
    input_example: Path | None = None  # a Parquet file of rows like those that the model was trained on


@dataclass(frozen=True)
class Registered:
    """A version as the registry itself reports it."""

    version: int
    run_id: str
    uri: str


class ModelRegistry(Protocol):
    """A tracking server and model registry. Raises TransientError when it does not answer in time."""

    def find(self, model: str, key: str) -> Registered | None: ...

    def register(self, request: RegisterRequest) -> Registered: ...

    def set_aliases(self, model: str, aliases: Mapping[str, int | None]) -> None:
        """Point each alias at a version; None removes it."""

    def aliases(self, model: str) -> Mapping[str, int]: ...


# ── steps ────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class StoredModel:
    """A model that a step loads: its files by their paths in it, each a place and a digest; and if it is signed."""

    files: Mapping[str, tuple[str, str]]
    signed: bool


@dataclass(frozen=True)
class StepContext:
    """What a step may use. `inputs` are read-only paths; each role in `outputs` must be written.

    `models` are inputs that it loads, by role. `facts` are the facts of the steps upstream, by step.
    `progress(done, total, text)` tells a watcher.
    """

    step: str
    settings: Mapping[str, Any]
    inputs: Mapping[str, Path]
    outputs: Mapping[str, Path]
    facts: Mapping[str, Mapping[str, Any]]
    project: Path
    scratch: Path
    progress: Callable[[int, int, str], None]
    resolve: Callable[[str], str]  # a secret reference → its value
    models: Mapping[str, StoredModel] = field(default_factory=dict)


@dataclass(frozen=True)
class StepOutcome:
    """What a step says of itself when it succeeded."""

    facts: Mapping[str, Any] = field(default_factory=dict)
    summary: str = ""
    verdict: Verdict | None = None


class StepFunction(Protocol):
    """`run(context)` of a module in `engine/steps`."""

    def __call__(self, context: StepContext) -> StepOutcome: ...


@dataclass(frozen=True)
class StepRequest:
    """One step for an executor: which function, with what, within which limits.

    The step runs in `workdir/scratch`, where `links` (relative path → file or folder) are laid out; `linked` are the
    inputs among them (role → relative path). Its outputs go to `workdir/out`. `secrets` (reference → value) reach the
    step alone and are masked in its log; `environment` is what the step gets beyond what all steps get.
    """

    step: str
    function: str  # "module:attribute", a StepFunction
    settings: Mapping[str, Json]
    inputs: Mapping[str, Path]
    outputs: Mapping[str, str]  # role → file name
    facts: Mapping[str, Mapping[str, Any]]
    project: Path
    workdir: Path
    log: Path
    timeout: float | None = None  # seconds
    memory: int | None = None  # bytes
    links: Mapping[str, Path] = field(default_factory=dict)
    linked: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    models: Mapping[str, StoredModel] = field(default_factory=dict)


class Executor(Protocol):
    """Runs steps in processes of their own."""

    def run(self, request: StepRequest, progress: Callable[[int, int, str], None]) -> StepOutcome:
        """Block until it is done; outputs lie in `workdir/out`. Raises StepError and its kin."""

    def cancel(self) -> None:
        """End all running steps at once; those waiting in `run` raise StepError."""

    def close(self) -> None: ...
