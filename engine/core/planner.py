"""Deciding what would happen, and why. Pure: the graph, the state and the observations in, a plan out.

`make_plan` never changes anything and needs neither the store nor user code. A step is up to date when it has a
result with its fingerprint, its outputs are still there, and nothing asks for it to run again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Protocol, TypeAlias

from engine.core.fingerprint import Fingerprint, Observations, differences, fingerprint
from engine.core.graph import Against, FromStep, Graph, Observed, Step
from engine.core.plan import Action, Conditional, ModelPlan, Reason, ReasonCode, Request, Reuse, Run, Wait
from engine.core.records import Artifact, Attempt, AttemptStatus, ModelState, StepResult
from engine.core.verdict import Verdict


class PlanReader(Protocol):
    """What planning may look up: earlier results, and whether their contents are still there."""

    def result(self, model: str, step: str, fingerprint: str) -> StepResult | None: ...

    def has(self, artifact: Artifact) -> bool: ...


Held: TypeAlias = Callable[[int], Reason | None]
"""Why a version may not be deployed now; None if it may."""


def make_plan(
    graph: Graph,
    spec_digest: str,
    state: ModelState,
    reader: PlanReader,
    observations: Observations,
    request: Request,
    held: Held = lambda _: None,
) -> ModelPlan:
    """Plan one model. `held` says why a version may not be deployed now, None if it may.

    A gate may allow retries. Retry k is the same graph with `attempt: k` in the settings of the step that the gate
    names; the plan is for the first attempt whose gate has not failed already, or for the last one.
    """
    retries, retried = _retries(graph)
    attempt = 0
    while True:
        planner = _Planner(with_attempt(graph, retried, attempt), state, reader, observations, request, held)
        plan = ModelPlan(
            state.name, spec_digest, state.serial, planner.actions(), attempt, retries, retried, state.endpoint
        )
        stopped = plan.stopped_by
        if attempt >= retries or stopped is None or not stopped.facts.get("retrain"):
            return plan
        attempt += 1


def with_attempt(graph: Graph, step: str | None, attempt: int) -> Graph:
    """The same graph for retry number `attempt` of `step`; the graph itself for attempt 0."""
    if not attempt or step is None:
        return graph
    return Graph(
        tuple(replace(s, settings={**s.settings, "attempt": attempt}) if s.name == step else s for s in graph.steps)
    )


def _retries(graph: Graph) -> tuple[int, str | None]:
    retry = next((step.retry for step in graph.steps if step.retry), None)
    return (retry.limit, retry.step) if retry else (0, None)


class _Planner:
    """One pass over the graph in order, remembering what is decided so far."""

    def __init__(
        self,
        graph: Graph,
        state: ModelState,
        reader: PlanReader,
        observations: Observations,
        request: Request,
        held: Held,
    ) -> None:
        self._held = held
        self._graph = graph
        self._state = state
        self._reader = reader
        self._observations = observations
        self._request = request
        self._position = {step.name: number for number, step in enumerate(graph.steps)}
        self._actions: dict[str, Action] = {}
        self._results: dict[str, StepResult] = {}

    def actions(self) -> tuple[Action, ...]:
        wanted = _wanted(self._graph, self._request.targets)
        for step in self._graph.steps:
            if step.name in wanted:
                action = self._decide(step)
                self._actions[step.name] = action
                if isinstance(action, Reuse):
                    self._results[step.name] = action.result
        return tuple(self._actions.values())

    def _decide(self, step: Step) -> Action:
        seconds = self._state.durations.get(step.name, ())
        held = self._held_by(step)
        if held is not None:
            return Wait(step.name, Reason(ReasonCode.UPSTREAM, cause=held), held)
        gate = self._open_gate(step)
        cause = self._running_upstream(step)
        if gate is not None:
            return Conditional(step.name, Reason(ReasonCode.UPSTREAM, cause=gate), gate, seconds)
        if cause is not None:
            never = step.name not in self._state.latest and step.name not in self._state.attempts
            code = ReasonCode.NEW if never else ReasonCode.UPSTREAM
            return Run(step.name, Reason(code, cause=cause), seconds)
        current = fingerprint(step, self._results, self._observations)
        if current is None:
            return self._unknown_content(step, seconds)
        found = self._find(step, current)
        reason = self._reason_to_run(step, current, found)
        if reason is None and found is not None:
            return Reuse(step.name, found)
        return self._deployed_if_it_may(Run(step.name, reason or self._why_not_found(step, current), seconds), step)

    def _deployed_if_it_may(self, action: Run, step: Step) -> Action:
        """A deploy step whose release is there waits for who has to agree, and for what policies want."""
        registered = self._results.get("register")
        if step.kind != "deploy" or registered is None:
            return action
        reason = self._held(int(registered.facts["version"]))
        return action if reason is None else Wait(step.name, reason, reason.code.value)

    def _held_by(self, step: Step) -> str | None:
        """The gate that keeps this step waiting: it was judged and did not pass."""
        for name in step.upstream:
            action = self._actions.get(name)
            if isinstance(action, Wait):
                return action.on
            if name == step.gate and isinstance(action, Reuse) and action.result.verdict is not Verdict.PASS:
                return name
        return None

    def _open_gate(self, step: Step) -> str | None:
        """The gate whose verdict is not known yet: its own before one further up."""
        if step.gate and isinstance(self._actions.get(step.gate), Run | Conditional):
            return step.gate
        for name in step.upstream:
            action = self._actions.get(name)
            if isinstance(action, Conditional):
                return action.on
        return None

    def _running_upstream(self, step: Step) -> str | None:
        """The step at the root of why this one's inputs are going to change."""
        inputs = {source.step for source in step.inputs.values() if isinstance(source, FromStep)}
        for name in sorted(inputs, key=self._position.__getitem__):  # not as the spec happens to list them
            action = self._actions.get(name)
            if isinstance(action, Run | Conditional):
                return action.reason.cause or name
        return None

    def _unknown_content(self, step: Step, seconds: tuple[float, ...]) -> Action:
        """Content that only reading everything would tell: the last reading stands while the settings do."""
        latest = self._state.latest.get(step.name)
        if latest is None:
            attempt = self._state.attempts.get(step.name)
            return Run(step.name, _unfinished(attempt) if attempt else Reason(ReasonCode.NEW), seconds)
        current = self._as_last_read(step, latest)
        if current is None or self._request.refresh:
            return Run(step.name, Reason(ReasonCode.FORCED), seconds)
        found = latest if latest.fingerprint == current.digest else None
        reason = self._reason_to_run(step, current, found)
        if reason is None and found is not None:
            return Reuse(step.name, found)
        return Run(step.name, reason or explain(step, latest.components, current.components), seconds)

    def _as_last_read(self, step: Step, latest: StepResult) -> Fingerprint | None:
        """The fingerprint that the step would have if its unknown inputs were what they were the last time."""
        before = latest.components["inputs"]
        contents = dict(self._observations.contents)
        for role, source in step.inputs.items():
            if isinstance(source, Observed) and contents.get(source.key) is None:
                contents[source.key] = before.get(role)
        return fingerprint(step, self._results, replace(self._observations, contents=contents))

    def _find(self, step: Step, current: Fingerprint) -> StepResult | None:
        latest = self._state.latest.get(step.name)
        if latest is not None and latest.fingerprint == current.digest:
            return latest
        return self._reader.result(self._state.name, step.name, current.digest)

    def _is_forced(self, step: Step) -> bool:
        return step.name in self._request.replace or step.name in self._state.tainted

    def _reason_to_run(self, step: Step, current: Fingerprint, found: StepResult | None) -> Reason | None:
        """Why a step must run although nothing that it reads has changed; None if its result can stand."""
        if step.name in self._request.replace:
            return Reason(ReasonCode.FORCED)
        if step.name in self._state.tainted:
            return Reason(ReasonCode.TAINTED)
        if found is None:
            return None
        missing = sorted(role for role, artifact in found.outputs.items() if not self._reader.has(artifact))
        if missing:
            return Reason(ReasonCode.MISSING_OUTPUT, field=f"{step.name}.{missing[0]}", others=len(missing) - 1)
        latest = self._state.latest.get(step.name, found)  # another apply may have finished it since the state was read
        if step.kind == "deploy" and latest.fingerprint != current.digest:
            return explain(step, latest.components, current.components)  # what was deployed before is not live now
        return _gone_elsewhere(step, current, found, self._state, self._observations)

    def _why_not_found(self, step: Step, current: Fingerprint) -> Reason:
        attempt = self._state.attempts.get(step.name)
        if attempt is not None and attempt.fingerprint == current.digest:
            return _unfinished(attempt)
        latest = self._state.latest.get(step.name)
        if latest is None:
            return Reason(ReasonCode.NEW)
        return explain(step, latest.components, current.components)


def _unfinished(attempt: Attempt) -> Reason:
    if attempt.status is AttemptStatus.FAILED:
        return Reason(ReasonCode.RETRY, before=attempt.message)
    return Reason(ReasonCode.INTERRUPTED)


def explain(step: Step, before: Mapping[str, Any], after: Mapping[str, Any]) -> Reason:
    """Name the first difference between two fingerprints of a step."""
    changes = differences(before, after)
    if not changes:
        return Reason(ReasonCode.NEW)
    first = changes[0]
    others = len(changes) - 1
    if first.kind == "settings":
        return Reason(ReasonCode.SPEC_CHANGED, first.name, first.before, first.after, others=others)
    if first.kind == "packages":
        return Reason(ReasonCode.ENVIRONMENT_CHANGED, first.name, first.before, first.after, others=others)
    if first.kind == "step":
        return Reason(ReasonCode.ENVIRONMENT_CHANGED, f"engine {step.kind}", first.before, first.after, others=others)
    role, _, file = first.name.partition(".")
    source = step.inputs.get(role)
    if isinstance(source, Observed):
        code = ReasonCode.CODE_CHANGED if source.key.startswith("code:") else ReasonCode.DATA_CHANGED
        name = file or source.key.partition(":")[2] or source.key
        return Reason(code, name, first.before, first.after, others=others)
    if isinstance(source, Against):
        return Reason(ReasonCode.DATA_CHANGED, "champion", first.before, first.after, others=others)
    cause = source.step if isinstance(source, FromStep) else None
    return Reason(ReasonCode.UPSTREAM, first.name, first.before, first.after, cause, others)


def _gone_elsewhere(
    step: Step, current: Fingerprint, found: StepResult, state: ModelState, world: Observations
) -> Reason | None:
    """An effect whose trace in the outside world is gone or was moved by another hand."""
    endpoint = state.endpoint
    if step.kind == "register" and world.versions is not None:
        version = found.facts.get("version")
        if version not in world.versions:
            return Reason(ReasonCode.MISSING_REMOTE, field="registry version", before=version)
    if step.kind == "deploy":
        if endpoint is None or endpoint.deployed != current.digest:
            live = None if endpoint is None else endpoint.stable
            return Reason(ReasonCode.MISSING_REMOTE, field="endpoint", before=live, after=found.facts.get("version"))
        if world.aliases is not None and world.aliases.get("champion") != endpoint.stable:
            return Reason(
                ReasonCode.MISSING_REMOTE,
                "registry alias champion",
                world.aliases.get("champion"),
                endpoint.stable,
            )
    return None


def _wanted(graph: Graph, targets: frozenset[str]) -> frozenset[str]:
    """The targets and everything that they need; all steps when there are none."""
    if not targets:
        return frozenset(graph.by_name)
    wanted = set(targets)
    for step in reversed(graph.steps):
        if step.name in wanted:
            wanted.update(step.upstream)
    return frozenset(wanted)
