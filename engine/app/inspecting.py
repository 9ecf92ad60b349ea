"""Looking at what happened and what is live. Reads the state; changes nothing.

Use cases of `status`, `triggers`, `history`, `show`, `state list|show`, `lock list` and `audit`, each returning plain
records for the command line to render. Raises UsageError for what is not there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from engine.app.policing import awaited
from engine.app.workspace import Workspace
from engine.core.alerts import AlertRecord, Told
from engine.core.records import (
    Attempt,
    AuditEvent,
    Endpoint,
    Event,
    Lease,
    ModelState,
    Release,
    Run,
    StepResult,
    TriggerEvaluation,
)
from engine.core.rollout import Rollout
from engine.errors import NotFoundError, UsageError

ALL = 1_000_000_000  # a limit that is none


# ── models ───────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class ModelStatus:
    """One model at a glance.

    `release` is the stable one, `rollout` the last one, `holder` who holds its lease now, empty for nobody.
    `awaits` is whose approval which version awaits, in words.
    """

    name: str
    endpoint: Endpoint | None
    release: Release | None
    last_run: Run | None
    holder: str
    rollout: Rollout | None = None
    awaits: str = ""


def status(workspace: Workspace, names: Sequence[str] = ()) -> list[ModelStatus]:
    """The models that the state knows, by name; only those in `names` if there are any."""
    reader = workspace.reader
    known = list(reader.list_models())
    for name in names:
        refuse_unknown(name, known)
    states = reader.models(list(names) or known)
    releases = {(release.model, release.version): release for release in reader.releases()}
    runs: dict[str, Run] = {}
    for run in reader.runs(limit=ALL) if len(states) > 1 else reader.runs(next(iter(states), None), limit=1):
        runs.setdefault(run.model, run)
    rollouts = {rollout.model: rollout for rollout in reversed(reader.rollouts(limit=ALL))}
    holders = {lease.model: lease for lease in leases(workspace)}
    return [
        ModelStatus(
            name,
            state.endpoint,
            releases.get((name, state.endpoint.stable or 0)) if state.endpoint else None,
            runs.get(name),
            pretty_holder(holders[name].holder) if name in holders else "",
            rollouts.get(name),
            awaited(workspace, state, [each for (model, _), each in releases.items() if model == name]),
        )
        for name, state in sorted(states.items())
    ]


def model_state(workspace: Workspace, name: str) -> ModelState:
    """All that the state knows of one model."""
    refuse_unknown(name, workspace.reader.list_models())
    return workspace.reader.models([name])[name]


def leases(workspace: Workspace) -> list[Lease]:
    """The leases that are held."""
    return list(workspace.reader.leases())


def pretty_holder(holder: str) -> str:
    """`ana@box, pid 1234`, and whether that process is gone."""
    from engine.adapters.state import holder as holders

    return holders.pretty(holder) + (" (gone)" if holders.is_dead(holder) else "")


def refuse_unknown(name: str, known: Sequence[str]) -> None:
    """Raise NotFoundError for a model that the state does not know."""
    if name in known:
        return
    near = get_close_matches(name, known, n=1)
    remedy = f"Did you mean {near[0]}?" if near else "List what it knows: engine status"
    raise NotFoundError(f"the state knows no model {name}", remedy=remedy if known else "Nothing was applied here yet.")


# ── triggers ─────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Triggers:
    """What a model's triggers said, newest first, and the requests that nobody has taken up."""

    model: str
    evaluations: Sequence[TriggerEvaluation]
    waiting: Sequence[Event]


def triggers(workspace: Workspace, model: str, limit: int) -> Triggers:
    """What the triggers of a model said. Raises NotFoundError for a model of which nothing is known."""
    reader = workspace.reader
    found = Triggers(model, reader.evaluations(model, limit), reader.pending(model))
    if not found.evaluations and not found.waiting:
        refuse_unknown(model, reader.list_models())
    return found


@dataclass(frozen=True)
class Alerts:
    """Alerts, those that fire first, and what their receivers were told."""

    alerts: Sequence[AlertRecord]
    told: Sequence[Told]


def alerts(workspace: Workspace, model: str | None = None, firing: bool = False) -> Alerts:
    """What is wrong, and was. Raises NotFoundError for a model of which nothing is known."""
    found = workspace.reader.alerts(model)
    told = workspace.reader.told(model)
    if model is not None and not found and not told:
        refuse_unknown(model, workspace.reader.list_models())
    return Alerts([each for each in found if each.status == "firing" or not firing], told)


# ── runs and releases ────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class RunDetail:
    """One run with its steps, in the order in which they ended. `logs` is the folder of the steps' logs."""

    run: Run
    results: Sequence[StepResult]
    attempts: Sequence[Attempt]
    releases: Sequence[Release]
    logs: Path


@dataclass(frozen=True)
class ReleaseDetail:
    """A release with its lineage: the steps that made it, by name, and when it went in and out of service."""

    release: Release
    run: Run | None
    lineage: Mapping[str, StepResult]
    endpoint: Endpoint | None
    service: Sequence[AuditEvent]

    @property
    def role(self) -> str:
        """`stable`, `candidate`, `previous`, or nothing."""
        for role in ("stable", "candidate", "previous"):
            if self.endpoint is not None and getattr(self.endpoint, role) == self.release.version:
                return role
        return ""


def history(workspace: Workspace, model: str | None, limit: int) -> list[Run]:
    """The newest runs."""
    if model is not None:
        refuse_unknown(model, workspace.reader.list_models())
    return list(workspace.reader.runs(model, limit))


def find(workspace: Workspace, what: str) -> RunDetail | ReleaseDetail:
    """A run by its id or the beginning of one, a release as `model@version`, or a model's stable release.

    A model without a release gives its last run.
    """
    reader = workspace.reader
    model, at, version = what.partition("@")
    if at:
        return _release(workspace, model, version)
    if what in reader.list_models():
        endpoint = reader.models([what])[what].endpoint
        if endpoint is not None and endpoint.stable is not None:
            return _release(workspace, what, str(endpoint.stable))
        return _run(workspace, reader.runs(what, 1)[0])
    found = [run for run in reader.runs(limit=ALL) if run.run_id.startswith(what)]
    if len(found) == 1:
        return _run(workspace, found[0])
    if found:
        shown = ", ".join(run.run_id for run in found[:3])
        raise UsageError(f"{len(found)} runs begin with {what}", remedy=f"Write more of the id: {shown} …")
    remedy = "Name a run (engine history), a model, or a release like customer_churn@2."
    near = get_close_matches(what, reader.list_models(), n=1)
    raise UsageError(f"there is no run, model or release {what}", remedy=f"Did you mean {near[0]}?" if near else remedy)


def _run(workspace: Workspace, run: Run) -> RunDetail:
    results, attempts = workspace.reader.steps_of(run.run_id)
    released = [release for release in workspace.reader.releases(run.model) if release.run_id == run.run_id]
    logs = workspace.home / "runs" / run.run_id
    return RunDetail(run, list(reversed(results)), list(reversed(attempts)), released, logs)


def _release(workspace: Workspace, model: str, version: str) -> ReleaseDetail:
    reader = workspace.reader
    refuse_unknown(model, reader.list_models())
    releases = reader.releases(model)
    release = next((r for r in releases if str(r.version) == version.removeprefix("v")), None)
    if release is None:
        known = ", ".join(f"{model}@{r.version}" for r in releases)
        raise UsageError(
            f"{model} has no release {version}", remedy=f"Releases: {known}" if known else "It has none yet."
        )
    runs = reader.runs(model, ALL)
    run = next((r for r in runs if r.run_id == release.run_id), None)
    position = runs.index(run) if run is not None else 0
    service = [
        event
        for event in reader.audit()
        if event.subject == model and event.event == "endpoint changed" and _concerns(event, release.version)
    ]
    return ReleaseDetail(
        release, run, _lineage(workspace, release, runs[position:]), reader.models([model])[model].endpoint, service
    )


def _lineage(workspace: Workspace, release: Release, runs: Iterable[Run]) -> dict[str, StepResult]:
    """The results whose outputs the release was made of, wherever in the model's history they were worked out."""
    artifacts: Any = release.evidence.get("artifacts") or {}
    wanted = set(artifacts.values()) | {release.artifact.digest}
    found: dict[str, StepResult] = {}
    for run in runs:
        for result in workspace.reader.steps_of(run.run_id)[0]:  # newest first, so that what a step read comes after it
            itself = result.step == "register" and result.facts.get("version") == release.version
            if itself or wanted & {artifact.digest for artifact in result.outputs.values()}:
                found.setdefault(result.step, result)
                wanted |= _contents_read(run, found[result.step])
        if wanted <= {artifact.digest for result in found.values() for artifact in result.outputs.values()}:
            break
    return found


def _contents_read(run: Run, result: StepResult) -> set[str]:
    """The digests of what a step read of other steps: also of those whose outputs no release carries."""
    from engine.core.graph import FromStep
    from engine.steps.lifecycle import build_graph

    step = build_graph(run.document).by_name.get(result.step)
    inputs: Mapping[str, Any] = result.components.get("inputs") or {}
    sources = step.inputs.items() if step is not None else ()
    return {str(inputs[role]) for role, source in sources if isinstance(source, FromStep) and role in inputs}


def _concerns(event: AuditEvent, version: int) -> bool:
    sides: list[Any] = [event.details.get("before") or {}, event.details.get("after") or {}]
    before, after = ((side.get("stable"), side.get("candidate")) for side in sides)
    return (version in before or version in after) and before != after


# ── audit ────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class AuditFindings:
    """What is wrong with the audit log, empty if nothing is; its length and last hash, to be kept elsewhere."""

    problems: Sequence[str]
    count: int
    head: str


def export_audit(workspace: Workspace, form: str, write: Callable[[str], object], after: int = 0) -> int:
    """Write the audit events beyond number `after`, oldest first, as `jsonl` or `csv`; how many.

    JSON lines hold every field as it is hashed, so that the chain can be checked from them. In CSV details are JSON.
    """
    import csv
    import io

    from engine.core.canonical import canonical_json

    events = workspace.reader.audit(after)
    if form == "jsonl":
        for event in events:
            write(canonical_json(dict(vars(event))) + "\n")
        return len(events)
    names = ("sequence", "at", "actor", "event", "subject", "details", "previous_hash", "hash")
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(names)
    for event in events:
        values = {**vars(event), "details": canonical_json(event.details)}
        rows.writerow([_cell(values[name]) for name in names])
    write(text.getvalue())
    return len(events)


def _cell(value: object) -> object:
    """A value that no spreadsheet takes for a formula."""
    return f"'{value}" if isinstance(value, str) and value[:1] in tuple("=+-@\t\r") else value


def verify_audit(workspace: Workspace, kept: str | None = None) -> AuditFindings:
    """Check the chain against itself, and against a `count:hash` that was kept elsewhere."""
    from engine.core.audit import ChainHead, verify_chain

    head = workspace.reader.audit_head()
    heads = [head]
    if kept is not None:
        number, colon, digest = kept.partition(":")
        if not colon or not number.isdigit():
            raise UsageError(f"{kept} is not a head of the log", remedy="Write it as verify printed it: COUNT:HASH")
        heads.append(ChainHead(int(number), digest))
    problems = verify_chain(workspace.reader.audit(), *heads)
    return AuditFindings(tuple(dict.fromkeys(problems)), head.count, head.hash)
