"""What an earlier plan worked out: validated documents by the digest of their text, and memos of empty plans.

A SQLite file that may be deleted at any time; one that is missing, broken, locked or read-only costs the work
again and is never an error. Standard library alone: it is on every plan's path.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping
from contextlib import closing, suppress
from pathlib import Path
from typing import Any, NamedTuple

_CREATE = (
    "CREATE TABLE IF NOT EXISTS documents (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS memos (file TEXT PRIMARY KEY, spec_key TEXT, world_key TEXT, serial INTEGER,"
    " expires TEXT, watched TEXT, payload TEXT) WITHOUT ROWID",
)
_DOCUMENTS_KEPT = 50_000


class Memo(NamedTuple):
    """The plan of one spec file that had nothing to do, and all that it depended on.

    `watched` holds paths with their stat, as JSON; after `expires` (UTC) a trigger's next time has come.
    """

    file: str
    spec_key: str
    world_key: str
    serial: int
    expires: str | None
    watched: str
    payload: str


class Cache:
    """One cache file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def documents(self, keys: Iterable[str]) -> dict[str, str]:
        """The stored documents among `keys`."""
        found: dict[str, str] = {}
        wanted = list(keys)
        with suppress(sqlite3.Error):
            for at in range(0, len(wanted), 500):
                some = wanted[at : at + 500]
                marks = ",".join("?" * len(some))
                found.update(self._read(f"SELECT key, value FROM documents WHERE key IN ({marks})", some))  # noqa: S608
        return found

    def memos(self, files: Iterable[str]) -> dict[str, Memo]:
        """The memos of `files`."""
        wanted = set(files)
        query = "SELECT file, spec_key, world_key, serial, expires, watched, payload FROM memos"
        with suppress(sqlite3.Error):
            if len(wanted) == 1:
                return {row[0]: Memo(*row) for row in self._read(f"{query} WHERE file = ?", list(wanted))}
            return {row[0]: Memo(*row) for row in self._read(query, []) if row[0] in wanted}
        return {}

    def keep(self, documents: Mapping[str, str], memos: Iterable[Memo]) -> None:
        """Store documents and memos."""
        rows = list(memos)
        if not documents and not rows:
            return
        with suppress(sqlite3.Error, OSError):
            self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with closing(sqlite3.connect(self._path, timeout=0.5)) as connection, connection:
                connection.execute(
                    "PRAGMA synchronous=OFF"
                )  # first: a new file's change to WAL would wait for the disk
                connection.execute("PRAGMA journal_mode=WAL")
                for statement in _CREATE:
                    connection.execute(statement)
                connection.executemany("INSERT OR REPLACE INTO documents VALUES (?,?)", documents.items())
                connection.executemany("INSERT OR REPLACE INTO memos VALUES (?,?,?,?,?,?,?)", rows)
                connection.execute(
                    "DELETE FROM documents WHERE (SELECT count(*) FROM documents) > ?", (_DOCUMENTS_KEPT,)
                )

    def _read(self, query: str, parameters: list[str]) -> list[tuple[Any, ...]]:
        if not self._path.exists():
            return []
        with closing(sqlite3.connect(f"{self._path.as_uri()}?mode=ro", uri=True, timeout=0.2)) as connection:
            return connection.execute(query, parameters).fetchall()
