"""Whatever is done to an audit log, the chain shows it."""

from __future__ import annotations

import sqlite3
from dataclasses import fields, replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.adapters.state.store import SqlStateStore
from engine.core.audit import ChainHead, event_hash, next_event, verify_chain
from engine.core.records import AuditEvent

TEXT = st.text('aé0\n"', max_size=4)
DETAILS = st.dictionaries(TEXT, st.one_of(st.integers(), TEXT, st.none()), max_size=3)


@st.composite
def chains(draw: st.DrawFn, least: int = 0) -> tuple[list[AuditEvent], ChainHead]:
    head, events = ChainHead(0, ""), []
    for _ in range(draw(st.integers(least, 8))):
        event = next_event(head, draw(TEXT), draw(TEXT), draw(TEXT), draw(TEXT), draw(DETAILS))
        events.append(event)
        head = ChainHead(event.sequence, event.hash)
    return events, head


@given(chains())
def test_an_untouched_chain_is_intact(chain: tuple[list[AuditEvent], ChainHead]) -> None:
    events, head = chain
    assert verify_chain(events, head) == ()
    kept = [ChainHead(event.sequence, event.hash) for event in events]
    assert verify_chain(events, ChainHead(0, ""), *kept) == ()


@given(chains(least=1), st.data())
def test_any_single_change_is_found(chain: tuple[list[AuditEvent], ChainHead], data: st.DataObject) -> None:
    events, _ = chain
    position = data.draw(st.integers(0, len(events) - 1))
    name = data.draw(st.sampled_from([field.name for field in fields(AuditEvent)]))
    values = {"sequence": st.integers(), "details": DETAILS}.get(name, TEXT)
    old = events[position]
    value = data.draw(values.filter(lambda value: value != getattr(old, name)))
    events[position] = replace(old, **{name: value})
    assert verify_chain(events)


@given(chains(least=2), st.data())
def test_a_deletion_or_reordering_is_found(chain: tuple[list[AuditEvent], ChainHead], data: st.DataObject) -> None:
    events, head = chain
    position = data.draw(st.integers(0, len(events) - 2))
    assert verify_chain(events[:position] + events[position + 1 :])
    swapped = [*events]
    swapped[position], swapped[position + 1] = swapped[position + 1], swapped[position]
    assert verify_chain(swapped)
    assert verify_chain(events[: position + 1], head)


@given(chains(least=2), st.data())
def test_a_chain_rewritten_with_good_hashes_differs_from_the_kept_head(
    chain: tuple[list[AuditEvent], ChainHead], data: st.DataObject
) -> None:
    events, head = chain
    position = data.draw(st.integers(0, len(events) - 1))
    rewritten, previous = events[:position], events[position].previous_hash
    for event in events[position:]:
        forged = replace(event, actor=event.actor + "!", previous_hash=previous)
        forged = replace(forged, hash=event_hash(forged))
        rewritten.append(forged)
        previous = forged.hash
    assert verify_chain(rewritten) == ()
    assert verify_chain(rewritten, head)


@pytest.mark.parametrize(
    "tampering",
    [
        "UPDATE audit SET actor = 'nobody' WHERE sequence = 3",
        "UPDATE audit SET details = replace(details, 'T', 'X') WHERE sequence = 5",
        "DELETE FROM audit WHERE sequence = 2",
        "DELETE FROM audit WHERE sequence >= 4",
        "DELETE FROM audit",
        "UPDATE audit SET sequence = sequence + 10 WHERE sequence = 5",
    ],
)
def test_a_tampered_table_is_found(tmp_path: Path, tampering: str) -> None:
    store = SqlStateStore(f"sqlite:///{tmp_path}/state.db")
    for number in range(5):
        store.redeem(f"plan{number}", "2026-01-01T00:00:00.000000Z")
    assert verify_chain(store.audit(), store.audit_head()) == ()
    store.close()
    connection = sqlite3.connect(tmp_path / "state.db", isolation_level=None)
    connection.execute(tampering)
    connection.close()
    assert verify_chain(store.audit(), store.audit_head())
    store.close()
