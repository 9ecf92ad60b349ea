"""An evaluation of a model's triggers as a record for the state, and what the records say of the past. Pure.

    judged = group.evaluate(block, facts, kinds.TRIGGERS)
    stored = store.record(lease, record_of(judged, facts))
    … if stored.status is "due": retrain, then store.settle(lease, stored.sequence, aftermath, run_id)
    next time: facts.past = past_of(store.evaluations(model), store.evaluations(model, due_only=True))

The document (`format_version` 1): `{"format_version", "model", "at", "inputs", "judged"}`; `judged` is a tree of
`{"key", "outcome", "members"}` with `decision.outcome_json` as outcome, `inputs` what the triggers looked at.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from engine.core.canonical import Json, digest, short, utc
from engine.core.records import Aftermath, TriggerEvaluation
from engine.triggers.decision import Due, Held, moment, outcome_json, outcome_of, status_of
from engine.triggers.facts import Facts, Past, Snapshot
from engine.triggers.group import Judged

FORMAT_VERSION = 1
SHOWN = 20  # windows and events among the inputs


def record_of(judged: Judged, facts: Facts) -> TriggerEvaluation:
    """What the store keeps."""
    at = utc(facts.now)
    document: dict[str, Json] = {
        "format_version": FORMAT_VERSION,
        "model": facts.model,
        "at": at,
        "inputs": inputs_of(facts),
        "judged": judged_json(judged),
    }
    signature = short(digest(_signature(judged)))
    return TriggerEvaluation(facts.model, status_of(judged.outcome), signature, document, at, at)


def judged_of(evaluation: TriggerEvaluation) -> Judged:
    """What a stored evaluation said."""
    document: Mapping[str, Any] = evaluation.document
    return _judged(document["judged"])


def judged_json(judged: Judged) -> dict[str, Any]:
    """The tree of what was said."""
    return {
        "key": judged.key,
        "outcome": outcome_json(judged.outcome),
        "members": [judged_json(member) for member in judged.members],
    }


def past_of(newest: Iterable[TriggerEvaluation], due: Iterable[TriggerEvaluation]) -> dict[str, Past]:
    """The past of every trigger and group of one model, by key.

    `newest` are its evaluations newest first, as many as one likes (the first tells what is held); `due` those that
    were due, newest first, at least as many as the longest budget counts.
    """
    past: dict[str, Past] = {}
    for position, evaluation in enumerate(newest):
        for node in _nodes(judged_of(evaluation)):
            known = past.get(node.key, Past())
            held = node.outcome if position == 0 and isinstance(node.outcome, Held) else known.held
            past[node.key] = replace(known, first_seen_at=moment(evaluation.first_at), held=held)
    for evaluation in due:
        if evaluation.aftermath is None:
            continue
        at = moment(evaluation.last_at)
        for node in _answered(judged_of(evaluation)):
            known = past.get(node.key, Past(first_seen_at=at))
            counts = isinstance(node.outcome, Due) and evaluation.aftermath is not Aftermath.NOTHING_NEW
            retrains = (*known.retrains, at) if counts else known.retrains
            past[node.key] = replace(known, handled_at=known.handled_at or at, retrains=retrains)
    return past


def _answered(judged: Judged) -> list[Judged]:
    """What a retrain answers: what made it due, and what was held meanwhile."""
    if not isinstance(judged.outcome, Due | Held):
        return []
    return [judged, *(node for member in judged.members for node in _answered(member))]


def inputs_of(facts: Facts) -> dict[str, Any]:
    """What the triggers looked at, short enough to be kept each time."""
    champion, learned, data = facts.champion, facts.learned, facts.data
    return {
        "champion": {"version": champion.version, "live_since": utc(champion.live_since)} if champion else None,
        "learned": _snapshot(learned) if learned else None,
        "data": {"digest": data.digest, "rows": data.rows} if data else None,
        "windows": [window.id for window in facts.windows[:SHOWN]],
        "events": [event.id for event in facts.events[:SHOWN]],
        "upstream": {
            name: {
                "version": release.version,
                "registered_at": utc(release.registered_at),
                "deployed_at": _text(release.deployed_at),
            }
            for name, release in sorted(facts.upstream.items())
        },
    }


def _snapshot(snapshot: Snapshot) -> dict[str, Json]:
    return {"digest": snapshot.digest, "rows": snapshot.rows, "taken_at": utc(snapshot.taken_at)}


def _text(at: datetime | None) -> str | None:
    return utc(at) if at else None


def _judged(document: Mapping[str, Any]) -> Judged:
    members = tuple(map(_judged, document["members"]))
    return Judged(document["key"], outcome_of(document["outcome"]), members)


def _nodes(judged: Judged) -> list[Judged]:
    return [judged, *(node for member in judged.members for node in _nodes(member))]


def _signature(judged: Judged) -> Json:
    """What makes two evaluations the same: what each trigger came to and its count of alarms, not every figure."""
    outcome = judged.outcome
    due = outcome.due if isinstance(outcome, Held) else outcome
    alarms = due.details.get("alarms")
    events = sorted(due.events) if isinstance(due, Due) else []
    return [judged.key, status_of(outcome), alarms, events, [_signature(member) for member in judged.members]]
