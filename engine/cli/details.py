"""A run, and a release with its lineage, as text. Pure but for the paths that it names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import click

from engine.app.inspecting import ReleaseDetail, RunDetail
from engine.app.workspace import Workspace
from engine.cli.outcome import gate_rows, uses_text
from engine.cli.tables import render_fields, render_table
from engine.cli.words import duration, elapsed, one_line, percent, short_digest, size, when
from engine.core.records import AttemptStatus

MATTERS = ("python", "scikit-learn", "numpy", "pandas", "pyarrow", "scipy", "mlflow", "xgboost", "lightgbm")


def run_text(found: RunDetail, workspace: Workspace) -> str:
    """A run: what it was made from, its steps, what came of it."""
    run = found.run
    head = [
        ("status", click.style(run.status.value, bold=True) + (f": {run.message}" if run.message else "")),
        ("started", when(run.started_at)),
        ("took", elapsed(run.started_at, run.finished_at)),
        *_provenance(run.provenance),
        ("spec", short_digest(run.spec_digest)),
        ("hold-out", _holdout(found, workspace)),
        ("releases", ", ".join(f"{run.model}@{release.version}" for release in found.releases)),
        ("logs", workspace.relative(found.logs) if found.logs.is_dir() else ""),
    ]
    rows = [
        (result.step, "done", duration(result.seconds), short_digest(result.fingerprint), result.summary)
        for result in found.results
    ]
    rows += [
        (attempt.step, _WORDS[attempt.status], "", short_digest(attempt.fingerprint), one_line(attempt.message))
        for attempt in found.attempts
    ]
    parts = [render_fields(f"{run.model}, run {run.run_id}", _filled(head))]
    if rows:
        parts.append(render_table(("step", "", "took", "fingerprint", "result"), rows))
    for step, title in (("check_data", "Data contract"), ("validate", "Gates")):
        gates = next((result.facts.get("gates") for result in found.results if result.step == step), None)
        if gates:
            parts.append("\n".join([click.style(title, bold=True), *(f"  {line}" for line in gate_rows(gates))]))
    return "\n\n".join(parts)


def _holdout(found: RunDetail, workspace: Workspace) -> str:
    """By how many candidates the run's hold-out was used until now."""
    contents = [r.components.get("inputs", {}).get("holdout") for r in found.results if r.step == "evaluate"]
    uses = workspace.reader.holdout_uses(found.run.model, str(contents[0])) if contents else 0
    return uses_text(uses) if uses > 1 else ""


_WORDS = {
    AttemptStatus.INTENT: "running",
    AttemptStatus.DONE: "done",
    AttemptStatus.FAILED: "failed",
    AttemptStatus.INTERRUPTED: "interrupted",
}


def release_text(found: ReleaseDetail) -> str:
    """A release: where it is, what it was made of, what it proved, when it served."""
    release = found.release
    evidence: Mapping[str, Any] = release.evidence
    artifacts: Mapping[str, str] = evidence.get("artifacts") or {}
    title = f"{release.model}@{release.version}" + (f" ({found.role})" if found.role else "")
    head = [
        ("registered", when(release.created_at)),
        ("run", release.run_id),
        ("registry", release.registry_uri),
        ("tracking run", str(evidence.get("tracking_run") or "")),
        ("model", f"{_digest(release.artifact.digest)}  {size(release.artifact.size)}"),
        *_provenance(evidence.get("provenance") or {}),
    ]
    parts = [
        render_fields(title, _filled(head)),
        render_fields("Made of", _filled(_made_of(found, artifacts))),
        render_fields("Environment", _filled(_environment(evidence.get("packages") or {}))),
    ]
    metrics = [(name, *_interval(metric)) for name, metric in sorted((evidence.get("metrics") or {}).items())]
    if metrics:
        parts.append(render_table(("metric", "value", "interval"), metrics))
    verdict = evidence.get("verdict") or {}
    if verdict.get("gates"):
        lines = [f"  {line}" for line in gate_rows(verdict["gates"])]
        parts.append("\n".join([f"{click.style('Verdict', bold=True)} {verdict['verdict']}", *lines]))
    if artifacts:
        rows = [(role, _digest(digest)) for role, digest in sorted(artifacts.items())]
        parts.append(render_table(("artifact", "digest"), rows))
    if found.service:
        parts.append(render_table(("served", "", "by", "reason"), [*_service(found)]))
    return "\n\n".join(parts)


def _made_of(found: ReleaseDetail, artifacts: Mapping[str, str]) -> Iterable[tuple[str, str]]:
    document: Mapping[str, Any] = found.run.document if found.run else {}
    lineage = found.lineage
    snapshot, train = lineage.get("snapshot"), lineage.get("train")
    source = (document.get("data") or {}).get("source")
    if snapshot is not None:
        data = snapshot.outputs["data"]
        yield "data", f"{_source(source) or data.name}  {_digest(data.digest)}  {size(data.size)}"
    elif "data" in artifacts:
        yield "data", f"{_source(source)}  {_digest(artifacts['data'])}".strip()
    for step in ("check_data", "split"):
        if step in lineage:
            yield "rows" if step == "check_data" else "split", lineage[step].summary
    if train is not None:
        yield "training", train.summary
        parameters = train.facts.get("params") or {}
        yield "parameters", ", ".join(f"{name}={value}" for name, value in parameters.items())
        yield "seed", str(train.facts.get("seed", ""))
    for step, result in lineage.items():
        for file, digest in _code(result.components.get("inputs") or {}):
            yield "code", f"{file}  {_digest(digest)}  ({step})"
    yield "spec", _digest(str(found.release.evidence.get("spec_digest") or ""))


def _code(inputs: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    """The files of the user's code among a step's inputs: those whose content is kept file by file."""
    for content in inputs.values():
        if isinstance(content, Mapping):
            yield from ((str(file), str(digest)) for file, digest in content.items())


def _source(source: Any) -> str:
    return str(source.get("sql", "")) if isinstance(source, Mapping) else str(source or "")


def _environment(packages: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    shown = [f"{name} {packages[name]}" for name in MATTERS if packages.get(name)]
    others = len([name for name in packages if name not in MATTERS])
    yield "packages", ", ".join(shown) + (f", {others} more (--json)" if others else "")


def commit_of(provenance: Mapping[str, Any]) -> str:
    """The commit of a run's project, short; empty where there was none."""
    git = provenance.get("git")
    return str(git.get("commit") or "")[:12] if isinstance(git, Mapping) else ""


def _provenance(provenance: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    git = provenance.get("git")
    yield "by", "@".join(str(provenance[key]) for key in ("user", "host") if provenance.get(key))
    if isinstance(git, Mapping):
        changed = ", with local changes" if git.get("dirty") else ""
        yield "git", f"{commit_of(provenance)} on {git.get('branch')}{changed}"


def _interval(metric: Any) -> tuple[str, str]:
    if not isinstance(metric, Mapping):
        return str(metric), ""
    low, high = metric.get("low"), metric.get("high")
    interval = "" if low is None or high is None else f"[{low:.4g}, {high:.4g}]"
    value = metric.get("value")
    return ("undefined" if value is None else f"{value:.4g}"), interval


def _service(found: ReleaseDetail) -> Iterable[tuple[str, str, str, str]]:
    version = found.release.version
    for event in found.service:
        after: Any = event.details.get("after") or {}
        if after.get("stable") == version:
            what = "stable"
        elif after.get("candidate") == version:
            what = f"candidate, {percent(after.get('weight') or 0)}"
        else:
            what = "out of service"
        yield when(event.at), what, event.actor, str(event.details.get("reason") or "")


def _digest(digest: str) -> str:
    return f"blake3:{short_digest(digest)}" if digest else ""


def _filled(rows: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    return [(name, text) for name, text in rows if text]
