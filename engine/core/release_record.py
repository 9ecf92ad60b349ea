"""The record of a release: all that there is to say of what it was made of, as one JSON document. Pure.

Everything that shows, compares, proves or repeats a release reads this document, so that all of them say the same. It
is made of what the state remembers, and names contents by their digests; `reports` are read from the artifact store.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from engine.core.canonical import Json, canonical_json
from engine.core.records import AuditEvent, Release, Run, StepResult

FORMAT_VERSION = 1


@dataclass(frozen=True)
class Sources:
    """What the state remembers of a release.

    `run` is the one that registered it, `runs` all in which its steps were worked out, `steps` those steps in the
    order of the graph, with the names of the steps that they read. `parents` are (release, relation).
    """

    release: Release
    role: str
    run: Run | None
    runs: Sequence[Run]
    steps: Sequence[tuple[StepResult, Mapping[str, str]]]
    parents: Sequence[tuple[int, str]] = ()
    service: Sequence[AuditEvent] = ()
    approvals: Sequence[AuditEvent] = ()
    reports: Mapping[str, Any] = field(default_factory=dict)


def release_record(sources: Sources) -> dict[str, Any]:
    """The document. Times are UTC in ISO 8601; what is not known is None."""
    release, run = sources.release, sources.run
    evidence: Mapping[str, Any] = release.evidence
    steps = {result.step: result for result, _ in sources.steps}
    document: Mapping[str, Any] = run.document if run else {}
    train = steps.get("train")
    trained_in = next((each for each in sources.runs if train is not None and each.run_id == train.run_id), run)
    return {
        "format_version": FORMAT_VERSION,
        "release": {
            "model": release.model,
            "version": release.version,
            "role": sources.role or None,
            "key": release.key,
            "run_id": release.run_id,
            "registry_uri": release.registry_uri,
            "tracking_run": evidence.get("tracking_run"),
            "created_at": release.created_at,
            "artifact": dict(vars(release.artifact)),
        },
        "owner": document.get("owner"),
        "description": document.get("description"),
        "labels": document.get("labels") or {},
        "data": _data(document, steps, evidence),
        "code": _code(sources.steps, trained_in),
        "environment": _environment(evidence, sources.steps, trained_in),
        "spec": {"digest": evidence.get("spec_digest"), "document": document or None},
        "parameters": dict((train.facts.get("params") or {}) if train else {}),
        "seed": {
            "training": train.facts.get("seed") if train else None,
            "split": ((document.get("data") or {}).get("split") or {}).get("seed"),
            "attempt": ((train.components.get("settings") or {}).get("attempt") or 0) if train else 0,
        },
        "metrics": dict(evidence.get("metrics") or {}),
        "rows": dict(evidence.get("rows") or {}),
        "verdict": evidence.get("verdict"),
        "parents": [{"release": f"{release.model}@{version}", "as": relation} for version, relation in sources.parents],
        "runs": [_run(each, sources.steps) for each in sources.runs],
        "steps": [_step(result, reads) for result, reads in sources.steps],
        "artifacts": dict(evidence.get("artifacts") or {}),
        "approvals": [dict(vars(event)) for event in sources.approvals],
        "service": [dict(vars(event)) for event in sources.service],
        "reports": dict(sources.reports),
    }


def _data(document: Mapping[str, Any], steps: Mapping[str, StepResult], evidence: Mapping[str, Any]) -> dict[str, Any]:
    """Which rows: the digest of the stored data, where it came from, how it was split."""
    snapshot, split, checked = (steps.get(name) for name in ("snapshot", "split", "check_data"))
    stored = snapshot.outputs.get("data") if snapshot else None
    artifacts: Mapping[str, str] = evidence.get("artifacts") or {}
    block: Mapping[str, Any] = document.get("data") or {}
    return {
        "source": block.get("source"),
        "digest": stored.digest if stored else artifacts.get("data"),
        "name": stored.name if stored else None,
        "size": stored.size if stored else None,
        "dvc": snapshot.facts.get("dvc") if snapshot else None,
        "rows": checked.facts.get("rows") if checked else None,
        "split": split.summary if split else None,
        "target": block.get("target"),
        "holdout": artifacts.get("holdout"),
        "feedback": artifacts.get("feedback"),
    }


def _code(steps: Iterable[tuple[StepResult, Mapping[str, str]]], trained_in: Run | None) -> dict[str, Any]:
    """Which code: the user's files by digest, the commit of the run that trained, and whether all was committed."""
    files: dict[str, Json] = {}
    for result, _ in steps:
        for content in (result.components.get("inputs") or {}).values():
            if isinstance(content, Mapping):  # contents kept file by file are the user's code
                files.update(content)
    git = (trained_in.provenance.get("git") if trained_in else None) or None
    return {
        "commit": git.get("commit") if isinstance(git, Mapping) else None,
        "branch": git.get("branch") if isinstance(git, Mapping) else None,
        "clean": not git.get("dirty") if isinstance(git, Mapping) else None,
        "files": dict(sorted(files.items())),
    }


def _environment(
    evidence: Mapping[str, Any], steps: Iterable[tuple[StepResult, Mapping[str, str]]], run: Run | None
) -> dict[str, Any]:
    provenance: Mapping[str, Any] = run.provenance if run else evidence.get("provenance") or {}
    used = {name: version for result, _ in steps for name, version in (result.components.get("packages") or {}).items()}
    return {
        "python": provenance.get("python"),
        "platform": provenance.get("platform"),
        "engine": provenance.get("engine"),
        "packages": dict(sorted((evidence.get("packages") or {}).items())),
        "used": dict(sorted(used.items())),  # those whose versions can change the result
    }


def _run(run: Run, steps: Iterable[tuple[StepResult, Mapping[str, str]]]) -> dict[str, Any]:
    git = run.provenance.get("git")
    return {
        "run_id": run.run_id,
        "status": run.status.value,
        "started_at": run.started_at,
        "finished_at": run.finished_at,
        "by": "@".join(str(run.provenance[key]) for key in ("user", "host") if run.provenance.get(key)) or None,
        "because": run.provenance.get("because"),
        "commit": git.get("commit") if isinstance(git, Mapping) else None,
        "clean": not git.get("dirty") if isinstance(git, Mapping) else None,
        "steps": [result.step for result, _ in steps if result.run_id == run.run_id],
    }


def _step(result: StepResult, reads: Mapping[str, str]) -> dict[str, Any]:
    return {
        "step": result.step,
        "run_id": result.run_id,
        "fingerprint": result.fingerprint,
        "reads": dict(reads),  # role → step.output, or what is observed
        "components": dict(result.components),
        "outputs": {role: dict(vars(artifact)) for role, artifact in result.outputs.items()},
        "facts": dict(result.facts),
        "summary": result.summary,
        "verdict": result.verdict.value if result.verdict else None,
        "seconds": result.seconds,
        "finished_at": result.finished_at,
    }


def approval_rows(record: Mapping[str, Any]) -> list[tuple[str, str, str, str]]:
    """Who said what of a release: when (UTC), by whom, `approved` or `rejected`, and why."""
    return [
        (each["at"], each["actor"], each["event"].removeprefix("release "), str(each["details"].get("reason") or ""))
        for each in record["approvals"]
    ]


# ── comparing ────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Change:
    """One thing that differs between two releases; None where one of them has it not."""

    name: str
    before: Json
    after: Json


@dataclass(frozen=True)
class MetricChange:
    """A metric of two releases: value, low and high of each (None: undefined), and the difference of the values."""

    name: str
    before: Mapping[str, Any]
    after: Mapping[str, Any]
    difference: float | None


@dataclass(frozen=True)
class Comparison:
    """What differs between two releases. `same_holdout`: their metrics are of the same rows."""

    data: Sequence[Change]
    code: Sequence[Change]
    parameters: Sequence[Change]
    environment: Sequence[Change]
    metrics: Sequence[MetricChange]
    slices: Sequence[MetricChange]
    same_holdout: bool


def compare(before: Mapping[str, Any], after: Mapping[str, Any]) -> Comparison:
    """Compare two release records."""
    return Comparison(
        data=[*leaves(before["data"], after["data"]), *_columns(before, after)],
        code=leaves(before["code"], after["code"]),
        parameters=[*_spec(before, after), *leaves(_seed(before), _seed(after))],
        environment=environment_changes(before["environment"], after["environment"]),
        metrics=metric_changes(before["metrics"], after["metrics"]),
        slices=metric_changes(slices_of(before), slices_of(after)),
        same_holdout=before["data"]["holdout"] is not None and before["data"]["holdout"] == after["data"]["holdout"],
    )


def slices_of(record: Mapping[str, Any]) -> dict[str, Any]:
    """The metrics by slice that a release's gates asked for: see `slices_in`."""
    return slices_in(record["reports"].get("examination"))


def slices_in(examination: Mapping[str, Any] | None) -> dict[str, Any]:
    """The slices of an examination.json: `plan = basic: f1_score` → value, low, high, rows."""
    found: dict[str, Any] = {}
    for key, answer in ((examination or {}).get("answers") or {}).items():
        ask = json.loads(key)  # what was asked is the key of its answer
        if ask.get("gate") != "slices":
            continue
        by = ask.get("by")
        columns = f"{', '.join(by) if isinstance(by, list) else by} = " if by else ""
        found.update({f"{columns}{group['group']}: {ask['metric']}": group for group in answer.get("groups") or ()})
    return found


def leaves(before: Any, after: Any, path: str = "") -> list[Change]:
    """What differs between two JSON values, to the innermost mapping's field."""
    if canonical_json(before) == canonical_json(after):
        return []
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        found = []
        for key in sorted({*before, *after}):
            found += leaves(before.get(key), after.get(key), f"{path}.{key}" if path else str(key))
        return found
    return [Change(path, before, after)]


def _seed(record: Mapping[str, Any]) -> dict[str, Any]:
    return {f"{name} seed" if name != "attempt" else name: value for name, value in record["seed"].items()}


def _spec(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Change]:
    """Fields of the spec, but those that the data section tells already; and parameters that a search found."""
    first, second = before["spec"]["document"] or {}, after["spec"]["document"] or {}
    changes = [change for change in leaves(first, second) if change.name not in ("data.source", "data.target")]
    told = {change.name.removeprefix("training.params.") for change in changes}
    return [*changes, *(each for each in leaves(before["parameters"], after["parameters"]) if each.name not in told)]


def _columns(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Change]:
    """Columns that came, went or are of another kind, and how much of them is missing."""
    first, second = ((record["reports"].get("profile") or {}).get("columns") or {} for record in (before, after))
    found = []
    for name in sorted({*first, *second}) if first and second else ():
        for key in ("kind", "missing"):
            old, new = (first.get(name) or {}).get(key), (second.get(name) or {}).get(key)
            if old != new:
                found.append(Change(f"column {name}, {key}", old, new))
    return found


def environment_changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Change]:
    """What of two environments differs: packages only if their versions can change the result."""
    wanted = {*before["used"], *after["used"]}
    first, second = (
        {
            **{name: value for name, value in each.items() if name not in ("packages", "used")},
            **{name: each["packages"].get(name) for name in wanted if name != "python"},
        }
        for each in (before, after)
    )
    return leaves(first, second)


def metric_changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[MetricChange]:
    """Every metric of two releases beside each other."""
    found = []
    for name in sorted({*before, *after}):
        first, second = before.get(name) or {}, after.get(name) or {}
        old, new = first.get("value"), second.get("value")
        difference = new - old if isinstance(old, int | float) and isinstance(new, int | float) else None
        found.append(MetricChange(name, first, second, difference))
    return found
