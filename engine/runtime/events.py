"""What a run tells whoever watches it: a closed union, in the order in which things happen to one model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from engine.core.plan import ModelPlan
from engine.core.records import RunStatus, StepResult


@dataclass(frozen=True)
class RunStarted:
    """The lease is held and the run is recorded; `plan` is what it will do."""

    model: str
    run_id: str
    plan: ModelPlan


@dataclass(frozen=True)
class StepStarted:
    """A step began."""

    model: str
    step: str


@dataclass(frozen=True)
class StepProgress:
    """A step is at `done` of `total`."""

    model: str
    step: str
    done: int
    total: int
    text: str


@dataclass(frozen=True)
class StepFinished:
    """A step has a result. `reused`: an identical input had been worked on before; `adopted`: an interrupted run
    had finished the work."""

    model: str
    step: str
    result: StepResult
    reused: bool = False
    adopted: bool = False


@dataclass(frozen=True)
class StepFailed:
    """A step failed; what depends on it is skipped."""

    model: str
    step: str
    message: str
    remedy: str
    log: str


@dataclass(frozen=True)
class StepSkipped:
    """A step did not run because of `cause`."""

    model: str
    step: str
    cause: str


@dataclass(frozen=True)
class Retrying:
    """A gate failed and gives the candidate another try."""

    model: str
    attempt: int
    limit: int


@dataclass(frozen=True)
class RunFinished:
    """The run's end, as it is recorded."""

    model: str
    run_id: str
    status: RunStatus
    message: str
    seconds: float


Event: TypeAlias = (
    RunStarted | StepStarted | StepProgress | StepFinished | StepFailed | StepSkipped | Retrying | RunFinished
)
