"""What a model's triggers said, as text for a terminal. Pure."""

from __future__ import annotations

from engine.app.inspecting import Triggers
from engine.cli.tables import render_table
from engine.cli.words import count, one_line, table, when
from engine.core.records import Aftermath, TriggerEvaluation
from engine.triggers.decision import Held, spoken, status_of
from engine.triggers.evaluation import judged_of
from engine.triggers.group import Judged

_AFTERMATH = {
    None: "",
    Aftermath.RELEASED: "retrained, released",
    Aftermath.STOPPED: "retrained, stopped by a gate",
    Aftermath.FAILED: "the run failed",
    Aftermath.NOTHING_NEW: "nothing new to train on",
}
_LONGEST = 90  # characters of a reason in the history


def triggers_text(found: Triggers) -> str:
    """The last evaluation in full, then the history."""
    waiting = [f"{count(len(found.waiting), 'request')} waiting to be taken up"] if found.waiting else []
    if not found.evaluations:
        return "\n".join([f"The triggers of {found.model} were not looked at yet: engine up does.", *waiting])
    newest = found.evaluations[0]
    rows = trigger_rows(newest)
    lines = [f"{found.model}, looked at {when(newest.last_at)}", *(f"  {line}" for line in table(rows)), *waiting]
    history = render_table(
        ("since", "until", "times", "said", "why", "what came of it"), [_history(each) for each in found.evaluations]
    )
    return "\n".join([*lines, "", history])


def trigger_rows(evaluation: TriggerEvaluation) -> list[tuple[str, str, str]]:
    """Name, state and reason of each trigger and group."""
    return [_row(node, depth) for node, depth in _nodes(judged_of(evaluation), 0)]


def aftermath_text(evaluation: TriggerEvaluation) -> str:
    """What came of it: `retrained, released, run 2026…`; nothing for what was not due."""
    run = f", run {evaluation.run_id}" if evaluation.run_id else ""
    under_way = "under way" if evaluation.status == "due" and evaluation.aftermath is None else ""
    return _AFTERMATH[evaluation.aftermath] + run or under_way


def _nodes(judged: Judged, depth: int) -> list[tuple[Judged, int]]:
    return [(judged, depth), *(row for member in judged.members for row in _nodes(member, depth + 1))]


def _row(node: Judged, depth: int) -> tuple[str, str, str]:
    outcome = node.outcome
    until = f" until {spoken(outcome.until)}" if isinstance(outcome, Held) else ""
    why = f"{outcome.reason}; due: {outcome.due.reason}" if isinstance(outcome, Held) else outcome.reason
    name = outcome.trigger if not node.members else "together"
    return ("  " * depth + name, status_of(outcome).replace("_", " ") + until, why)


def _history(evaluation: TriggerEvaluation) -> tuple[str, ...]:
    return (
        when(evaluation.first_at),
        when(evaluation.last_at),
        f"{evaluation.count:,}",
        evaluation.status.replace("_", " "),
        one_line(judged_of(evaluation).outcome.reason, _LONGEST),
        aftermath_text(evaluation),
    )
