"""Rollouts in words: where one stands, what it waits for, what live traffic says. Pure."""

from __future__ import annotations

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
    if found.seen is not None and found.seen.consent is not None:
        rows.append(("approval", found.seen.consent.text))
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


def _next(rollout: Rollout, *, watched: bool) -> list[str]:
    name = rollout.model
    if rollout.phase is Phase.AWAITING:
        terms = rollout.strategy.approval
        verb = "promote" if terms is None or terms.informal else "approve"
        return [f"  Agree: engine {verb} {name}, or send it away: engine abort {name}"]
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
