"""A model's life in memory: real specs, graphs, plans and walks over a ledger of dictionaries and a made-up world.

An output's content is a digest of all that its step read (or of nothing, for a step in `constant`), so two runs give
the same output exactly when they did the same work.
"""

from __future__ import annotations

import json
import tempfile
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import datetime, timezone
from functools import lru_cache
from pathlib import Path
from typing import Any

from engine.core.canonical import digest
from engine.core.endpoint import deploy
from engine.core.fingerprint import Observations
from engine.core.graph import Graph, Observed
from engine.core.plan import Action, Conditional, ModelPlan, Request, Run
from engine.core.planner import make_plan, with_attempt
from engine.core.records import Artifact, Attempt, AttemptStatus, Endpoint, Lease, ModelState, StepResult
from engine.core.verdict import Verdict
from engine.kinds import KINDS
from engine.ports import StepOutcome
from engine.runtime.walk import Finished, Outcome, Surroundings, Walk, Work
from engine.spec.load import load_spec
from engine.spec.project import load_project
from engine.steps.lifecycle import build_graph

PACKAGES = {"python": "3.11", "numpy": "2.0", "pandas": "3.0", "pyarrow": "18", "scikit-learn": "1.5", "scipy": "1.14"}
LEASE = Lease("m", "me", 1, "2026-01-01T00:00:00.000000Z", "2026-01-01T01:00:00.000000Z")

Judge = Callable[[Work], StepOutcome]


def passing(_work: Work) -> StepOutcome:
    """A gate that lets everything through."""
    return StepOutcome(verdict=Verdict.PASS)


def document_of(spec: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    """The resolved document of a model_spec given as plain values, and its digest."""
    return _loaded(json.dumps({"model_spec": spec}, ensure_ascii=False))


@lru_cache(maxsize=64)
def _loaded(text: str) -> tuple[dict[str, Any], str]:
    loaded = load_spec(
        text.encode(), "spec.yaml", project=load_project(None, "engine.yaml"), kinds=KINDS, exists=lambda name: True
    )
    return loaded.document, loaded.digest


class Simulation:
    """Plan and apply one model; `ran` are the steps that worked, in order, over its whole life."""

    def __init__(self, judge: Judge = passing, constant: Iterable[str] = (), jobs: int = 1) -> None:
        self.judge = judge
        self.constant = frozenset(constant)
        self.jobs = jobs
        self.contents: dict[str, Any] = {}
        self.packages = dict(PACKAGES)
        self.results: list[StepResult] = []
        self.attempts: dict[str, Attempt] = {}
        self.gone: set[str] = set()  # digests that are missing from the store
        self.failing: set[str] = set()  # steps whose work fails
        self.tainted: set[str] = set()
        self.endpoint: Endpoint | None = None
        self.versions: dict[str, int] = {}
        self.read_as: str | None = None  # what the snapshot reads, where only reading tells
        self.ran: list[str] = []
        self.outcome = Outcome()
        self._lock = threading.Lock()
        self._folder = Path(tempfile.gettempdir()) / "never-written"

    # ── the plan ──

    def plan(self, spec: Mapping[str, Any], request: Request | None = None) -> ModelPlan:
        document, spec_digest = document_of(spec)
        return self.plan_graph(build_graph(document), spec_digest, request)

    def plan_graph(self, graph: Graph, spec_digest: str = "", request: Request | None = None) -> ModelPlan:
        world = self.observations(graph)
        return make_plan(graph, spec_digest, self.state(), self, world, request or Request())

    def observations(self, graph: Graph) -> Observations:
        keys = [s.key for step in graph.steps for s in step.inputs.values() if isinstance(s, Observed)]
        contents = {key: self.contents.get(key, digest(["content", key])) for key in keys}
        return Observations(contents=contents, packages=self.packages)

    def state(self) -> ModelState:
        latest = {result.step: result for result in self.results}
        return ModelState(
            "m",
            serial=len(self.results),
            latest=latest,
            attempts=dict(self.attempts),
            durations=dict.fromkeys(latest, (1.0,)),
            tainted=frozenset(self.tainted),
            endpoint=self.endpoint,
        )

    # ── PlanReader ──

    def result(self, model: str, step: str, fingerprint: str) -> StepResult | None:
        found = [r for r in self.results if r.step == step and r.fingerprint == fingerprint]
        return found[-1] if found else None

    def has(self, artifact: Artifact) -> bool:
        return artifact.digest not in self.gone

    # ── apply ──

    def apply(self, spec: Mapping[str, Any], request: Request | None = None) -> list[str]:
        """Carry out the plan, retries included; the steps that worked."""
        document, spec_digest = document_of(spec)
        return self.apply_graph(build_graph(document), spec_digest, request)

    def apply_graph(self, graph: Graph, spec_digest: str = "", request: Request | None = None) -> list[str]:
        before = len(self.ran)
        plan = self.plan_graph(graph, spec_digest, request)
        while plan.changes:
            world = self.observations(graph)
            around = Surroundings(
                ledger=self,  # type: ignore[arg-type]
                reader=self,
                carry=self.carry,
                work_folder=self._folder,
                tell=lambda event: None,
                stopping=lambda: False,
                clock=lambda: datetime(2026, 1, 1, tzinfo=timezone.utc),
                jobs=self.jobs,
            )
            walk = Walk(plan, with_attempt(graph, plan.retried, plan.attempt), world, LEASE, "run", around)
            self.outcome = walk.run()
            if self.outcome.stopped_by is None:
                break
            following = self.plan_graph(graph, spec_digest)
            if following.attempt <= plan.attempt or not following.changes:
                break
            plan = following
        return self.ran[before:]

    def carry(self, work: Work) -> Finished:
        from engine.errors import StepError

        with self._lock:
            self.ran.append(work.step.name)
        if work.step.name in self.failing:
            raise StepError(f"{work.step.name} failed")
        if work.step.kind == "validate":
            outcome = self.judge(work)
        elif work.step.kind == "register":
            outcome = StepOutcome(
                {"version": self.versions.setdefault(work.fingerprint.digest, len(self.versions) + 1)}
            )
        elif work.step.kind == "deploy":
            self._deploy(work)
            outcome = StepOutcome()
        else:
            outcome = StepOutcome()
        return Finished(outcome, {role: self._output(work, role) for role in work.step.outputs}, 1.0)

    def _deploy(self, work: Work) -> None:
        before = self.endpoint or Endpoint("m")
        if before.deployed != work.fingerprint.digest:
            version = self.versions[next(iter(self._fingerprints("register", work.inputs["release"].digest)))]
            self.endpoint = deploy(before, version, fingerprint=work.fingerprint.digest)

    def _fingerprints(self, step: str, output: str) -> Iterable[str]:
        return (
            r.fingerprint for r in self.results if r.step == step and output in {a.digest for a in r.outputs.values()}
        )

    def _output(self, work: Work, role: str) -> Artifact:
        components = work.fingerprint.components
        content: Any = [work.step.name, role]
        if work.step.name == "snapshot":
            content = self.read_as or components["inputs"]["data"]
        elif work.step.name not in self.constant:
            content = [work.step.name, role, components["settings"], components["inputs"]]
        value = digest(content)
        self.gone.discard(value)
        return Artifact(value, 1, role)

    # ── Ledger ──

    def advance(
        self, lease: Lease, run_id: str, *, done: StepResult | None = None, intent: Attempt | None = None
    ) -> None:
        if done is not None:
            self.results.append(done)
            self.attempts.pop(done.step, None)
            self.tainted.discard(done.step)
        if intent is not None:
            self.attempts[intent.step] = intent

    def fail(self, lease: Lease, run_id: str, attempt: Attempt) -> None:
        self.attempts[attempt.step] = attempt

    def interrupt(self) -> None:
        """As if the run's process had been killed: intents stay open."""
        self.attempts = {
            name: replace(attempt, status=AttemptStatus.INTERRUPTED) for name, attempt in self.attempts.items()
        }


def to_run(plan: ModelPlan) -> list[str]:
    """The steps that the plan would run, surely or perhaps."""
    return [action.step for action in plan.actions if isinstance(action, Run | Conditional)]


def action_of(plan: ModelPlan, step: str) -> Action:
    return next(action for action in plan.actions if action.step == step)
