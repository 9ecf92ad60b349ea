"""A plan: what would happen to each model, and why, as immutable actions. `core.planner` makes them.

Explaining a plan and carrying it out are two walks over the same actions, so they cannot disagree: apply runs a
step only if the plan says `Run` or `Conditional`, and may find at that moment that an identical input spares it
the work.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import TypeAlias

from engine.core.canonical import Json
from engine.core.records import Endpoint, StepResult
from engine.core.verdict import Verdict


class ReasonCode(str, Enum):
    """Why a step would run."""

    NEW = "new"
    SPEC_CHANGED = "spec_changed"
    DATA_CHANGED = "data_changed"
    CODE_CHANGED = "code_changed"
    ENVIRONMENT_CHANGED = "environment_changed"
    TRIGGER_FIRED = "trigger_fired"
    UPSTREAM = "upstream"
    MISSING_OUTPUT = "missing_output"
    MISSING_REMOTE = "missing_remote"
    TAINTED = "tainted"
    FORCED = "forced"
    RETRY = "retry"
    INTERRUPTED = "interrupted"
    APPROVAL = "approval"
    POLICY = "policy"

    @property
    def redoes(self) -> bool:
        """Whether the step has to work again even if it once had a result for the same inputs."""
        return self in (
            ReasonCode.TRIGGER_FIRED,
            ReasonCode.MISSING_OUTPUT,
            ReasonCode.MISSING_REMOTE,
            ReasonCode.TAINTED,
            ReasonCode.FORCED,
        )


HOLDS = frozenset({ReasonCode.APPROVAL, ReasonCode.POLICY})


@dataclass(frozen=True)
class Reason:
    """A cause with its evidence: `field` names what changed, `cause` the step at the root; `others` more changes."""

    code: ReasonCode
    field: str | None = None
    before: Json = None
    after: Json = None
    cause: str | None = None
    others: int = 0


@dataclass(frozen=True)
class Run:
    """The step will run."""

    step: str
    reason: Reason
    seconds: tuple[float, ...] = ()  # how long it took before, newest first


@dataclass(frozen=True)
class Reuse:
    """Nothing that matters to the step has changed; its earlier result stands."""

    step: str
    result: StepResult


@dataclass(frozen=True)
class Conditional:
    """The step will run if the verdict of `on` is pass."""

    step: str
    reason: Reason
    on: str
    seconds: tuple[float, ...] = ()


@dataclass(frozen=True)
class Wait:
    """The step cannot run: what it waits for, said by `reason`. `on` is a gate, or `approval` or `policy`."""

    step: str
    reason: Reason
    on: str


Action: TypeAlias = Run | Reuse | Conditional | Wait


@dataclass(frozen=True)
class Request:
    """What the user asked for beyond the spec itself."""

    replace: frozenset[str] = frozenset()  # steps to run again in any case
    targets: frozenset[str] = frozenset()  # only these and what they need; all steps if empty
    refresh: bool = False  # read again what cannot be compared without reading; ask the registry what it has
    keep_data: bool = False  # the last snapshot stands, whatever the data is now


@dataclass(frozen=True)
class ModelPlan:
    """The actions for one model, in the order in which they can run."""

    name: str
    spec_digest: str
    serial: int
    actions: tuple[Action, ...]
    attempt: int = 0  # which retry after a failed gate this plans
    retries: int = 0  # how many are allowed
    retried: str | None = None  # the step that a retry runs again
    endpoint: Endpoint | None = None

    @property
    def changes(self) -> bool:
        """Whether applying would run anything."""
        return any(isinstance(action, Run | Conditional) for action in self.actions)

    @property
    def held(self) -> Reason | None:
        """Why the deploy step may not run although everything before it is done: an approval or a policy."""
        waits = (action.reason for action in self.actions if isinstance(action, Wait))
        return next((reason for reason in waits if reason.code in HOLDS), None)

    @property
    def stopped_by(self) -> StepResult | None:
        """The gate's result that keeps later steps waiting, if one does."""
        gates = {a.on for a in self.actions if isinstance(a, Wait)}
        results = (a.result for a in self.actions if isinstance(a, Reuse) and a.step in gates)
        return next((r for r in results if r.verdict is not Verdict.PASS), None)


@dataclass(frozen=True)
class Plan:
    """A plan for several models, at one moment of one state."""

    lineage: str
    serial: int
    created_at: str
    models: tuple[ModelPlan, ...] = field(default_factory=tuple)

    @property
    def changes(self) -> bool:
        """Whether applying would run anything."""
        return any(model.changes for model in self.models)


@dataclass(frozen=True)
class Estimate:
    """How long something will take, from what it took before; seconds."""

    middle: float
    low: float
    high: float


def estimate(actions: Sequence[Action]) -> Estimate | None:
    """The time that the actions will need one after another; None if one of them never ran before."""
    running = [action.seconds for action in actions if isinstance(action, Run | Conditional)]
    if not running or not all(running):
        return None
    return Estimate(sum(map(_median, running)), sum(map(min, running)), sum(map(max, running)))


def _median(values: Sequence[float]) -> float:
    """Of at least one value. Importing `statistics` for it would take longer than planning a changed model."""
    ordered, middle = sorted(values), len(values) // 2
    return ordered[middle] if len(values) % 2 else (ordered[middle - 1] + ordered[middle]) / 2
