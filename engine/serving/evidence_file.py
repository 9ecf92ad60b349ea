"""Tallies in a SQLite file: the gateway adds, the analysis reads. Neither waits for the other for long."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import fields
from pathlib import Path
from typing import Any

from engine.core.evidence import BINS, Tally

_FIELDS = [field.name for field in fields(Tally) if field.name != "scores"]
_SCORES = [f"score_{number}" for number in range(BINS)]
_COLUMNS = [*_FIELDS, *_SCORES]
_TEXTS = frozenset({"model", "role", "at"})
_KEY = ("model", "generation", "version", "role", "weight")


class EvidenceFile:
    """Tallies by model. Opened for each call: at twice a second that costs nothing, and leaves no connection open."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def add(self, tallies: Iterable[Tally]) -> None:
        """Append, in one transaction. Raises sqlite3.Error."""
        rows = list(tallies)
        if not rows:
            return
        with closing(self._open()) as connection, connection:
            insert(connection, rows)

    def tallies(self, model: str, since_generation: int = 0) -> Sequence[Tally]:
        """The tallies of a model from a generation on, oldest first, added up by moment; none when there is no file."""
        if not self._path.exists():
            return []
        sums = ", ".join(f"sum({name})" if name not in (*_KEY, "at") else name for name in _COLUMNS)
        with closing(self._open()) as connection:
            found = connection.execute(
                f"SELECT {sums} FROM tallies WHERE model = ? AND generation >= ? "  # noqa: S608 - constants
                f"GROUP BY {', '.join(_KEY)}, at ORDER BY min(rowid)",
                (model, since_generation),
            ).fetchall()
        return [_tally(row) for row in found]

    def condense(self, before: str) -> None:
        """Add up what is older than `before` (UTC) by minute: the analysis needs the sums at each weight."""
        sums = [name for name in _COLUMNS if name not in (*_KEY, "at")]
        totals = ", ".join(f"sum({name})" for name in sums)
        key = ", ".join(_KEY)
        with closing(self._open()) as connection, connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute(
                "CREATE TEMP TABLE condensed AS "  # noqa: S608 - constants
                f"SELECT {key}, min(at) AS at, {totals} FROM tallies WHERE at < ? GROUP BY {key}, substr(at, 1, 16)",
                (before,),
            )
            connection.execute("DELETE FROM tallies WHERE at < ?", (before,))
            connection.execute(
                f"INSERT INTO tallies ({key}, at, {', '.join(sums)}) SELECT * FROM condensed ORDER BY at"  # noqa: S608
            )

    def _open(self) -> sqlite3.Connection:
        return open_evidence(self._path)


def open_evidence(path: Path, *, synchronous: str = "NORMAL") -> sqlite3.Connection:
    """A connection to the file, which is made if it is not there. Raises sqlite3.Error."""
    connection = sqlite3.connect(path, timeout=5)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute(f"PRAGMA synchronous = {synchronous}")
    kinds = ", ".join(f"{name} {'TEXT' if name in _TEXTS else 'NUMERIC'} NOT NULL" for name in _COLUMNS)
    connection.execute(f"CREATE TABLE IF NOT EXISTS tallies ({kinds})")
    if not _has_timed(connection):
        with connection:  # a file of before latencies were counted by key
            connection.execute("BEGIN IMMEDIATE")
            if not _has_timed(connection):
                connection.execute("ALTER TABLE tallies ADD COLUMN timed NUMERIC NOT NULL DEFAULT 0")
                connection.execute("UPDATE tallies SET timed = requests - errors")
    connection.execute("CREATE INDEX IF NOT EXISTS tallies_of ON tallies (model, generation)")
    return connection


def _has_timed(connection: sqlite3.Connection) -> bool:
    found = connection.execute("SELECT 1 FROM pragma_table_info('tallies') WHERE name = 'timed'").fetchone()
    return found is not None


def insert(connection: sqlite3.Connection, tallies: Iterable[Tally]) -> None:
    """Append within the connection's transaction. Raises sqlite3.Error."""
    connection.executemany(
        f"INSERT INTO tallies ({', '.join(_COLUMNS)}) VALUES ({', '.join('?' * len(_COLUMNS))})",  # noqa: S608
        [_row(tally) for tally in tallies],
    )


def _row(tally: Tally) -> list[Any]:
    return [*(getattr(tally, name) for name in _FIELDS), *tally.scores]


def _tally(row: Sequence[Any]) -> Tally:
    own = dict(zip(_FIELDS, row, strict=False))
    floats = {name: float(own[name]) for name in own if Tally.__annotations__[name] == "float"}
    return Tally(**{**own, **floats}, scores=tuple(row[len(_FIELDS) :]))
