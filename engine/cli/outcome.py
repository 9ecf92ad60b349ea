"""How an apply ended: for each model its gates, release and endpoint; after a failure its log and the way on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from engine.app.delivering import Progress, succeeded
from engine.app.planning import Planned
from engine.app.workspace import Workspace
from engine.cli.plan_text import endpoint_text
from engine.cli.words import count, table
from engine.core.plan import Reason, ReasonCode
from engine.core.records import Endpoint, RunStatus, StepResult
from engine.core.verdict import Verdict
from engine.errors import EngineError
from engine.runtime.apply import Result

LOG_LINES = 15
MANY_USES = 10
"""The best of ten equal candidates looks 1.5 standard errors better than it is."""
SEVERITY = (1, 4, 3, 0)  # the worst exit code of several models wins

_COLORS = {RunStatus.DONE: "green", RunStatus.STOPPED: "yellow"}
_WORDS = {
    RunStatus.DONE: "done",
    RunStatus.STOPPED: "stopped by a gate",
    RunStatus.FAILED: "failed",
    RunStatus.CANCELLED: "cancelled",
    RunStatus.RUNNING: "running",
    RunStatus.INTERRUPTED: "interrupted",
}


def exit_code(results: Iterable[Result], delivered: Iterable[Progress] = ()) -> int:
    """One exit code for all models and the rollouts that were waited for."""
    codes = {_code(result) for result in results} | {0 if succeeded(found) else 3 for found in delivered}
    return next((code for code in SEVERITY if code in codes), 0)


def _code(result: Result) -> int:
    if result.status is RunStatus.DONE:
        return 3 if result.outcome.held is not None and result.outcome.held.code is ReasonCode.POLICY else 0
    if result.status is RunStatus.STOPPED:
        return 3
    return result.error.exit_code if result.error is not None else 1


def render_outcome(workspace: Workspace, planned: Planned, results: Sequence[Result]) -> str:
    """The summary below the progress, without a line break at its end."""
    worked = [result for result in results if result.run_id or result.message or result.status is not RunStatus.DONE]
    endpoints = _endpoints(workspace, [result.model for result in worked])
    blocks = ["\n".join(_model(workspace, planned, result, endpoints.get(result.model))) for result in worked]
    quiet = len(results) - len(worked)
    if quiet:
        blocks.append(f"{count(quiet, 'model')} had nothing to do.")
    if any("register" in result.outcome.results for result in worked):
        blocks.append(f"Runs and models: mlflow ui --backend-store-uri {workspace.tracking_uri}")
    return "\n" + "\n\n".join(blocks)


def gates_of(result: StepResult | None) -> Sequence[Mapping[str, Any]]:
    """Each gate with its verdict, from a validate step's facts."""
    return list(result.facts.get("gates", ())) if result is not None else []


def gate_rows(gates: Sequence[Mapping[str, Any]]) -> list[str]:
    """`pass  f1_score 0.612 [0.580, 0.640] ≥ 0.5`, one line for each gate, coloured by its verdict."""
    colors = {"pass": "green", "fail": "red"}
    lines = table([(gate["verdict"], gate["text"] + _aside(gate)) for gate in gates])
    return [
        click.style(line[: len(gate["verdict"])], fg=colors.get(gate["verdict"], "yellow"))
        + line[len(gate["verdict"]) :]
        for gate, line in zip(gates, lines, strict=True)
    ]


def log_tail(path: Path, lines: int = LOG_LINES) -> list[str]:
    """The last lines of a log, free of control characters; nothing if it cannot be read."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - 64_000))
            text = file.read().decode("utf-8", errors="replace")
    except OSError:
        return []
    return ["".join(c if c.isprintable() or c == "\t" else "�" for c in line) for line in text.splitlines()[-lines:]]


def _aside(gate: Mapping[str, Any]) -> str:
    return "" if gate.get("binding", True) else " (alert only)"


def _model(workspace: Workspace, planned: Planned, result: Result, endpoint: Endpoint | None) -> list[str]:
    head = f"{click.style(result.model, bold=True)}: {click.style(_word(result), fg=_color(result))}"
    lines = [head + (f", run {result.run_id}" if result.run_id else "")]
    validated = result.outcome.results.get("validate") or result.outcome.stopped_by
    lines += [f"  {line}" for line in gate_rows(gates_of(validated))]
    rows = []
    registered = result.outcome.results.get("register")
    if registered is not None:
        rows.append(("release", f"version {registered.facts.get('version')}  {registered.facts.get('uri', '')}"))
    uses = _holdout_uses(workspace, result)
    if uses >= MANY_USES:
        rows.append(("hold-out", uses_text(uses)))
    if result.run_id:
        rows.append(("endpoint", endpoint_text(endpoint)))
        rows.append(("logs", workspace.relative(workspace.home / "runs" / result.run_id)))
    if endpoint is not None and endpoint.candidate is not None:
        name = result.model
        rows.append(("next", f"engine rollout watch {name}, engine promote {name} or engine abort {name}"))
    lines += [f"  {line}" for line in table(rows)]
    return lines + _troubles(workspace, planned, result, endpoint)


def _word(result: Result) -> str:
    return "stopped by the data contract" if _by_contract(result) else _WORDS[result.status]


def _by_contract(result: Result) -> bool:
    return result.outcome.stopped_by is not None and result.outcome.stopped_by.step == "check_data"


def uses_text(uses: int) -> str:
    """How often a hold-out was used, with a warning where that is often."""
    text = f"judged {count(uses, 'candidate')}"
    if uses < MANY_USES:
        return text
    return f"{text}: the best of many looks better than it is. Take new rows, or another data.split.seed"


def _holdout_uses(workspace: Workspace, result: Result) -> int:
    """By how many candidates the hold-out of this one was used; 0 where none was measured."""
    evaluated = result.outcome.results.get("evaluate")
    holdout = evaluated.components.get("inputs", {}).get("holdout") if evaluated is not None else None
    return workspace.reader.holdout_uses(result.model, str(holdout)) if holdout else 0


def _color(result: Result) -> str:
    return _COLORS.get(result.status, "red")


def _troubles(workspace: Workspace, planned: Planned, result: Result, endpoint: Endpoint | None) -> list[str]:
    """What went wrong, what state things are in, and what to run next."""
    lines: list[str] = []
    for step, error in result.outcome.failures.items():
        lines += _failure(workspace, error, step)
    if result.error is not None and not result.outcome.failures:
        lines += _failure(workspace, result.error, "")
    if result.outcome.held is not None:
        lines += _held(result, result.outcome.held)
    if result.status is RunStatus.STOPPED:
        gates = gates_of(result.outcome.stopped_by)
        remedies = dict.fromkeys(g["remedy"] for g in gates if g.get("remedy") and g["verdict"] != Verdict.PASS.value)
        lines += [f"  {remedy}" for remedy in remedies]
        live = "nothing is live yet" if endpoint is None or endpoint.stable is None else "what was live stays live"
        unmade = "Nothing was trained" if _by_contract(result) else "The candidate was not registered"
        lines.append(f"  {unmade}; {live}. See it: engine show {result.run_id or result.model}")
    elif result.status in (RunStatus.FAILED, RunStatus.CANCELLED) and result.run_id:
        kept = len([1 for done in result.outcome.results.values() if done.run_id == result.run_id])
        file = planned.models[result.model].file
        again = f"engine apply {file}" if len(planned.models) > 1 else "engine apply"
        finished = f"What this run finished is kept ({count(kept, 'step')}). " if kept else ""
        then = "To go on" if result.status is RunStatus.CANCELLED else "When that is mended, go on with"
        lines.append(f"  {finished}{then}: {again}")
    return lines


def _held(result: Result, reason: Reason) -> list[str]:
    """Why the release is registered and not live, and what makes it so."""
    lines = [f"  {click.style('held', fg='yellow')}  {result.message}"]
    if reason.code is ReasonCode.POLICY:
        return [*lines, f"  {reason.before} Then: engine apply"]
    return [*lines, f"  Whoever may, agrees by: engine approve {result.model}. Then: engine apply"]


def _failure(workspace: Workspace, error: EngineError, step: str) -> list[str]:
    named = f"{step}: " if step and not error.message.startswith(step) else ""
    lines = [f"  {click.style('error:', fg='red', bold=True)} {named}{error.message}"]
    log = str(getattr(error, "log", ""))
    tail = log_tail(Path(log)) if log else []
    if tail:
        lines.append(click.style(f"  The last lines of {workspace.relative(Path(log))}:", dim=True))
        lines += [f"  │ {line}" for line in tail]
    if error.remedy:
        lines.append(f"  {error.remedy}")
    return lines


def _endpoints(workspace: Workspace, names: Sequence[str]) -> Mapping[str, Endpoint | None]:
    return {name: state.endpoint for name, state in workspace.reader.models(names).items()} if names else {}


# ── JSON ─────────────────────────────────────────────────────────────────────────────────────────────────────


def outcome_document(workspace: Workspace, planned: Planned, results: Sequence[Result]) -> dict[str, Any]:
    """The whole of an apply as one document of plain values."""
    endpoints = _endpoints(workspace, [result.model for result in results])
    return {
        "format_version": 1,
        "exit_code": exit_code(results),
        "runs": [_run(workspace, planned, result, endpoints.get(result.model)) for result in results],
    }


def _run(workspace: Workspace, planned: Planned, result: Result, endpoint: Endpoint | None) -> dict[str, Any]:
    from engine.cli.failures import error_json

    outcome = result.outcome
    validated = outcome.results.get("validate") or outcome.stopped_by
    evaluated = outcome.results.get("evaluate")
    registered = outcome.results.get("register")
    return {
        "model": result.model,
        "run_id": result.run_id or None,
        "status": result.status.value,
        "message": result.message,
        "error": error_json(result.error) if result.error is not None else None,
        "steps": [_step(action.step, result) for action in planned.models[result.model].plan.actions],
        "metrics": dict(evaluated.facts.get("metrics", {})) if evaluated is not None else {},
        "gates": list(gates_of(validated)),
        "holdout_uses": _holdout_uses(workspace, result) or None,
        "release": {"version": registered.facts.get("version"), "uri": registered.facts.get("uri")}
        if registered
        else None,
        "endpoint": dict(vars(endpoint)) if endpoint is not None else None,
    }


def _step(name: str, result: Result) -> dict[str, Any]:
    outcome = result.outcome
    found = outcome.results.get(name)
    if found is not None:
        mine = bool(result.run_id) and found.run_id == result.run_id
        return {
            "step": name,
            "status": "done" if mine else "reused",
            "seconds": found.seconds if mine else 0.0,
            "summary": found.summary,
        }
    if name in outcome.failures:
        return {"step": name, "status": "failed", "seconds": None, "summary": outcome.failures[name].message}
    if name in outcome.skipped:
        return {"step": name, "status": "skipped", "seconds": None, "summary": f"because of {outcome.skipped[name]}"}
    return {
        "step": name,
        "status": "reused" if result.status is RunStatus.DONE else "skipped",
        "seconds": None,
        "summary": "",
    }
