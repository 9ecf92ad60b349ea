"""Bringing a state database into being, and to the current schema.

A new SQLite file is made aside and linked into its place whole, so that nobody ever sees half a state, however many
processes start at once. An older schema is migrated after a backup; a newer one is refused with StateError.
Alembic, slow to import, is needed only when there is something to migrate.
"""

from __future__ import annotations

import errno
import os
import uuid
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from filelock import FileLock

from engine.adapters.state.database import connect
from engine.adapters.state.queries import REVISION, SCHEMA_HEAD
from engine.errors import EngineError, IntegrityError, StateError
from engine.failpoints import failpoint

MIGRATIONS = Path(__file__).with_name("migrations")

# Any number; all engines that share a PostgreSQL server must use the same.
_ADVISORY_LOCK = 0x656E67696E65


def prepare(url: sa.URL, *, head: str = SCHEMA_HEAD, scripts: Path = MIGRATIONS) -> None:
    """Create the database if there is none, migrate it if it is older. Raises StateError if it is newer."""
    if url.get_backend_name() == "sqlite":
        _prepare_sqlite(url, head, scripts)
    else:
        _prepare_server(url, head, scripts)


def _prepare_sqlite(url: sa.URL, head: str, scripts: Path) -> None:
    if not url.database or url.database == ":memory:":
        raise StateError("a state needs a file", remedy="Name one: sqlite:///path/to/state.db")
    path = Path(url.database)
    try:
        if path.exists() and _revision_of(url) == head:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_name(path.name + ".lock")):
            if not path.exists():
                _create_file(path)
            revision = _revision_of(url)
            if revision != head:
                _refuse_unknown(revision, str(path), scripts)
                _back_up(path, revision)
                _upgrade(url, head, scripts)
    except (OSError, sa.exc.OperationalError) as error:
        why = getattr(error, "orig", error)
        full = "full" in str(why) or getattr(why, "errno", None) == errno.ENOSPC
        raise EngineError(
            f"the state {path} cannot be created: {'no space left' if full else why}",
            remedy="Nothing was changed. " + ("Free some space and try again." if full else "Check its disk."),
        ) from error


def _create_file(path: Path) -> None:
    draft = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        engine = connect(sa.URL.create("sqlite", database=str(draft)))
        with engine.connect() as connection:
            connection.exec_driver_sql("BEGIN")
            _fill(connection)
            connection.exec_driver_sql("COMMIT")
            # Not before: what is still in the log of a draft when it is linked would be lost.
            connection.exec_driver_sql("PRAGMA journal_mode = WAL")
        engine.dispose()
        failpoint("state.create")
        try:
            os.link(draft, path)
        except OSError:  # a file system without hard links; the lock keeps others from creating it meanwhile
            if not path.exists():
                draft.rename(path)
        _sync_folder(path.parent)
    finally:
        for leftover in path.parent.glob(draft.name + "*"):
            leftover.unlink(missing_ok=True)


def _prepare_server(url: sa.URL, head: str, scripts: Path) -> None:
    engine = connect(url)
    try:
        with engine.begin() as connection:
            connection.execute(sa.text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ADVISORY_LOCK})
            if not sa.inspect(connection).has_table("alembic_version"):
                _fill(connection)
                return
            revision = connection.execute(sa.text(REVISION)).scalar()
            if revision != head:
                _refuse_unknown(revision, url.render_as_string(), scripts)
                run_migrations(connection, head, scripts)
    except sa.exc.OperationalError as error:
        raise EngineError(
            f"the state's database does not answer: {error.orig}",
            remedy=f"Check that it runs and that this address is right: {url.render_as_string()}",
        ) from error
    finally:
        engine.dispose()


def _fill(connection: sa.Connection) -> None:
    """Make all tables of an empty database, at the current revision."""
    from engine.adapters.state.schema import meta, metadata

    metadata.create_all(connection)
    version = sa.Table("alembic_version", sa.MetaData(), sa.Column("version_num", sa.String(32), primary_key=True))
    version.create(connection)
    connection.execute(version.insert().values(version_num=SCHEMA_HEAD))
    connection.execute(meta.insert().values(id=1, lineage=str(uuid.uuid4()), serial=0, audit_count=0, audit_head=""))


def _revision_of(url: sa.URL) -> str | None:
    engine = connect(url)
    try:
        with engine.connect() as connection:
            revision: str | None = connection.exec_driver_sql(REVISION).scalar()
            return revision
    except sa.exc.DatabaseError as error:
        raise IntegrityError(
            f"{url.database} is not a state: {error.orig}",
            remedy="Restore a backup of it, or move it away to start with an empty state.",
        ) from error
    finally:
        engine.dispose()


def _refuse_unknown(revision: str | None, place: str, scripts: Path) -> None:
    from alembic.script import ScriptDirectory

    known = {script.revision for script in ScriptDirectory(str(scripts)).walk_revisions()}
    if revision not in known:
        raise StateError(
            f"{place} has schema {revision}, which this version does not know: it was written by a newer engine",
            remedy="Upgrade engine, or restore the backup that was made before the state was migrated.",
        )


def _back_up(path: Path, revision: str | None) -> None:
    import sqlite3

    backup = path.with_name(f"{path.name}.{revision}.backup")
    draft = backup.with_name(f".{backup.name}.{uuid.uuid4().hex}")
    source, target = sqlite3.connect(path), sqlite3.connect(draft)
    try:
        source.backup(target)
    finally:
        source.close()
        target.close()
    draft.replace(backup)


def _upgrade(url: sa.URL, head: str, scripts: Path) -> None:
    engine = connect(url)
    try:
        with engine.connect() as connection:
            # Tables are rebuilt to change them, which foreign keys would forbid; they are checked afterwards.
            connection.exec_driver_sql("PRAGMA foreign_keys = OFF")
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            run_migrations(connection, head, scripts)
            broken = connection.exec_driver_sql("PRAGMA foreign_key_check").fetchall()
            if broken:
                raise IntegrityError(f"migrating the state to {head} would break references: {broken[0]}")
            connection.exec_driver_sql("COMMIT")
    finally:
        engine.dispose()


def run_migrations(connection: sa.Connection, head: str, scripts: Path) -> None:
    from alembic.migration import MigrationContext
    from alembic.operations import Operations
    from alembic.script import ScriptDirectory

    script = ScriptDirectory(str(scripts))

    def upgrade(revision: Any, _context: MigrationContext) -> Any:
        return script._upgrade_revs(head, revision)

    context = MigrationContext.configure(connection, opts={"fn": upgrade, "render_as_batch": True})
    with Operations.context(context):
        context.run_migrations()


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
