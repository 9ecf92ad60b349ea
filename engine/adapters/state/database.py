"""Connections and transactions: the one place that knows SQLite from PostgreSQL.

`Database.write` runs a function in a durable transaction, one writer at a time: SQLite by BEGIN IMMEDIATE, PostgreSQL
by locking the `meta` row. A busy database is waited for, and one that went away before COMMIT is sought again; so the
function may run again, and must act only on its transaction. Either `write` returns and everything is there, or it
raises and nothing is. Only when PostgreSQL vanished at COMMIT and does not come back is the outcome unknown, and then
the error says so. Statements are text with `:names`, compiled once and handed to the driver, because a step's whole
commit is measured in tenths of a millisecond.
"""

from __future__ import annotations

import errno
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa
import tenacity

from engine.adapters.state.queries import Fetch
from engine.adapters.state.transaction import Transaction
from engine.errors import EngineError, IntegrityError, StateError, TransientError
from engine.failpoints import failpoint

T = TypeVar("T")

PATIENCE_SECONDS = 120.0
"""How long to wait for other writers, or for a server to come back."""

_WRITER_KEPT = timedelta(days=30)


class _TryAgainError(Exception):
    """Nothing was written, and another attempt may succeed."""


class Database:
    """A state database with the current schema, and one connection to it. Safe to share between threads."""

    def __init__(self, url: sa.URL, now: Callable[[], str]) -> None:
        self._now = now
        self._is_sqlite = url.get_backend_name() == "sqlite"
        self._engine = connect(url)
        self._dbapi = self._engine.dialect.loaded_dbapi
        self._lock = threading.RLock()
        self._connection: Any = None  # the driver's
        self._pooled: Any = None
        self._compiled: dict[str, tuple[str, tuple[str, ...] | None]] = {}
        self._writer = uuid.uuid4().hex
        self._writer_known = False
        self._file = Path(url.database or "") if self._is_sqlite else None
        self._opened: tuple[int, int] | None = None

    def close(self) -> None:
        """Give the connection back; the next use opens another."""
        with self._lock:
            self._disconnect()
            self._engine.dispose()

    def write(self, body: Callable[[Transaction], T]) -> T:
        """Run `body` in a write transaction and make it durable. What `body` raises undoes it.

        Raises TransientError when the database stays busy or away, EngineError when it cannot be written.
        """
        with self._lock:
            try:
                return self._write_once(body)
            except _TryAgainError:
                return self._write_patiently(body)

    def _write_patiently(self, body: Callable[[Transaction], T]) -> T:
        # Apart from the first attempt because building the retries costs a tenth of a step's whole commit.
        try:
            for attempt in _retrying(PATIENCE_SECONDS, _TryAgainError):
                with attempt:
                    result = self._write_once(body)
        except _TryAgainError as error:
            raise _unavailable(error) from error
        return result

    @contextmanager
    def read(self) -> Iterator[Fetch]:
        """A consistent view of everything that was committed. Raises TransientError when the database is away."""
        with self._lock:
            try:
                for attempt in _retrying(PATIENCE_SECONDS, _TryAgainError):
                    with attempt:
                        self._begin_read()
                with self._failures_translated():
                    yield lambda sql, parameters: self._run(sql, parameters).fetchall()
            except _TryAgainError as error:
                raise _unavailable(error) from error
            finally:
                self._rollback()

    def copy_to(self, connection: Any) -> None:
        """Copy a SQLite database, as of one moment, into another driver connection."""
        with self._lock:
            self._open().backup(connection)

    # ── dialects ──

    @property
    def is_sqlite(self) -> bool:
        """Whether the state is a local file."""
        return self._is_sqlite

    def _begin_read(self) -> None:
        with self._failures_translated():
            self._open()
            if self._is_sqlite:
                self._run("BEGIN", {})
            else:
                self._run("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY", {})

    def _begin_write(self) -> None:
        self._open()
        self._run("BEGIN IMMEDIATE" if self._is_sqlite else "SELECT serial FROM meta FOR UPDATE", {})

    def _may_succeed_later(self, error: Exception) -> bool:
        if self._is_sqlite:
            return "locked" in str(error) or "locking protocol" in str(error)
        state = getattr(error, "sqlstate", None) or ""
        lost = isinstance(error, (self._dbapi.OperationalError, self._dbapi.InterfaceError))
        return state[:2] in ("08", "40", "57") or state == "55P03" or (lost and not state)

    # ── one attempt ──

    def _write_once(self, body: Callable[[Transaction], T]) -> T:
        try:
            with self._failures_translated():
                self._begin_write()
                transaction = Transaction(self._run, self._now())
                result = body(transaction)
                key = self._leave_key(transaction)
                self._check_file()
                failpoint("state.commit")
        except BaseException:
            self._rollback()
            raise
        self._commit(key)
        failpoint("state.committed")
        return result

    def _check_file(self) -> None:
        """Writing into a file that was removed or replaced would succeed, and be lost."""
        if self._file is not None and (self._opened is None or _identity(self._file) != self._opened):
            self._disconnect()
            raise StateError(
                f"{self._file} was removed or replaced while it was in use",
                remedy="Nothing was changed. Put the state back in its place, or plan again.",
            )

    def _commit(self, key: str) -> None:
        try:
            self._connection.commit()
        except self._dbapi.Error as error:
            if self._is_sqlite:
                self._rollback()
                raise self._translated(error) from error
            self._disconnect()
            self._read_back(key, error)

    # ── PostgreSQL: was it committed? ──

    def _leave_key(self, transaction: Transaction) -> str:
        """Put a fresh key for this write into the transaction: present afterwards if and only if it was committed."""
        if self._is_sqlite:
            return ""
        if not self._writer_known:
            oldest = datetime.fromisoformat(transaction.now.rstrip("Z")) - _WRITER_KEPT
            self._run("DELETE FROM writers WHERE at < :oldest", {"oldest": oldest.isoformat()})
            self._writer_known = True
        key = uuid.uuid4().hex
        parameters = {"writer": self._writer, "key": key, "at": transaction.now}
        self._run(
            "INSERT INTO writers (writer, write_key, at) VALUES (:writer, :key, :at)"
            " ON CONFLICT (writer) DO UPDATE SET write_key = :key, at = :at",
            parameters,
        )
        return key

    def _read_back(self, key: str, cause: Exception) -> None:
        """Return if the write is there; raises _TryAgainError when it is not, EngineError when nobody can tell."""
        try:
            kept = _retrying(PATIENCE_SECONDS, self._dbapi.Error)(self._has_key, key)
        except self._dbapi.Error as error:
            raise EngineError(
                f"the state's database went away while it was committing, and did not come back: {error}",
                remedy="Whether the last write was kept is not known. When the database is back, plan and apply again.",
            ) from cause
        if not kept:
            raise _TryAgainError(str(cause)) from cause

    def _has_key(self, key: str) -> bool:
        self._open()
        try:
            # Waits for a server process that is still busy committing this very row.
            self._run("SELECT serial FROM meta FOR UPDATE", {})
            found = self._run(
                "SELECT 1 FROM writers WHERE writer = :writer AND write_key = :key",
                {"writer": self._writer, "key": key},
            ).fetchone()
            self._connection.rollback()
        except self._dbapi.Error:
            self._disconnect()
            raise
        return found is not None

    # ── the connection ──

    def _open(self) -> Any:
        if self._connection is None:
            if self._file is not None:
                self._opened = _identity(self._file)
                self._check_file()  # SQLite would make an empty file
            try:
                self._pooled = self._engine.raw_connection()
            except sa.exc.DBAPIError as error:
                raise error.orig or error from error
            self._connection = self._pooled.driver_connection
        return self._connection

    def _run(self, sql: str, parameters: Mapping[str, Any]) -> Any:
        compiled = self._compiled.get(sql)
        if compiled is None:
            made = sa.text(sql).compile(dialect=self._engine.dialect)
            positions = getattr(made, "positiontup", None)
            compiled = self._compiled[sql] = (str(made), None if positions is None else tuple(positions))
        text, positions = compiled
        values = parameters if positions is None else [parameters[name] for name in positions]
        return self._connection.execute(text, values)

    def _rollback(self) -> None:
        if self._connection is not None:
            try:
                self._connection.rollback()
            except self._dbapi.Error:
                self._disconnect()

    def _disconnect(self) -> None:
        if self._pooled is not None:
            self._pooled.invalidate()
            self._pooled = self._connection = None

    @contextmanager
    def _failures_translated(self) -> Iterator[None]:
        try:
            yield
        except (self._dbapi.Error, OSError) as error:
            translated = self._translated(error)
            if not self._is_sqlite and not isinstance(translated, IntegrityError):
                self._disconnect()
            raise translated from error

    def _translated(self, error: Exception) -> Exception:
        text = (str(error).splitlines() or [""])[0]
        if isinstance(error, self._dbapi.IntegrityError):
            return IntegrityError(f"the state refuses this change: {text}", remedy="Nothing was changed.")
        if isinstance(error, self._dbapi.Error) and self._may_succeed_later(error):
            return _TryAgainError(text)
        if "malformed" in text or "not a database" in text:
            return IntegrityError(f"the state is damaged: {text}", remedy="Restore a backup of it.")
        if "full" in text or getattr(error, "errno", None) == errno.ENOSPC:
            return EngineError(
                "the state cannot be written: no space left",
                remedy="Nothing was changed. Free some space and try again.",
            )
        return EngineError(f"the state cannot be used: {text}", remedy="Nothing was changed. Check its disk or server.")


def _retrying(seconds: float, error: type[Exception]) -> tenacity.Retrying:
    return tenacity.Retrying(
        retry=tenacity.retry_if_exception_type(error),
        wait=tenacity.wait_random_exponential(multiplier=0.01, max=0.5),
        stop=tenacity.stop_after_delay(seconds),
        reraise=True,
    )


def _unavailable(error: _TryAgainError) -> TransientError:
    return TransientError(
        f"the state could not be reached for {PATIENCE_SECONDS:.0f} s: {error}",
        remedy="Nothing was changed. See who is writing, or whether the server runs, and try again.",
    )


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def connect(url: sa.URL) -> sa.Engine:
    """An engine whose connections are durable and strict."""
    if url.get_backend_name() == "sqlite":
        engine = sa.create_engine(
            url,
            poolclass=sa.pool.NullPool,
            connect_args={"isolation_level": None, "check_same_thread": False, "timeout": 10},
        )
        sa.event.listen(engine, "connect", _set_pragmas)
        return engine
    if url.get_backend_name() == "postgresql":
        return sa.create_engine(url.set(drivername="postgresql+psycopg"), poolclass=sa.pool.NullPool)
    raise StateError(f"a state cannot be kept in {url.get_backend_name()}", remedy="Use sqlite:///… or postgresql://…")


def _set_pragmas(connection: Any, _record: object) -> None:
    # FULL: with NORMAL a power loss forgets acknowledged commits.
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")
