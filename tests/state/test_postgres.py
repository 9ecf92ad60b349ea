"""What is particular to PostgreSQL: a server that dies at COMMIT, racing writers, migrations, pg_dump for backups."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from engine.adapters.state.database import connect
from engine.adapters.state.migrate import MIGRATIONS, run_migrations
from engine.adapters.state.queries import SCHEMA_HEAD
from engine.adapters.state.schema import metadata
from engine.adapters.state.store import SqlStateStore
from engine.core.audit import verify_chain
from engine.core.records import RunStatus
from engine.errors import EngineError, LockedError, NotSupportedError, StateError
from engine.testing.postgres import PostgresServer
from engine.testing.state_contract import AT, make_result, make_run


def constraints(url: str) -> dict[str, str]:
    engine = connect(sa.make_url(url))
    with engine.connect() as connection:
        rows = connection.exec_driver_sql(
            "SELECT conname, pg_get_constraintdef(oid) FROM pg_constraint"
            " WHERE connamespace = current_schema()::regnamespace"
            " UNION ALL SELECT indexname, regexp_replace(indexdef, 'test[0-9]+\\.', '') FROM pg_indexes"
            " WHERE schemaname = current_schema()"
        ).all()
    engine.dispose()
    return {name: text for name, text in rows if not name.startswith("alembic_version")}


def test_migrating_leads_to_the_schema(postgres: PostgresServer) -> None:
    migrated, created = postgres.new_url(), postgres.new_url()
    engine = connect(sa.make_url(migrated))
    with engine.begin() as connection:
        run_migrations(connection, SCHEMA_HEAD, MIGRATIONS)
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    engine.dispose()
    SqlStateStore(created).close()
    assert constraints(migrated) == constraints(created)
    assert len(constraints(created)) > 40


def test_many_create_one_state(postgres: PostgresServer) -> None:
    url = postgres.new_url()

    def create(_: int) -> str:
        store = SqlStateStore(url)
        lineage = store.lineage().lineage
        store.close()
        return lineage

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(create, range(16)))) == 1


def test_racing_holders_never_overlap(postgres: PostgresServer) -> None:
    url = postgres.new_url()

    def compete(name: str) -> None:
        store = SqlStateStore(url)
        for i in range(8):
            while True:
                try:
                    lease = store.acquire("churn", name, 60)
                    break
                except LockedError:
                    time.sleep(0.001)
            run = f"{name}-{i}"
            store.start_run(lease, make_run(run))
            store.advance(lease, run, done=make_result("train", run))
            store.finish_run(lease, run, RunStatus.DONE, "", AT)
            store.release(lease)
        store.close()

    with ThreadPoolExecutor(5) as pool:
        list(pool.map(compete, "abcde"))
    store = SqlStateStore(url)
    assert len(store.runs(limit=1000)) == 40
    assert {run.status for run in store.runs(limit=1000)} == {RunStatus.DONE}
    assert verify_chain(store.audit(), store.audit_head()) == ()
    store.close()


def test_what_was_acknowledged_survives_killed_servers(postgres: PostgresServer) -> None:
    """The server dies at random moments of a stream of writes, some of them in COMMIT, and comes back."""
    url = postgres.new_url()
    store = SqlStateStore(url)
    lease = store.acquire("churn", "ana", 3600)
    store.start_run(lease, make_run("run1"))
    heard: list[str] = []
    over = threading.Event()

    def write() -> None:
        while not over.is_set():
            step = f"step{len(heard)}"
            store.advance(lease, "run1", done=make_result(step))
            heard.append(step)

    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(write)
        for pause in (0.1, 0.15, 0.23):
            time.sleep(pause)
            postgres.kill()
            postgres.start()
        time.sleep(0.1)
        over.set()
        writing.result()
    assert len(heard) > 3
    assert set(store.models()["churn"].latest) == set(heard)
    store.close()


def test_a_lost_answer_to_commit_is_read_back(postgres: PostgresServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The COMMIT is carried out, or not, and its answer never arrives."""
    import psycopg

    store = SqlStateStore(postgres.new_url())
    lease = store.acquire("churn", "ana", 3600)
    store.start_run(lease, make_run("run1"))
    commit = psycopg.Connection.commit

    def lost(connection: psycopg.Connection[tuple[object, ...]], carried_out: bool) -> None:
        monkeypatch.setattr(psycopg.Connection, "commit", commit)
        if carried_out:
            connection.commit()
        connection.close()
        raise psycopg.OperationalError("server closed the connection unexpectedly")

    monkeypatch.setattr(psycopg.Connection, "commit", lambda connection: lost(connection, True))
    store.advance(lease, "run1", done=make_result("train"))
    assert set(store.models()["churn"].latest) == {"train"}
    monkeypatch.setattr(psycopg.Connection, "commit", lambda connection: lost(connection, False))
    store.advance(lease, "run1", done=make_result("evaluate"))
    assert set(store.models()["churn"].latest) == {"train", "evaluate"}
    assert store.lineage().serial == 3
    store.close()


def test_an_idle_connection_that_the_server_dropped_is_replaced(postgres: PostgresServer) -> None:
    store = SqlStateStore(postgres.new_url())
    lease = store.acquire("churn", "ana", 3600)
    store.start_run(lease, make_run("run1"))
    postgres.kill()
    postgres.start()
    assert set(store.models()) == {"churn"}
    postgres.kill()
    postgres.start()
    store.advance(lease, "run1", done=make_result("train"))
    assert set(store.models()["churn"].latest) == {"train"}
    store.close()


def test_a_newer_state_is_refused(postgres: PostgresServer) -> None:
    url = postgres.new_url()
    SqlStateStore(url).close()
    engine = connect(sa.make_url(url))
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = 'later'")
    engine.dispose()
    with pytest.raises(StateError, match="newer engine"):
        SqlStateStore(url)


def test_backups_are_left_to_the_server(postgres: PostgresServer, tmp_path: Path) -> None:
    store = SqlStateStore(postgres.new_url())
    with pytest.raises(NotSupportedError):
        store.backup(tmp_path / "copy")
    store.close()


def test_a_server_that_is_not_there_is_named_without_its_password(tmp_path: Path) -> None:
    pytest.importorskip("psycopg")
    with pytest.raises(EngineError, match="does not answer") as failed:
        SqlStateStore(f"postgresql://ana:secret@/state?host={tmp_path}")
    assert "secret" not in failed.value.message + failed.value.remedy
