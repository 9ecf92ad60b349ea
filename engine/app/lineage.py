"""The record of a release, gathered from the state and the artifact store; comparing two. Reads; changes nothing."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from engine.app.inspecting import ALL, ReleaseDetail, RunDetail, find
from engine.app.workspace import Workspace
from engine.core.graph import FromStep, Graph
from engine.core.records import Artifact, AuditEvent, StepResult
from engine.core.release_record import Comparison, Sources, compare, release_record
from engine.errors import EngineError, NotFoundError
from engine.steps.lifecycle import build_graph

APPROVING = ("release approved", "release rejected")
REPORTS = {  # in the record → the step and the output that it is read from
    "evaluation": ("evaluate", "report"),
    "training": ("train", "report"),
    "profile": ("check_data", "profile"),
    "schema": ("split", "schema"),
    "examination": ("examine", "report"),
}


def find_release(workspace: Workspace, what: str) -> ReleaseDetail:
    """A release as `model@version`, or a model's stable one. Raises NotFoundError where there is none."""
    found = find(workspace, what)
    if isinstance(found, RunDetail):
        remedy = f"Name one: {found.run.model}@VERSION (engine releases {found.run.model})."
        raise NotFoundError(f"{what} is no release", remedy=remedy)
    return found


def record_of(workspace: Workspace, found: ReleaseDetail) -> dict[str, Any]:
    """The record of a release; see `engine.core.release_record`."""
    release = found.release
    graph = graph_of_release(found)
    steps = [found.lineage[name] for name in ordered(graph, found.lineage)]
    wanted = {result.run_id for result in steps} | {release.run_id}
    runs = [run for run in workspace.reader.runs(release.model, ALL) if run.run_id in wanted]
    return release_record(
        Sources(
            release=release,
            role=found.role,
            run=found.run,
            runs=list(reversed(runs)),
            steps=[(result, reads(graph, result.step)) for result in steps],
            parents=_parents(workspace, found),
            service=found.service,
            approvals=_approvals(workspace, found),
            reports=_reports(workspace, found.lineage),
        )
    )


def compare_releases(
    workspace: Workspace, first: str, second: str
) -> tuple[dict[str, Any], dict[str, Any], Comparison]:
    """The records of two releases, and what differs between them."""
    before, after = (record_of(workspace, find_release(workspace, what)) for what in (first, second))
    return before, after, compare(before, after)


def graph_of_release(found: ReleaseDetail) -> Graph:
    """The graph of the spec that a release was made by; empty where its run is not kept."""
    return build_graph(found.run.document) if found.run else Graph(())


def ordered(graph: Graph, names: Mapping[str, StepResult]) -> list[str]:
    """Steps in the order of the graph; those that it does not know come last."""
    known = [step.name for step in graph.steps if step.name in names]
    return [*known, *sorted(set(names) - set(known))]


def reads(graph: Graph, step: str) -> dict[str, str]:
    """What a step reads, by role: `step.output`, or the key of what is observed."""
    if step not in graph.by_name:
        return {}
    found = graph.by_name[step]
    told = {
        role: f"{source.step}.{source.output}" if isinstance(source, FromStep) else source.key
        for role, source in found.inputs.items()
    }
    return {**told, **({"verdict": f"{found.gate}.verdict"} if found.gate else {})}


def _parents(workspace: Workspace, found: ReleaseDetail) -> Sequence[tuple[int, str]]:
    """The release that was stable when this one came, and the version before it."""
    release = found.release
    parents: dict[int, str] = {}
    for event in reversed(found.service):
        side: Any = event.details.get("before") or {}
        if side.get("stable") not in (None, release.version):
            parents[int(side["stable"])] = "stable when it came"
    earlier = [each.version for each in workspace.reader.releases(release.model) if each.version < release.version]
    if earlier:
        parents.setdefault(max(earlier), "the version before")
    return list(parents.items())[:2]


def _approvals(workspace: Workspace, found: ReleaseDetail) -> list[AuditEvent]:
    """Who approved or rejected the release, from the audit log."""
    release = found.release
    return [
        event
        for event in workspace.reader.audit()
        if event.event in APPROVING
        and event.subject == release.model
        and event.details.get("version") == release.version
    ]


def _reports(workspace: Workspace, lineage: Mapping[str, StepResult]) -> dict[str, Any]:
    """The reports that are still in the store."""
    found: dict[str, Any] = {}
    for name, (step, output) in REPORTS.items():
        artifact = lineage[step].outputs.get(output) if step in lineage else None
        content = read_report(workspace, artifact)
        if content is not None:
            found[name] = content
    return found


def read_report(workspace: Workspace, artifact: Artifact | None) -> Any:
    """A JSON artifact; None where it is not kept, or is not what it was."""
    if artifact is None:
        return None
    try:
        return json.loads(workspace.artifacts.path(artifact).read_text(encoding="utf-8"))
    except (EngineError, OSError, ValueError):
        return None
