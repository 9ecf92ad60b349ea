"""Apply: carry out plans, one model under one lease at a time, several models side by side.

A model is planned again once its lease is held: what somebody else finished meanwhile is not done twice, and work
that the user has not seen in the plan is refused. A gate that allows retries gets them by planning again.
"""

from __future__ import annotations

import shutil
import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from engine.core.canonical import utc
from engine.core.champion import champion_of
from engine.core.graph import Graph
from engine.core.plan import Conditional, ModelPlan, Reason, ReasonCode, Request, Run
from engine.core.planner import Held, PlanReader, make_plan, with_attempt
from engine.core.records import Lease, RunStatus, StepResult
from engine.core.records import Run as RunRecord
from engine.errors import EngineError, FencedError, LockedError, StalePlanError
from engine.failpoints import failpoint
from engine.ports import HistoryReader, Ledger, StateReader
from engine.runtime.carry import Carrier, Means, Subject
from engine.runtime.events import Event, Retrying, RunFinished, RunStarted
from engine.runtime.leases import LeaseKeeper
from engine.runtime.observe import World, asks_for_champion
from engine.runtime.walk import Outcome, Surroundings, Walk


@dataclass(frozen=True)
class Task:
    """One model to apply: what the user wants, what is observed, and the plan that was agreed to."""

    document: Mapping[str, Any]
    spec_digest: str
    graph: Graph
    world: World
    plan: ModelPlan
    request: Request


@dataclass(frozen=True)
class Result:
    """How one model fared."""

    model: str
    run_id: str
    status: RunStatus
    message: str
    outcome: Outcome
    error: EngineError | None = None


@dataclass(frozen=True)
class Runner:
    """The surroundings of all runs of one `apply`."""

    means: Means
    ledger: Ledger
    state: StateReader
    reader: PlanReader
    leases: LeaseKeeper
    home: Path  # .engine
    provenance: Mapping[str, Any]
    tell: Callable[[Event], None]
    stop: threading.Event
    history: HistoryReader
    prefetch: Callable[[ModelPlan, Graph], None]  # called before the first step of a run
    clock: Callable[[], datetime]
    jobs: int


def apply_all(tasks: Sequence[Task], runner: Runner) -> list[Result]:
    """Apply every task; the results are in the tasks' order. One model's failure does not touch another."""
    if len(tasks) == 1:
        return [_apply_safely(tasks[0], runner)]
    with ThreadPoolExecutor(max_workers=min(len(tasks), runner.jobs), thread_name_prefix="apply") as pool:
        return list(pool.map(lambda task: _apply_safely(task, runner), tasks))


def _apply_safely(task: Task, runner: Runner) -> Result:
    try:
        return apply_one(task, runner)
    except EngineError as error:
        status = RunStatus.CANCELLED if runner.stop.is_set() else RunStatus.FAILED
        return Result(task.plan.name, "", status, error.message, Outcome(), error)


def apply_one(task: Task, runner: Runner) -> Result:
    """Apply one model under its lease. Raises LockedError, StalePlanError, FencedError, StateError."""
    name = task.plan.name
    lost = threading.Event()
    with runner.leases.hold(name, lost=lost.set) as lease:
        task = _with_champion(task, runner)
        plan = _planned(task, runner)
        refuse_more_than_agreed(task.plan, plan)
        if not plan.changes:
            _close_abandoned(lease, runner)
            return nothing_to_do(plan)
        runner.prefetch(plan, task.graph)
        failpoint("run.start")
        started = time.monotonic()
        run_id = f"{runner.clock():%Y%m%dT%H%M%S}-{uuid.uuid4().hex[:8]}"
        runner.ledger.start_run(lease, _record(task, run_id, runner))
        failpoint("run.started")
        runner.tell(RunStarted(name, run_id, plan))
        try:
            outcome = _walk_with_retries(task, plan, lease, run_id, runner, lost)
            status, message, error = _conclusion(outcome)
        except FencedError:
            raise
        except EngineError as failure:
            outcome, status, message, error = Outcome(), RunStatus.FAILED, failure.message, failure
        failpoint("run.finish")
        if status in (RunStatus.DONE, RunStatus.STOPPED):
            _sweep(name, runner)
        runner.ledger.finish_run(lease, run_id, status, message, utc(runner.clock()))
        runner.tell(RunFinished(name, run_id, status, message, time.monotonic() - started))
        return Result(name, run_id, status, message, outcome, error)


def close_abandoned(models: Sequence[str], runner: Runner) -> None:
    """For models without anything to do: record that a run was interrupted whose process died at its very end."""
    for name in models:
        if _abandoned(name, runner):
            with suppress(LockedError), runner.leases.hold(name, lost=lambda: None) as lease:
                _close_abandoned(lease, runner)


def _close_abandoned(lease: Lease, runner: Runner) -> None:
    run = _abandoned(lease.model, runner)
    if run is not None:
        _sweep(lease.model, runner)
        message = "its process is gone; nothing was left to do"
        runner.ledger.finish_run(lease, run.run_id, RunStatus.INTERRUPTED, message, utc(runner.clock()))


def _abandoned(model: str, runner: Runner) -> RunRecord | None:
    """The newest run, if it is recorded as running. Under the lease it cannot be; without it, perhaps."""
    return next((run for run in runner.history.runs(model, 1) if run.status is RunStatus.RUNNING), None)


def _sweep(model: str, runner: Runner) -> None:
    """Remove what steps left in their folders, of interrupted runs too."""
    shutil.rmtree(runner.home / "work" / model, ignore_errors=True)


def refuse_more_than_agreed(agreed: ModelPlan, now: ModelPlan) -> None:
    """Raise StalePlanError if the plan has come to contain work that the user has not seen."""
    seen = {action.step for action in agreed.actions if isinstance(action, Run | Conditional)}
    more = [action.step for action in now.actions if isinstance(action, Run | Conditional) and action.step not in seen]
    if more:
        raise StalePlanError(
            f"{now.name}: since the plan was shown, {', '.join(more)} came to need a run",
            remedy="Nothing was changed. Look at the new plan: engine plan",
        )


def _planned(task: Task, runner: Runner, request: Request | None = None) -> ModelPlan:
    name = task.plan.name
    state = runner.state.models([name])[name]
    request = task.request if request is None else request
    return make_plan(
        task.graph, task.spec_digest, state, runner.reader, task.world.observations, request, _held(task, runner)
    )


def _held(task: Task, runner: Runner) -> Held:
    return lambda version: runner.means.held(task.document, version, runner.clock())


def _with_champion(task: Task, runner: Runner) -> Task:
    """The task with what is live now: a rollout may have ended since the plan was made."""
    if not asks_for_champion(task.graph):
        return task
    name = task.plan.name
    champion = champion_of(runner.state.models([name])[name].endpoint, runner.history.releases(name))
    world = replace(task.world, observations=replace(task.world.observations, champion=champion))
    return replace(task, world=world)


def _walk_with_retries(
    task: Task, plan: ModelPlan, lease: Lease, run_id: str, runner: Runner, lost: threading.Event
) -> Outcome:
    carrier = Carrier(
        runner.means,
        Subject(task.document, task.spec_digest, task.world, runner.provenance, runner.home / "runs"),
    )
    around = Surroundings(
        ledger=runner.ledger,
        reader=runner.reader,
        carry=carrier.carry,
        work_folder=runner.home / "work",
        tell=runner.tell,
        stopping=lambda: runner.stop.is_set() or lost.is_set(),
        clock=runner.clock,
        jobs=runner.jobs,
        held=carrier.held,
    )
    while True:
        graph = with_attempt(task.graph, plan.retried, plan.attempt)
        outcome = Walk(plan, graph, task.world.observations, lease, run_id, around).run()
        if outcome.stopped_by is None or around.stopping():
            return outcome
        following = _planned(task, runner, replace(task.request, replace=frozenset()))
        if following.attempt <= plan.attempt or not following.changes:
            return outcome
        plan = following
        runner.tell(Retrying(plan.name, plan.attempt, plan.retries))


def _conclusion(outcome: Outcome) -> tuple[RunStatus, str, EngineError | None]:
    if outcome.failures:
        step, error = next(iter(outcome.failures.items()))
        status = RunStatus.CANCELLED if outcome.cancelled else RunStatus.FAILED
        return status, error.message if step in error.message else f"{step}: {error.message}", error
    if outcome.cancelled:
        return RunStatus.CANCELLED, "cancelled by the user", None
    if outcome.stopped_by is not None:
        return RunStatus.STOPPED, stopped_message(outcome.stopped_by), None
    return RunStatus.DONE, held_message(outcome.held), None


def held_message(reason: Reason | None) -> str:
    """Why a release was not deployed, in one line; empty if nothing kept it."""
    if reason is None:
        return ""
    what = "approval" if reason.code is ReasonCode.APPROVAL else "what a policy allows"
    return f"deploy waits for {what}: {reason.after}"


def stopped_message(gate: StepResult) -> str:
    """Why a gate's verdict stopped a run, in one line."""
    verdict = gate.verdict.value if gate.verdict else "no verdict"
    return f"{gate.step}: {verdict}: {gate.summary}"


def nothing_to_do(plan: ModelPlan) -> Result:
    """The result for a plan without changes: done, or still stopped by the verdict of a gate."""
    gate = plan.stopped_by
    if gate is not None:
        return Result(plan.name, "", RunStatus.STOPPED, stopped_message(gate), Outcome(stopped_by=gate))
    return Result(plan.name, "", RunStatus.DONE, held_message(plan.held), Outcome(held=plan.held))


def _record(task: Task, run_id: str, runner: Runner) -> RunRecord:
    return RunRecord(
        run_id=run_id,
        model=task.plan.name,
        status=RunStatus.RUNNING,
        started_at=utc(runner.clock()),
        finished_at=None,
        spec_digest=task.spec_digest,
        document=task.document,
        provenance=runner.provenance,
    )
