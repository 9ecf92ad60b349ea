"""A plan as text for a terminal. Pure, and deterministic for a given plan; colours are ANSI, stripped where printed.

Each model is a heading and one line for each step: `=` stands, `~` runs, `+` runs for the first time, `?` runs if a
gate passes, `!` waits. Of several models, those with nothing to do are one line, or one line together.
"""

from __future__ import annotations

from collections.abc import Sequence

import click

from engine.app.planning import Planned, PlannedModel
from engine.cli.reasons import detection_text, summary, tally, unchanged, what, why
from engine.cli.words import duration, duration_range, next_time, percent, table
from engine.core.plan import Action, Conditional, ModelPlan, ReasonCode, Reuse, Run, Wait, estimate
from engine.core.records import Endpoint
from engine.core.verdict import Verdict
from engine.errors import assert_never

FOLD_FROM = 10  # models without changes: from so many on they are one line together

_WARNING = "warning"
_COLORS = {"=": None, "~": "yellow", "+": "green", "?": "cyan", "!": "red"}


def render_plan(planned: Planned) -> str:
    """The whole text, without a line break at its end."""
    alone = len(planned.models) == 1
    quiet: list[PlannedModel] = []
    loud: list[PlannedModel] = []
    for model in planned.models.values():
        (quiet if _is_quiet(model.plan) and not alone else loud).append(model)
    blocks = ["\n".join(_model(model)) for model in loud]
    if quiet:
        blocks.append(_quiet(quiet))
    blocks.append(_footer(planned))
    return "\n\n".join(blocks)


def symbol(action: Action) -> str:  # noqa: RET503 - the last case raises
    """The mark before a step's name."""
    match action:
        case Run():
            return "+" if action.reason.code is ReasonCode.NEW else "~"
        case Reuse():
            return "=" if action.result.verdict in (None, Verdict.PASS) else "!"
        case Conditional():
            return "?"
        case Wait():
            return "!"
        case _:
            assert_never(action)


def endpoint_text(endpoint: Endpoint | None) -> str:
    """Who serves, in a few words."""
    if endpoint is None or endpoint.stable is None:
        return "nothing is live"
    live = f"version {endpoint.stable} is live"
    if endpoint.candidate is not None:
        share = percent(endpoint.weight) if endpoint.weight else "no traffic"
        copies = f" and copies of {percent(endpoint.mirror)}" if endpoint.mirror else ""
        live += f", candidate version {endpoint.candidate} gets {share}{copies}"
    if endpoint.aborted:
        live += f" (the last candidate was aborted: {endpoint.aborted})"
    return live


def _is_quiet(plan: ModelPlan) -> bool:
    return all(isinstance(action, Reuse) and symbol(action) == "=" for action in plan.actions)


def _model(model: PlannedModel) -> list[str]:
    plan = model.plan
    marks = [symbol(action) for action in plan.actions]
    rows = [
        (mark, action.step, what(action), why(action, plan, lambda: model.document))
        for mark, action in zip(marks, plan.actions, strict=True)
    ]
    lines = [click.style(plan.name, bold=True)]
    for mark, line in zip(marks, table([row[1:] for row in rows]), strict=True):
        lines.append(f"  {click.style(mark, fg=_COLORS[mark], bold=True)} {line}".rstrip())
    lines += [f"    {text}" for text in _notes(model)]
    return lines


def _notes(model: PlannedModel) -> list[str]:
    """Endpoint, triggers and warnings, in columns."""
    rows = []
    if model.plan.endpoint is not None:
        rows.append(("endpoint", endpoint_text(model.plan.endpoint)))
    if model.detection is not None:
        rows.append(("canary", detection_text(model.detection)))
    rows += [("policy", f"would hold deploy now: {text}") for text in model.restraints]
    for trigger in model.triggers:
        text = trigger.text if trigger.next is None else f"{trigger.text}  next: {next_time(trigger.next)}"
        rows.append(("retrain", f"{trigger.type}  {text}".rstrip()))
    warnings = model.warnings if model.plan.changes else ()
    rows += [(_WARNING, str(warning)) for warning in warnings]
    return [
        click.style(_WARNING, fg="yellow") + line.removeprefix(_WARNING) if row[0] == _WARNING else line
        for row, line in zip(rows, table(rows), strict=True)
    ]


def _quiet(models: Sequence[PlannedModel]) -> str:
    if len(models) >= FOLD_FROM:
        return unchanged(len(models))
    rows = [(model.plan.name, f"up to date, {endpoint_text(model.plan.endpoint)}") for model in models]
    return "\n".join(table(rows))


def _footer(planned: Planned) -> str:
    plans = {name: model.plan for name, model in planned.models.items()}
    if not planned.plan.changes:
        held = [plan.name for plan in plans.values() if plan.held is not None]
        if held:
            return f"Nothing to run. Held before going live: {', '.join(held)}."
        stopped = [plan for plan in plans.values() if plan.stopped_by is not None]
        if not stopped:
            return click.style("Nothing to do: everything is up to date.", fg="green")
        names = ", ".join(plan.name for plan in stopped)
        return f"Nothing to run. Stopped by a gate: {names}. A change of its spec, data or code gives it a new try."
    line = f"Plan: {summary(tally(plans))}."
    expected = estimate([action for plan in plans.values() for action in plan.actions])
    if expected is not None:
        spread = duration_range(expected.low, expected.high)
        line += f" About {duration(expected.middle)}"
        line += "." if spread == duration(expected.middle) else f" (last runs: {spread})."
    return line
