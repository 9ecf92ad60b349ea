"""Carrying out a plan: wires the adapters to the runtime, and nothing is done that the plan did not say."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from engine.app.planning import Planned
from engine.app.policing import Permitting
from engine.app.signing import ModelSignatures
from engine.app.workspace import Workspace
from engine.core.canonical import utc
from engine.core.graph import Graph
from engine.core.plan import Conditional, ModelPlan, Run
from engine.core.records import Artifact, StepResult
from engine.runtime.apply import Result, Runner, Task, apply_all, close_abandoned
from engine.runtime.carry import Kinds, Means
from engine.runtime.events import Event

if TYPE_CHECKING:
    from engine.adapters.sources.stat_cache import FileStatCache
    from engine.ports import Executor
    from engine.runtime.leases import LeaseKeeper


def apply(
    workspace: Workspace,
    planned: Planned,
    *,
    tell: Callable[[Event], None],
    stop: threading.Event,
    on_kill: Callable[[Callable[[], None]], None],
    lock_timeout: float = 0.0,
    jobs: int | None = None,
    because: str = "",
) -> list[Result]:
    """Carry out `planned`, model by model, each under its lease; the results are in the plan's order.

    `tell` gets every event, from several threads, one at a time. Set `stop`, and no further step begins; `on_kill`
    is handed a function that ends the running steps too. A model without anything to do takes no lease.
    `because` is why this is done, where no person asked for it; it is kept with the runs.
    Raises StalePlanError if `planned` was saved and used before, StateError if the state cannot be opened.
    """
    jobs = jobs or os.cpu_count() or 1
    tasks = [_task(planned, name) for name, model in planned.models.items() if model.plan.changes]
    with runner_of(workspace, tell=tell, stop=stop, on_kill=on_kill, lock_timeout=lock_timeout, jobs=jobs) as runner:
        if because:
            runner = replace(runner, provenance={**runner.provenance, "because": because})
        if planned.saved is not None:
            workspace.store.redeem(planned.saved, utc(runner.clock()))
        done = {result.model: result for result in apply_all(tasks, runner)} if tasks else {}
        note_protection(workspace, planned)
        close_abandoned([name for name in planned.models if name not in done], runner)
    return [done.get(name) or _idle(planned, name) for name in planned.models]


def note_protection(workspace: Workspace, planned: Planned) -> None:
    """Keep in the state which models must not be destroyed, so that it holds when their specs are gone."""
    from engine.adapters.state import holder

    store = workspace.store
    protected, known = store.protected(), set(store.list_models())
    for name, model in planned.models.items():
        if name in known and model.protected != (name in protected):
            store.protect(name, model.protected, actor=holder.actor(holder.this_process()))


def _task(planned: Planned, name: str) -> Task:
    model = planned.models[name]
    return Task(
        document=model.document,
        spec_digest=model.plan.spec_digest,
        graph=model.graph,
        world=model.world,
        plan=model.plan,
        request=planned.request,
    )


def _idle(planned: Planned, name: str) -> Result:
    from engine.runtime.apply import nothing_to_do

    return nothing_to_do(planned.models[name].plan)


@contextmanager
def runner_of(
    workspace: Workspace,
    tell: Callable[[Event], None],
    stop: threading.Event,
    on_kill: Callable[[Callable[[], None]], None] = lambda _: None,
    lock_timeout: float = 0.0,
    jobs: int = 1,
) -> Iterator[Runner]:
    """The surroundings of runs in a workspace, until they are closed."""
    from engine.adapters.executors.processes import ProcessExecutor
    from engine.adapters.sources.stat_cache import FileStatCache
    from engine.adapters.state import holder
    from engine.app.openlineage import telling
    from engine.runtime.environment import provenance
    from engine.runtime.leases import LeaseKeeper

    with ExitStack() as stack:
        executor = stack.enter_context(ProcessExecutor(jobs=jobs))
        registry = workspace.registry
        stack.callback(registry.close)
        killed = threading.Event()

        def kill() -> None:
            killed.set()
            executor.cancel()
            registry.cancel()

        def prefetch(plan: ModelPlan, graph: Graph) -> None:
            coming = {graph.by_name[a.step].kind for a in plan.actions if isinstance(a, Run | Conditional)}
            if coming & {"check_data", "split", "train", "evaluate", "examine"}:
                executor.prefetch()
            if coming & {"register", "deploy"}:
                registry.prefetch()

        on_kill(kill)
        stats = FileStatCache(workspace.cache_file)
        stack.callback(stats.flush)
        store = workspace.store
        me = holder.this_process()
        leases = LeaseKeeper(store, me, stop, wait_seconds=lock_timeout)
        stack.callback(leases.close)
        yield Runner(
            means=_means(workspace, executor, stats, leases, holder.actor(me), killed),
            ledger=store,
            state=store,
            reader=_Lookup(workspace),
            leases=leases,
            home=workspace.home,
            provenance=provenance(workspace.root),
            tell=telling(workspace, _one_at_a_time(tell)),
            stop=stop,
            history=store,
            prefetch=prefetch,
            clock=workspace.clock,
            jobs=jobs,
        )


def _means(
    workspace: Workspace,
    executor: Executor,
    stats: FileStatCache,
    leases: LeaseKeeper,
    actor: str,
    killed: threading.Event,
) -> Means:
    from engine import kinds
    from engine.adapters.executors.processes import finished_before
    from engine.adapters.sources.data import DataSources
    from engine.adapters.versioning.dvc import record
    from engine.spec.references import list_references

    source, signatures = DataSources(stats), ModelSignatures(workspace)
    return Means(
        project=workspace.root,
        kinds=Kinds(worker=kinds.WORKER_STEPS, inline=kinds.INLINE_STEPS),
        artifacts=workspace.artifacts,
        executor=executor,
        registry=workspace.registry,
        releases=workspace.store,
        reader=workspace.store,
        rollouts=workspace.store,
        source=source,
        labelled=workspace.labelled,
        stats=stats,
        finished_before=finished_before,
        resolve_secret=workspace.resolve,
        secrets_in=list_references,
        strategy_of=lambda block: kinds.STRATEGIES[str(block["strategy"])](block),
        hold_endpoint=leases.hold_endpoint,
        clock=workspace.clock,
        lineage=workspace.store.lineage().lineage,
        actor=actor,
        sign_model=signatures.sign,
        signed=signatures.holds,
        held=Permitting(workspace, workspace.store).held,
        record_version=partial(record, workspace.root),
        killed=killed,
    )


class _Lookup:
    """What planning under the lease may look up: the state as it is now, and the artifact store."""

    def __init__(self, workspace: Workspace) -> None:
        self._store = workspace.store
        self._artifacts = workspace.artifacts

    def result(self, model: str, step: str, fingerprint: str) -> StepResult | None:
        return self._store.result(model, step, fingerprint)

    def has(self, artifact: Artifact) -> bool:
        return self._artifacts.has(artifact)


def _one_at_a_time(tell: Callable[[Event], None]) -> Callable[[Event], None]:
    lock = threading.Lock()

    def told(event: Event) -> None:
        with lock:
            tell(event)

    return told
