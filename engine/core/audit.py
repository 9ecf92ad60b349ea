"""The hash chain of the audit log. Pure: events in, findings out.

Each event's hash covers everything in it and the hash before it, so an alteration, a deletion in the middle or a
reordering breaks the chain. A cut at the end leaves a valid shorter chain: it is found by comparing with a
`ChainHead` that was kept elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from engine.core.canonical import Json, digest
from engine.core.records import AuditEvent


@dataclass(frozen=True)
class ChainHead:
    """How many events a chain has and the hash of the last one ("" for none)."""

    count: int
    hash: str


def event_hash(event: AuditEvent) -> str:
    """The hash that an event must carry."""
    return digest(
        {
            "sequence": event.sequence,
            "at": event.at,
            "actor": event.actor,
            "event": event.event,
            "subject": event.subject,
            "details": event.details,
            "previous_hash": event.previous_hash,
        }
    )


def next_event(
    head: ChainHead, at: str, actor: str, event: str, subject: str, details: Mapping[str, Json]
) -> AuditEvent:
    """The event that follows `head`, with its hash. `at` is UTC in ISO 8601."""
    draft = AuditEvent(head.count + 1, at, actor, event, subject, details, head.hash, "")
    return AuditEvent(draft.sequence, at, actor, event, subject, details, draft.previous_hash, event_hash(draft))


def verify_chain(events: Iterable[AuditEvent], *heads: ChainHead) -> tuple[str, ...]:
    """What is wrong with a whole chain, in order, one sentence each; empty when it is intact.

    `events` start at the first one. Each of `heads` is one that the chain had at some time: it must still contain it.
    """
    problems: list[str] = []
    hashes = [""]
    for position, event in enumerate(events, start=1):
        if event.sequence != position:
            problems.append(f"event {position} is numbered {event.sequence}: events are missing or out of order")
        if event.previous_hash != hashes[-1]:
            problems.append(f"event {position} does not follow the event before it")
        if event_hash(event) != event.hash:
            problems.append(f"event {position} was altered after it was written")
        hashes.append(event.hash)
    for head in heads:
        if head.count >= len(hashes):
            problems.append(f"the log ends after {len(hashes) - 1} events, but it had {head.count}")
        elif hashes[head.count] != head.hash:
            problems.append(f"event {head.count} is not the one that was written")
    return tuple(problems)
