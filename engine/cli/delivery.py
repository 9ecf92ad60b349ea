"""Rollouts in words and as JSON: where one stands, what it waits for, what live traffic says. Pure."""

from __future__ import annotations

from typing import Any

import click

from engine.app.delivering import Progress
from engine.cli.plan_text import endpoint_text
from engine.cli.reasons import detection_text
from engine.cli.words import percent, table, when
from engine.core.rollout import Phase, Rollout

_COLORS = {Phase.PROMOTED: "green", Phase.ABORTED: "red", Phase.SUPERSEDED: "yellow", Phase.PAUSED: "yellow"}
_VERDICTS = {"pass": "green", "fail": "red", "error": "red"}


def stage_text(rollout: Rollout) -> str:
    """`canary stage 2 of 4 (25%), progressing`; how it ended, for one that has."""
    if not rollout.is_open:
        return f"{_name(rollout)} {rollout.phase.value}"
    stage = rollout.present
    shares = [percent(stage.weight)] if stage.weight else ["no traffic"]
    if stage.mirror:
        shares.append(f"copies of {percent(stage.mirror)}")
    where = f"{_name(rollout)} stage {rollout.stage + 1} of {len(rollout.strategy.stages)} ({', '.join(shares)})"
    return f"{where}, {rollout.phase.value.replace('_', ' ')}"


def headline(found: Progress) -> str:
    """One line: it changes whenever something does that matters to a watcher."""
    rollout = found.rollout
    if rollout is None:
        return f"{found.model}: {endpoint_text(found.endpoint)}"
    text = f"{found.model}: version {rollout.candidate}, {stage_text(rollout)}"
    return f"{text}: {rollout.reason}" if rollout.reason and rollout.phase is not Phase.PROGRESSING else text


def progress_text(found: Progress, *, watched: bool = False) -> str:
    """All there is to say of a model's delivery, without a line break at its end; less to one who watches already."""
    head = headline(found)
    rollout = found.rollout
    if rollout is None:
        return head
    rows = [("started", when(rollout.started_at)), ("beside", f"version {rollout.base}")]
    if rollout.began_at:
        rows.append(("in stage", f"since {when(rollout.began_at)}"))
    if found.seen is not None:
        rows.append(("candidate", found.seen.readiness.value))
        rows.append(("evidence", found.seen.why or "none yet"))
    if found.detection is not None:
        rows.append(("detects", detection_text(found.detection)))
    if not rollout.is_open:
        rows.append(("now", endpoint_text(found.endpoint)))
    lines = [_styled(head, rollout), *(f"  {line}" for line in table(rows))]
    return "\n".join([*lines, *(f"  {line}" for line in guardrail_rows(found)), *_next(rollout, watched=watched)])


def guardrail_rows(found: Progress) -> list[str]:
    """`pass  errors: 3 of 800 (0.38%), …`, one line for each guardrail."""
    if found.assessment is None:
        return []
    guardrails = found.assessment.guardrails
    lines = table([(each.verdict.value, each.text + ("" if each.decides else " (report only)")) for each in guardrails])
    return [
        click.style(line[: len(each.verdict.value)], fg=_VERDICTS.get(each.verdict.value, "yellow"))
        + line[len(each.verdict.value) :]
        for each, line in zip(guardrails, lines, strict=True)
    ]


def progress_document(found: Progress) -> dict[str, Any]:
    """The same for other programs."""
    assessment = found.assessment
    return {
        "model": found.model,
        "endpoint": dict(vars(found.endpoint)) if found.endpoint else None,
        "rollout": rollout_document(found.rollout) if found.rollout else None,
        "readiness": found.seen.readiness.value if found.seen else None,
        "verdict": found.seen.verdict.value if found.seen else None,
        "why": found.seen.why if found.seen else None,
        "detects": None if found.detection is None else dict(vars(found.detection)),
        "evidence": None
        if assessment is None
        else {
            "requests": assessment.requests,
            "needed": assessment.needed,
            "guardrails": [
                {"name": each.name, "verdict": each.verdict.value, "text": each.text, "decides": each.decides}
                for each in assessment.guardrails
            ],
        },
    }


def rollout_document(rollout: Rollout) -> dict[str, Any]:
    """A rollout as JSON."""
    strategy = rollout.strategy
    return {
        "number": rollout.number,
        "candidate": rollout.candidate,
        "base": rollout.base,
        "strategy": strategy.name,
        "phase": rollout.phase.value,
        "stage": rollout.stage + 1,
        "stages": [dict(vars(stage)) for stage in strategy.stages],
        "approval": strategy.approval,
        "started_at": rollout.started_at,
        "changed_at": rollout.changed_at,
        "began_at": rollout.began_at,
        "passed": rollout.passed,
        "reason": rollout.reason,
    }


def _next(rollout: Rollout, *, watched: bool) -> list[str]:
    name = rollout.model
    if rollout.phase is Phase.AWAITING:
        return [f"  Agree: engine promote {name}, or send it away: engine abort {name}"]
    if rollout.phase is Phase.PAUSED:
        return [f"  Go on: engine rollout resume {name}, or send it away: engine abort {name}"]
    if rollout.phase is Phase.ABORTED:
        return [f"  It is parked until its spec, data or code changes, or: engine rollout retry {name}"]
    return [f"  Carry it on: engine rollout watch {name}"] if rollout.is_open and not watched else []


def _name(rollout: Rollout) -> str:
    return rollout.strategy.name.replace("_", " ")


def _styled(text: str, rollout: Rollout) -> str:
    name, colon, rest = text.partition(":")
    return click.style(name, bold=True) + colon + click.style(rest, fg=_COLORS.get(rollout.phase))
