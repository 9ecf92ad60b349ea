"""A retrain when another model of the project has a new release: `{type: upstream, model: embeddings}`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from engine.core.canonical import utc
from engine.core.records import EventKind
from engine.spec.fields import ModelName, TriggerBlock
from engine.triggers.decision import Decision, Due, NotDue, Unknown, spoken

if TYPE_CHECKING:
    from engine.triggers.facts import Facts


class Block(TriggerBlock):
    """`retrain_trigger: {type: upstream, model, event}`."""

    type: Literal["upstream"]
    """Retrain after another model."""
    model: ModelName
    """The other model."""
    event: Literal["registered", "deployed"] = "deployed"
    """What must have happened to it."""


def evaluate(block: Mapping[str, Any], facts: Facts) -> Decision:
    """Due when the other model has a release younger than what this one learned from, and than the last handling.

    The releases decide, not the events about them, so that one that got lost or came twice changes nothing; events
    that wait are taken up together with it.
    """
    other, what = block["model"], block["event"]
    release = facts.upstream.get(other)
    if release is None:
        return Unknown("upstream", f"{other} is not known here", {"model": other})
    happened = release.registered_at if what == "registered" else release.deployed_at
    if happened is None:
        return NotDue("upstream", f"no release of {other} is {what} yet", None, {"model": other})
    learned = facts.learned.taken_at if facts.learned else None
    seen = [at for at in (facts.past_of(block).handled_at, learned) if at is not None]
    since = max(seen, default=None)
    said = f"version {release.version} of {other} was {what} {spoken(happened)}"
    details = {
        "model": other,
        "event": what,
        "version": release.version,
        "at": utc(happened),
        "since": utc(since) if since else None,
    }
    if since is not None and happened <= since:
        return NotDue("upstream", f"{said}, before this model was last trained or looked at", None, details)
    waiting = tuple(event.id for event in facts.events if event.kind is EventKind.UPSTREAM)
    return Due("upstream", said, details, waiting, block["force"])
