"""Reports of windows in a database: beside a local state in a file of its own, else in the state's database.

They are worked out from the prediction log and bounded in number, so they are no part of the state: writing one does
not make saved plans stale. A window's key is the release and its number; whoever inserts first has judged it.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
import tenacity

from engine.adapters.state.database import connect
from engine.core.canonical import canonical_json
from engine.core.monitoring import WindowReport
from engine.errors import StateError, TransientError

metadata = sa.MetaData()
windows = sa.Table(
    "monitoring_windows",
    metadata,
    sa.Column("model", sa.Text, primary_key=True),
    sa.Column("version", sa.BigInteger, primary_key=True),
    sa.Column("number", sa.BigInteger, primary_key=True),
    sa.Column("last", sa.Text, nullable=False),  # id, by which windows of all releases are in order
    sa.Column("final", sa.Boolean, nullable=False),
    sa.Column("report", sa.LargeBinary, nullable=False),
    sa.Index("ix_monitoring_windows_last", "model", "last"),
)
references = sa.Table(
    "monitoring_references",
    metadata,
    sa.Column("model", sa.Text, primary_key=True),
    sa.Column("version", sa.BigInteger, primary_key=True),
    sa.Column("number", sa.BigInteger, nullable=False),  # of the window
    sa.Column("profile", sa.LargeBinary, nullable=False),
)


class SqlMonitoring:
    """The ports MonitoringStore and ReferenceStore. Tables are made by the first write; reading what is not there gives
    nothing."""

    def __init__(self, url: str) -> None:
        parsed = sa.make_url(url)
        self._file = Path(parsed.database or "") if parsed.get_backend_name() == "sqlite" else None
        self._engine = connect(parsed)
        self._made = False

    def add(self, report: WindowReport) -> bool:
        """Keep a new window's report; False if somebody else did before."""
        insert = sa.insert(windows).values(**_key(report), **_values(report))
        try:
            with self._writing() as connection:
                connection.execute(insert)
        except sa.exc.IntegrityError:
            return False
        return True

    def update(self, report: WindowReport) -> None:
        """Replace a report that is not final."""
        mine = sa.and_(*(windows.c[name] == value for name, value in _key(report).items()))
        with self._writing() as connection:
            connection.execute(sa.update(windows).where(mine, windows.c.final == sa.false()).values(**_values(report)))

    def reports(self, model: str, version: int | None = None, limit: int = 50) -> Sequence[WindowReport]:
        """Newest first."""
        chosen = sa.select(windows.c.report).where(windows.c.model == model)
        if version is not None:
            chosen = chosen.where(windows.c.version == version)
        return self._read(chosen.order_by(windows.c.last.desc(), windows.c.version.desc()).limit(limit))

    def pending(self, model: str) -> Sequence[WindowReport]:
        """Those that are not final, oldest first."""
        return self._read(
            sa.select(windows.c.report)
            .where(windows.c.model == model, windows.c.final == sa.false())
            .order_by(windows.c.last)
        )

    def trim(self, model: str, keep: int) -> None:
        """Delete all but the newest windows, and never the last one of a release: the next begins behind it."""
        newest = sa.select(windows.c.last).where(windows.c.model == model).order_by(windows.c.last.desc())
        other = windows.alias()
        later = sa.exists().where(
            other.c.model == windows.c.model, other.c.version == windows.c.version, other.c.number > windows.c.number
        )
        edge = newest.offset(keep).limit(1).scalar_subquery()
        gone = ~sa.exists().where(windows.c.model == references.c.model, windows.c.version == references.c.version)
        with self._writing() as connection:
            connection.execute(sa.delete(windows).where(windows.c.model == model, windows.c.last <= edge, later))
            connection.execute(sa.delete(references).where(references.c.model == model, gone))

    def keep_reference(self, model: str, version: int, number: int, profile: bytes) -> None:
        """Keep a window's profile as the reference of a release, unless there is one."""
        try:
            with self._writing() as connection:
                connection.execute(
                    sa.insert(references).values(model=model, version=version, number=number, profile=profile)
                )
        except sa.exc.IntegrityError:
            return

    def drop_reference(self, model: str, version: int, number: int) -> None:
        """A window is the reference no more, if it was."""
        mine = sa.and_(references.c.model == model, references.c.version == version, references.c.number == number)
        with self._writing() as connection:
            connection.execute(sa.delete(references).where(mine))

    def production_reference(self, model: str, version: int) -> tuple[int, bytes] | None:
        """The window's number and its profile."""
        chosen = sa.select(references.c.number, references.c.profile).where(
            references.c.model == model, references.c.version == version
        )
        found = next(iter(self._rows(chosen, references)), None)
        return None if found is None else (int(found[0]), bytes(found[1]))

    def close(self) -> None:
        """Nothing stays open between calls."""
        self._engine.dispose()

    def _read(self, query: Any) -> list[WindowReport]:
        return [_report(data) for (data,) in self._rows(query, windows)]

    def _rows(self, query: Any, table: sa.Table) -> Sequence[Any]:
        if self._file is not None and not self._file.exists():
            return []
        with self._failures_told(), self._engine.connect() as connection:
            if not sa.inspect(connection).has_table(table.name):
                return []
            return connection.execute(query).all()

    @contextmanager
    def _writing(self) -> Iterator[sa.Connection]:
        with self._failures_told():
            if not self._made:
                self._make()
                self._made = True
            with self._engine.begin() as connection:
                yield connection

    # PostgreSQL may tell the slower of two that make a table at once that it is there.
    @tenacity.retry(retry=tenacity.retry_if_exception_type(sa.exc.IntegrityError), stop=tenacity.stop_after_attempt(5))
    def _make(self) -> None:
        with self._engine.begin() as connection:
            if self._file is not None:
                connection.exec_driver_sql("PRAGMA journal_mode = WAL")
            for table in (windows, references):
                connection.execute(sa.schema.CreateTable(table, if_not_exists=True))
            for index in windows.indexes:
                connection.execute(sa.schema.CreateIndex(index, if_not_exists=True))

    @contextmanager
    def _failures_told(self) -> Iterator[None]:
        try:
            yield
        except sa.exc.OperationalError as error:
            raise TransientError(f"the reports of monitoring cannot be reached now: {error.orig}") from error
        except sa.exc.DatabaseError as error:
            if isinstance(error, sa.exc.IntegrityError):
                raise
            where = self._file or "the state's database"
            raise StateError(
                f"the reports of monitoring cannot be read: {error.orig}",
                remedy=f"Delete {where}: they are worked out again from the prediction log.",
            ) from error


def _key(report: WindowReport) -> dict[str, Any]:
    return {"model": report.model, "version": report.version, "number": report.window.number}


def _values(report: WindowReport) -> dict[str, Any]:
    text = canonical_json(report.to_json())
    return {"last": report.window.last, "final": report.final, "report": zlib.compress(text.encode(), 6)}


def _report(data: bytes) -> WindowReport:
    return WindowReport.from_json(json.loads(zlib.decompress(data)))
