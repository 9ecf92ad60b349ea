"""The whole `retrain_trigger` of a model: nested groups, and what may hold back what is due. Pure.

`evaluate(block, facts, kinds)` is what the loop asks. `any_of` is due when one member is; `all_of` when all are, and a
member that is unknown keeps it from that. What is due may be held: by a cooldown or a budget of the trigger or of a
group around it, by quiet hours, by a freeze. Held is not lost: it stays due until it was handled or something was
trained meanwhile, even when its cause passes.

A person may always ask: a manual request counts in every model, and nothing holds it but the options of a `manual`
trigger that the spec itself has.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from engine.triggers.decision import Decision, Due, Held, NotDue, Outcome, Unknown, spoken
from engine.triggers.facts import Facts, Past, key_of
from engine.triggers.holding import hold

Table: TypeAlias = Mapping[str, Callable[[Mapping[str, Any], Facts], Decision]]

ON_REQUEST: Mapping[str, Any] = {"type": "manual", "cooldown": None, "budget": None, "force": False}
"""What every model has, also one without a `retrain_trigger`."""


@dataclass(frozen=True)
class Judged:
    """A trigger or a group with what was said of it. `key`: `facts.key_of` its block. A trigger has no members."""

    key: str
    outcome: Outcome
    members: tuple[Judged, ...] = ()


def evaluate(block: Mapping[str, Any] | None, facts: Facts, kinds: Table) -> Judged:
    """Whether a retrain of a model is due now. `block`: its resolved `retrain_trigger`; `kinds`: kinds.TRIGGERS."""
    if block is None:
        return _trigger(ON_REQUEST, facts, kinds)
    judged = _judge(block, facts, kinds)
    if _asks_for_requests(block) or isinstance(judged.outcome, Due):
        return judged
    asked = _trigger(ON_REQUEST, facts, kinds)
    if not isinstance(asked.outcome, Due):
        return judged
    outcome = replace(asked.outcome, trigger="any_of", reason=f"manual: {asked.outcome.reason}")
    return Judged(judged.key, outcome, (*judged.members, asked))


def leaves(judged: Judged) -> Sequence[Judged]:
    """The triggers themselves, without the groups."""
    return [leaf for member in judged.members for leaf in leaves(member)] if judged.members else [judged]


def _asks_for_requests(block: Mapping[str, Any]) -> bool:
    members = [*block.get("any_of", ()), *block.get("all_of", ())]
    return any(map(_asks_for_requests, members)) if members else block["type"] == "manual"


def _judge(block: Mapping[str, Any], facts: Facts, kinds: Table) -> Judged:
    name = next((name for name in ("any_of", "all_of") if name in block), None)
    if name is None:
        return _trigger(block, facts, kinds)
    members = tuple(_judge(member, facts, kinds) for member in block[name])
    alone = len(members) == 1  # then the group has nothing to add
    decision = members[0].outcome if alone else (_any_of if name == "any_of" else _all_of)(members)
    return Judged(key_of(block), _held_back(block, decision, facts), members)


def _trigger(block: Mapping[str, Any], facts: Facts, kinds: Table) -> Judged:
    return Judged(key_of(block), _held_back(block, kinds[block["type"]](block, facts), facts))


# ── several as one ───────────────────────────────────────────────────────────────────────────────────────────


def _any_of(members: Sequence[Judged]) -> Outcome:
    outcomes = [member.outcome for member in members]
    if due := [outcome for outcome in outcomes if isinstance(outcome, Due)]:
        return _together("any_of", due)
    if held := [outcome for outcome in outcomes if isinstance(outcome, Held)]:
        first = min(held, key=lambda each: each.until)
        return replace(first, trigger="any_of", reason=f"{first.trigger}: {first.reason}")
    if all(isinstance(outcome, Unknown) for outcome in outcomes):
        return Unknown("any_of", _said(outcomes))
    times = [outcome.next_at for outcome in outcomes if isinstance(outcome, NotDue) and outcome.next_at]
    return NotDue("any_of", _said(outcomes), min(times, default=None))


def _all_of(members: Sequence[Judged]) -> Outcome:
    outcomes = [member.outcome for member in members]
    due = [outcome for outcome in outcomes if isinstance(outcome, Due)]
    if len(due) == len(outcomes):
        return _together("all_of", due)
    if waiting := [outcome for outcome in outcomes if isinstance(outcome, NotDue)]:
        times = [outcome.next_at for outcome in waiting]
        known = [at for at in times if at is not None]
        return NotDue("all_of", _said(outcomes), max(known) if len(known) == len(times) else None)
    if unknown := [outcome for outcome in outcomes if isinstance(outcome, Unknown)]:
        return Unknown("all_of", _said(unknown))
    held = [outcome for outcome in outcomes if isinstance(outcome, Held)]
    last = max(held, key=lambda each: each.until)
    whole = _together("all_of", [*due, *(outcome.due for outcome in held)])
    return Held("all_of", f"{last.trigger}: {last.reason}", last.until, last.since, whole)


def _together(trigger: str, due: Sequence[Due]) -> Due:
    """Several due as one: every event is taken up, and one that forces is enough."""
    events = tuple(dict.fromkeys(event for each in due for event in each.events))
    return Due(trigger, "; ".join(map(_named, due)), {}, events, any(each.force for each in due))


def _said(outcomes: Sequence[Outcome]) -> str:
    return "; ".join(map(_named, outcomes))


def _named(outcome: Outcome) -> str:
    if outcome.trigger in ("any_of", "all_of"):
        return f"({outcome.reason})"
    unknown = "unknown, " if isinstance(outcome, Unknown) else ""
    return f"{outcome.trigger}: {unknown}{outcome.reason}"


# ── what holds back ──────────────────────────────────────────────────────────────────────────────────────────


def _held_back(block: Mapping[str, Any], outcome: Outcome, facts: Facts) -> Outcome:
    """What is due, or was due and has waited since, held while an option of the block says so."""
    if isinstance(outcome, Held):
        return outcome
    past = facts.past_of(block)
    since = facts.now
    waited = _still_waits(past, facts)
    if waited is not None:
        since = waited.since
        if not isinstance(outcome, Due):
            pending = {event.id for event in facts.events}
            outcome = replace(
                waited.due,
                reason=f"{waited.due.reason} (since {spoken(since)})",
                events=tuple(event for event in waited.due.events if event in pending),
            )
    if not isinstance(outcome, Due):
        return outcome
    holding = hold(block, past, facts.now)
    return outcome if holding is None else Held(outcome.trigger, holding.reason, holding.until, since, outcome)


def _still_waits(past: Past, facts: Facts) -> Held | None:
    """What was held when it was last looked at, unless something was trained, or it was handled, since."""
    held = past.held
    if held is None:
        return None
    if past.handled_at is not None and past.handled_at >= held.since:
        return None
    if facts.attempted is not None and facts.attempted.taken_at > held.since:
        return None
    pending = {event.id for event in facts.events}
    asked_only = bool(held.due.events) and not pending.intersection(held.due.events)
    return None if asked_only else held
