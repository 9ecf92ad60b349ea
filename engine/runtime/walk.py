"""One walk over a model's plan: run what the plan says, as soon as what it needs is there.

Decisions were made in `core.plan`; here they are carried out and journaled: intent → work → outputs stored → done.
A step whose inputs turn out to be ones that were worked on before takes that result instead. A failure skips what
depends on it and nothing else. Only the walking thread writes to the ledger.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from datetime import datetime
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

from engine.core.canonical import utc
from engine.core.fingerprint import Fingerprint, Observations, fingerprint, opponent_of
from engine.core.graph import Against, FromStep, Graph, Step
from engine.core.plan import HOLDS, ModelPlan, Reason, Reuse, Run, Wait
from engine.core.planner import PlanReader
from engine.core.records import Artifact, Attempt, AttemptStatus, Lease, StepResult
from engine.core.verdict import Verdict
from engine.errors import EngineError, FencedError, StepCancelledError
from engine.failpoints import failpoint
from engine.ports import Ledger, StepOutcome
from engine.runtime.events import Event, StepFailed, StepFinished, StepProgress, StepSkipped, StepStarted


@dataclass(frozen=True)
class Work:
    """One step to carry out: its inputs are known, its fingerprint is final."""

    step: Step
    fingerprint: Fingerprint
    inputs: Mapping[str, Artifact]
    facts: Mapping[str, Mapping[str, Any]]  # of the steps upstream, by step
    folder: Path
    lease: Lease
    run_id: str
    progress: Callable[[int, int, str], None]
    anew: bool = False  # even if an interrupted run had finished it


@dataclass(frozen=True)
class Finished:
    """What came of a step's work, its outputs in the store. `adopted` from an interrupted run that had done it."""

    outcome: StepOutcome
    outputs: Mapping[str, Artifact]
    seconds: float
    adopted: bool = False


@dataclass(frozen=True)
class Surroundings:
    """What a walk needs besides its plan."""

    ledger: Ledger
    reader: PlanReader
    carry: Callable[[Work], Finished]
    work_folder: Path
    tell: Callable[[Event], None]
    stopping: Callable[[], bool]  # once true, no further step begins
    clock: Callable[[], datetime]
    jobs: int
    held: Callable[[int], Reason | None] = lambda _: None  # why a version may not be deployed now


@dataclass
class Outcome:
    """How a walk ended, filled in while it goes on."""

    results: dict[str, StepResult] = field(default_factory=dict)
    failures: dict[str, EngineError] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)  # step → cause
    stopped_by: StepResult | None = None
    cancelled: bool = False
    held: Reason | None = None  # why the release was not deployed


class Walk:
    """Carries out one ModelPlan under one lease."""

    def __init__(
        self,
        plan: ModelPlan,
        graph: Graph,
        observations: Observations,
        lease: Lease,
        run_id: str,
        around: Surroundings,
    ) -> None:
        self._model = plan.name
        self._graph = graph
        self._observations = _as_read_by(run_id, observations)
        self._actions = {action.step: action for action in plan.actions}
        self._lease = lease
        self._run_id = run_id
        self._around = around
        self._outcome = Outcome()
        steps = {name: graph.by_name[name].upstream for name in self._actions}
        self._order = TopologicalSorter({name: [u for u in needs if u in steps] for name, needs in steps.items()})
        self._running: dict[Future[Finished], Work] = {}

    def run(self) -> Outcome:
        """Walk to the end, or as far as gates, failures and the user's stop allow."""
        self._order.prepare()
        with ThreadPoolExecutor(self._around.jobs, thread_name_prefix=self._model) as pool:
            try:
                self._go_on(None, pool)
                while self._running:
                    finished, _ = wait(self._running, return_when=FIRST_COMPLETED)
                    for future in finished:
                        self._collect(future, pool)
            except BaseException:
                for future in self._running:
                    future.cancel()  # those that have not begun; the others are waited for
                raise
        return self._outcome

    def _go_on(self, done: StepFinished | None, pool: ThreadPoolExecutor) -> None:
        """Record what is done and start what became possible; the first intent shares the commit."""
        startable, settled = self._settle()
        for step, current in startable:
            failpoint("step.intent")
            self._record(done, Attempt(step.name, current.digest, AttemptStatus.INTENT, run_id=self._run_id))
            self._tell_all(settled)
            done, settled = None, []
            self._around.tell(StepStarted(self._model, step.name))
            work = self._work(step, current)
            self._running[pool.submit(self._around.carry, work)] = work
        if done is not None:
            self._record(done, None)
        self._tell_all(settled)

    def _tell_all(self, events: list[Event]) -> None:
        for event in events:
            self._around.tell(event)

    def _settle(self) -> tuple[list[tuple[Step, Fingerprint]], list[Event]]:
        """Settle every step whose fate is known now; return those that have to work, and what there is to tell."""
        startable: list[tuple[Step, Fingerprint]] = []
        settled: list[Event] = []
        while ready := self._order.get_ready():
            for name in ready:
                step = self._graph.by_name[name]
                current = self._to_start(step, settled)
                if current is None:
                    self._order.done(name)
                else:
                    startable.append((step, current))
        return startable, settled

    def _to_start(self, step: Step, settled: list[Event]) -> Fingerprint | None:
        """The fingerprint to work on, or None: the step is settled, with a result or without."""
        action = self._actions[step.name]
        if isinstance(action, Reuse):
            self._outcome.results[step.name] = action.result
            return None
        cause = self._obstacle(step)
        if cause is not None:
            self._outcome.skipped[step.name] = cause
            settled.append(StepSkipped(self._model, step.name, cause))
            return None
        current = fingerprint(step, self._outcome.results, self._observations)
        if current is None:
            raise AssertionError(f"{step.name}: nothing was observed of an input")
        earlier = self._earlier(step, current)
        if earlier is not None:
            self._outcome.results[step.name] = earlier
            settled.append(StepFinished(self._model, step.name, earlier, reused=True))
            return None
        return current

    def _obstacle(self, step: Step) -> str | None:
        """Why a step whose turn has come cannot run."""
        action = self._actions[step.name]
        if isinstance(action, Wait):
            if action.reason.code in HOLDS:
                self._outcome.held = action.reason
            return action.on
        for name in step.upstream:
            if name in self._outcome.failures:
                return name
            if name in self._outcome.skipped:
                return self._outcome.skipped[name]
        if step.gate:
            judged = self._outcome.results[step.gate]
            if judged.verdict is not Verdict.PASS:
                self._outcome.stopped_by = judged
                return step.gate
        if self._around.stopping():
            self._outcome.cancelled = True
            return "cancelled"
        return self._hold(step)

    def _hold(self, step: Step) -> str | None:
        """What keeps a release from being deployed at this moment."""
        if step.kind != "deploy":
            return None
        self._outcome.held = self._around.held(int(self._outcome.results["register"].facts["version"]))
        return None if self._outcome.held is None else self._outcome.held.code.value

    def _earlier(self, step: Step, current: Fingerprint) -> StepResult | None:
        """A result for the same inputs, unless the step itself has to be run again."""
        if step.kind == "deploy" or self._is_redone(step):
            return None
        reader = self._around.reader
        found = reader.result(self._model, step.name, current.digest)
        return found if found is not None and all(map(reader.has, found.outputs.values())) else None

    def _is_redone(self, step: Step) -> bool:
        action = self._actions[step.name]
        return isinstance(action, Run) and action.reason.code.redoes

    def _collect(self, future: Future[Finished], pool: ThreadPoolExecutor) -> None:
        work = self._running.pop(future)
        name = work.step.name
        try:
            came = future.result()
        except EngineError as error:
            self._fail(work, error)
            self._order.done(name)
            self._go_on(None, pool)
            return
        result = self._result(work, came)
        self._outcome.results[name] = result
        self._order.done(name)
        self._go_on(StepFinished(self._model, name, result, adopted=came.adopted), pool)

    def _result(self, work: Work, came: Finished) -> StepResult:
        return StepResult(
            step=work.step.name,
            fingerprint=work.fingerprint.digest,
            components=work.fingerprint.components,
            outputs=came.outputs,
            facts=came.outcome.facts,
            summary=came.outcome.summary,
            verdict=came.outcome.verdict,
            seconds=round(came.seconds, 3),
            run_id=self._run_id,
            finished_at=utc(self._around.clock()),
        )

    def _record(self, done: StepFinished | None, intent: Attempt | None) -> None:
        result = done.result if done else None
        self._around.ledger.advance(self._lease, self._run_id, done=result, intent=intent)
        if done is not None:
            failpoint("step.done")
            shutil.rmtree(self._folder(done.step, done.result.fingerprint), ignore_errors=True)
            self._around.tell(done)

    def _fail(self, work: Work, error: EngineError) -> None:
        name = work.step.name
        self._outcome.failures[name] = error
        if isinstance(error, FencedError):
            raise error
        cancelled = isinstance(error, StepCancelledError)
        self._outcome.cancelled |= cancelled
        status = AttemptStatus.INTERRUPTED if cancelled else AttemptStatus.FAILED
        attempt = Attempt(name, work.fingerprint.digest, status, error.message, self._run_id)
        self._around.ledger.fail(self._lease, self._run_id, attempt)
        log = getattr(error, "log", "")
        self._around.tell(StepFailed(self._model, name, error.message, error.remedy, log))

    def _work(self, step: Step, current: Fingerprint) -> Work:
        results = self._outcome.results
        sources = {**step.inputs, **step.carries}
        inputs = {
            role: results[source.step].outputs[source.output]
            for role, source in sources.items()
            if isinstance(source, FromStep)
        }
        facts = {name: results[name].facts for name in step.upstream if name in results}
        for role, source in step.inputs.items():
            opponent = opponent_of(source, results, self._observations) if isinstance(source, Against) else None
            if opponent is not None:
                inputs[role] = opponent.model
                facts[role] = {"version": opponent.version}

        def progress(done: int, total: int, text: str) -> None:
            self._around.tell(StepProgress(self._model, step.name, done, total, text))

        folder = self._folder(step.name, current.digest)
        return Work(
            step, current, inputs, facts, folder, self._lease, self._run_id, progress, anew=self._is_redone(step)
        )

    def _folder(self, step: str, digest: str) -> Path:
        return self._around.work_folder / self._model / f"{step}-{digest.removeprefix('blake3:')[:16]}"


def _as_read_by(run_id: str, observations: Observations) -> Observations:
    """Content that only reading tells is what this run reads of it: other than what any other run read."""
    contents = {key: f"as read by {run_id}" if c is None else c for key, c in observations.contents.items()}
    return replace(observations, contents=contents)
