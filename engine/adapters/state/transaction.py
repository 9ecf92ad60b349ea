"""What a write may do inside its transaction: read, change rows, move the serial, append to the audit log.

Made and committed by `Database.write` alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from engine.adapters.state.queries import Row
from engine.core.audit import ChainHead, next_event
from engine.core.canonical import Json, canonical_json


class Transaction:
    """An open transaction. The state's serial moves once, at the first change of a transaction."""

    def __init__(self, run: Callable[[str, Mapping[str, Any]], Any], now: str) -> None:
        self._run = run
        self.now = now
        self._moved = False

    def fetch(self, sql: str, parameters: Mapping[str, Any]) -> Sequence[Row]:
        """The rows of a query."""
        rows: Sequence[Row] = self._run(sql, parameters).fetchall()
        return rows

    def execute(self, sql: str, parameters: Mapping[str, Any]) -> None:
        """Change rows without moving the serial: leases are not part of the state's content."""
        self._run(sql, parameters)

    def touch(self, model: str | None = None) -> None:
        """Move the serial, and the model's with it."""
        if not self._moved:
            self._run("UPDATE meta SET serial = serial + 1", {})
            self._moved = True
        if model is not None:
            self._run("UPDATE models SET serial = (SELECT serial FROM meta) WHERE name = :model", {"model": model})

    def record(self, actor: str, event: str, subject: str, details: Mapping[str, Json]) -> None:
        """Append an audit event."""
        head = ChainHead(*self.fetch("SELECT audit_count, audit_head FROM meta", {})[0])
        new = next_event(head, self.now, actor, event, subject, details)
        self._run(
            "INSERT INTO audit (sequence, at, actor, event, subject, details, previous_hash, hash) VALUES"
            " (:sequence, :at, :actor, :event, :subject, :details, :previous_hash, :hash)",
            {
                "sequence": new.sequence,
                "at": new.at,
                "actor": actor,
                "event": event,
                "subject": subject,
                "details": canonical_json(details),
                "previous_hash": new.previous_hash,
                "hash": new.hash,
            },
        )
        self._run("UPDATE meta SET audit_count = :count, audit_head = :head", {"count": new.sequence, "head": new.hash})
