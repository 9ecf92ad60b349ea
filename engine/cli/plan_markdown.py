"""A plan for a pull request's comment: a headline, and a table for each model that changes. Pure.

Texts that come from a spec stand in code spans, so that none of them is read as markup, a link or a mention.
The first line is a marker by which a bot finds the comment that it wrote before.
"""

from __future__ import annotations

from collections.abc import Sequence

from engine.app.planning import Planned, PlannedModel
from engine.cli.plan_text import endpoint_text
from engine.cli.reasons import kind_of, summary, tally, unchanged, what, why
from engine.cli.words import duration, duration_range, next_time
from engine.core.plan import Action, estimate

MARKER = "<!-- engine plan -->"
LONGEST = 60_000  # characters; GitHub refuses a comment of more than 65,536
_SIGNS = {"run": "🔨", "conditional": "❔", "reuse": "✅", "wait": "⏸️"}


def render_markdown(planned: Planned) -> str:
    """The comment, without a line break at its end."""
    plans = {name: model.plan for name, model in planned.models.items()}
    changed = [
        model for model in planned.models.values() if model.plan.changes or model.plan.stopped_by or model.plan.held
    ]
    parts = [MARKER, f"### engine plan: {_headline(planned)}"]
    expected = estimate([action for plan in plans.values() for action in plan.actions])
    if expected is not None:
        spread = duration_range(expected.low, expected.high)
        parts.append(f"About {duration(expected.middle)} (last runs: {spread}).")
    length, shown = 0, 0
    for model in changed:
        block = _model(model, is_open=len(changed) == 1)
        length += len(block)
        if length > LONGEST:
            break
        shown += 1
        parts.append(block)
    if shown < len(changed):
        parts.append(f"… and {len(changed) - shown} more models with changes: see `engine plan`.")
    quiet = len(plans) - len(changed)
    if quiet and changed:
        parts.append(unchanged(quiet) + ".")
    return "\n\n".join(parts)


def code(text: str) -> str:
    """`text` as a code span, whatever is in it, fit for a table's cell; nothing for an empty text."""
    flat = " ".join(text.split()).replace("|", "\\|")
    if not flat:
        return ""
    fence = "`"
    while fence in flat:
        fence += "`"
    pad = " " if flat.startswith("`") or flat.endswith("`") else ""
    return f"{fence}{pad}{flat}{pad}{fence}"


def _headline(planned: Planned) -> str:
    if not planned.plan.changes:
        return "nothing to do"
    return summary(tally({name: model.plan for name, model in planned.models.items()}))


def _model(model: PlannedModel, *, is_open: bool) -> str:
    plan = model.plan
    counts = summary(tally({plan.name: plan}))
    lines = [
        f"<details{' open' if is_open else ''}>",
        f"<summary><b>{plan.name}</b>: {counts}</summary>",
        "",
        *_table([_row(action, model) for action in plan.actions]),
        "",
    ]
    notes = [f"- Endpoint: {code(endpoint_text(plan.endpoint))}"]
    notes += [f"- Policy, would hold deploy now: {code(text)}" for text in model.restraints]
    for trigger in model.triggers:
        following = f", next {next_time(trigger.next)}" if trigger.next else ""
        notes.append(f"- Retrain: {trigger.type} {code(trigger.text)}{following}".rstrip())
    notes += [f"- Warning: {code(str(warning))}" for warning in (model.warnings if plan.changes else ())]
    return "\n".join([*lines, *notes, "", "</details>"])


def _row(action: Action, model: PlannedModel) -> Sequence[str]:
    reason = why(action, model.plan, lambda: model.document)
    return (_SIGNS[kind_of(action)], code(action.step), what(action), code(reason))


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    header = ["| | step | | why |", "|---|---|---|---|"]
    return header + [f"| {' | '.join(row)} |" for row in rows]
