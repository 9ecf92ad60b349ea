"""The state's SQLite file, read with the standard library alone: what `engine plan` uses.

Opens the file read-only, on first use, and keeps the one connection; every call sees one consistent snapshot and
never waits for a writer. A file that does not exist is an empty state, and is not created. An older schema is migrated
where the reader is told how. Raises StateError for a schema that this version does not read, IntegrityError for a file
that is not a state.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from engine.adapters.state.queries import REVISION, SCHEMA_HEAD, Fetch, Row, StateQueries
from engine.errors import IntegrityError, StateError


class SqliteStateReader(StateQueries):
    """StateReader and HistoryReader of a SQLite file. `migrate` brings the file to the current schema."""

    def __init__(self, path: Path, migrate: Callable[[], object] | None = None) -> None:
        self._path = path
        self._migrate = migrate
        self._connection: sqlite3.Connection | None = None

    def close(self) -> None:
        """Close the connection; the next call opens it again."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    @contextmanager
    def _snapshot(self) -> Iterator[Fetch | None]:
        connection = self._open()
        if connection is None:
            yield None
            return
        try:
            connection.execute("BEGIN")
            try:
                yield self._fetch
            finally:
                connection.rollback()
        except sqlite3.DatabaseError as error:
            raise _unreadable(self._path, error) from error

    def _fetch(self, sql: str, parameters: Mapping[str, Any]) -> Sequence[Row]:
        assert self._connection is not None
        return self._connection.execute(sql, parameters).fetchall()

    def _open(self) -> sqlite3.Connection | None:
        if self._connection is None and self._path.exists():
            connection, revision = self._looked_at()
            if revision != SCHEMA_HEAD and self._migrate is not None:
                connection.close()
                self._migrate()
                connection, revision = self._looked_at()
            if revision != SCHEMA_HEAD:
                connection.close()
                raise StateError(
                    f"{self._path} has schema {revision or 'none'}, this version reads {SCHEMA_HEAD}",
                    remedy="An older state is migrated by engine plan; for a newer one, upgrade engine.",
                )
            self._connection = connection
        return self._connection

    def _looked_at(self) -> tuple[sqlite3.Connection, str | None]:
        """A connection and the file's schema."""
        try:
            connection = _connect(self._path)
            row = connection.execute(REVISION).fetchone()
        except sqlite3.DatabaseError as error:
            raise _unreadable(self._path, error) from error
        return connection, row[0] if row else None


def _connect(path: Path) -> sqlite3.Connection:
    location = f"file:{quote(str(path.absolute()))}?mode=ro"
    connection = sqlite3.connect(location, uri=True, isolation_level=None, timeout=10, check_same_thread=False)
    try:
        connection.execute("SELECT 1 FROM sqlite_master").fetchone()
    except sqlite3.OperationalError:
        connection.close()
        # In a folder that cannot be written SQLite cannot make the index of the write-ahead log. When there is no
        # log either, nobody is writing, and the file alone is the whole state.
        if path.with_name(path.name + "-wal").exists():
            raise
        return sqlite3.connect(location + "&immutable=1", uri=True, isolation_level=None, check_same_thread=False)
    return connection


def _unreadable(path: Path, error: sqlite3.DatabaseError) -> IntegrityError:
    return IntegrityError(
        f"{path} cannot be read as a state: {error}",
        remedy="Restore a backup of it, or move it away to start with an empty state.",
    )
