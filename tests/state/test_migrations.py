"""A state of any age is brought to the current schema, keeps its content, and is never misread."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from engine.adapters.state.migrate import MIGRATIONS, prepare, run_migrations
from engine.adapters.state.queries import SCHEMA_HEAD
from engine.adapters.state.reader import SqliteStateReader
from engine.adapters.state.schema import metadata
from engine.adapters.state.store import SqlStateStore
from engine.app.workspace import open_workspace
from engine.errors import EngineError, IntegrityError, StateError
from engine.testing.state_contract import make_evaluation, make_event, make_result, make_run

NEXT = '''
"""A later schema."""
import sqlalchemy as sa
from alembic import op

revision = "later"
down_revision = "{head}"


def upgrade():
    with op.batch_alter_table("runs") as runs:
        runs.add_column(sa.Column("note", sa.Text(), nullable=False, server_default=""))
'''


@pytest.fixture
def later(tmp_path: Path) -> Path:
    """The migrations of a version to come."""
    scripts = tmp_path / "scripts"
    shutil.copytree(MIGRATIONS, scripts)
    (scripts / "versions" / "later.py").write_text(NEXT.format(head=SCHEMA_HEAD))
    return scripts


def written(path: Path) -> SqlStateStore:
    store = SqlStateStore(f"sqlite:///{path}")
    lease = store.acquire("churn", "ana", 60)
    store.start_run(lease, make_run("run1"))
    store.advance(lease, "run1", done=make_result("train"))
    return store


def url_of(path: Path) -> sa.URL:
    return sa.URL.create("sqlite", database=str(path))


def constraints(path: Path) -> dict[str, list[str]]:
    """Each table and index with the parts of its definition, in no order."""
    with sqlite3.connect(path) as connection:
        rows = connection.execute("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL").fetchall()
    connection.close()
    return {name: sorted(part.strip(" ,\t") for part in sql.splitlines()) for name, sql in rows}


def test_the_constant_names_the_newest_migration() -> None:
    assert ScriptDirectory(str(MIGRATIONS)).get_current_head() == SCHEMA_HEAD


def test_migrating_leads_to_the_schema(tmp_path: Path) -> None:
    engine = sa.create_engine(url_of(tmp_path / "migrated.db"))
    with engine.begin() as connection:
        run_migrations(connection, SCHEMA_HEAD, MIGRATIONS)
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    engine.dispose()
    prepare(url_of(tmp_path / "created.db"))
    migrated, created = constraints(tmp_path / "migrated.db"), constraints(tmp_path / "created.db")
    assert migrated.pop("alembic_version")
    assert created.pop("alembic_version")
    assert migrated == created


def test_an_older_state_is_migrated_after_a_backup(tmp_path: Path, later: Path) -> None:
    store = written(tmp_path / "state.db")
    before = store.models()
    store.close()
    prepare(url_of(tmp_path / "state.db"), head="later", scripts=later)
    connection = sqlite3.connect(tmp_path / "state.db")
    assert connection.execute("SELECT version_num FROM alembic_version").fetchall() == [("later",)]
    assert connection.execute("SELECT run_id, note FROM runs").fetchall() == [("run1", "")]
    assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
    assert connection.execute("PRAGMA journal_mode").fetchall() == [("wal",)]
    connection.close()
    assert SqliteStateReader(tmp_path / f"state.db.{SCHEMA_HEAD}.backup").models() == before


def make_oldest(path: Path) -> None:
    """Bring a state back to the first schema."""
    with sqlite3.connect(path) as connection:
        for table in ("approvals", "protected", "told", "alerts", "evaluations", "inbox"):
            connection.execute(f"DROP TABLE {table}")
        connection.execute("UPDATE alembic_version SET version_num = '0001'")
    connection.close()


def test_a_state_of_the_first_schema_gets_what_came_since(tmp_path: Path) -> None:
    store = written(tmp_path / "state.db")
    before = store.models()
    store.close()
    make_oldest(tmp_path / "state.db")
    migrated = SqlStateStore(f"sqlite:///{tmp_path}/state.db")
    assert migrated.models() == before
    assert migrated.put(make_event("1"))
    assert [event.id for event in SqliteStateReader(tmp_path / "state.db").pending()] == ["1"]
    lease = migrated.acquire("iris", "ana", 60)
    assert migrated.record(lease, make_evaluation("quiet", "iris")).count == 1
    assert (tmp_path / "state.db.0001.backup").exists()
    migrated.close()


def test_a_migration_that_fails_changes_nothing(tmp_path: Path, later: Path) -> None:
    before = written(tmp_path / "state.db").models()
    with (later / "versions" / "later.py").open("a") as script:
        script.write("    raise RuntimeError('half way')\n")
    with pytest.raises(RuntimeError, match="half way"):
        prepare(url_of(tmp_path / "state.db"), head="later", scripts=later)
    assert SqliteStateReader(tmp_path / "state.db").models() == before
    assert SqlStateStore(f"sqlite:///{tmp_path}/state.db").models() == before


def test_a_newer_state_is_refused(tmp_path: Path, later: Path) -> None:
    prepare(url_of(tmp_path / "state.db"))
    prepare(url_of(tmp_path / "state.db"), head="later", scripts=later)
    with pytest.raises(StateError, match="newer engine"):
        SqlStateStore(f"sqlite:///{tmp_path}/state.db")
    with pytest.raises(StateError, match=f"this version reads {SCHEMA_HEAD}"):
        SqliteStateReader(tmp_path / "state.db").models()


@pytest.mark.parametrize("content", [b"", b"model_spec:\n", b"SQLite format 3\x00" + b"\xff" * 200])
def test_a_file_that_is_no_state_is_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "state.db"
    path.write_bytes(content)
    with pytest.raises(IntegrityError, match=r"state\.db is not a state"):
        SqlStateStore(f"sqlite:///{path}")
    with pytest.raises(IntegrityError, match=r"state\.db cannot be read as a state"):
        SqliteStateReader(path).lineage()
    assert path.read_bytes() == content


@pytest.mark.parametrize("url", ["mysql://host/db", "nonsense", "sqlite://"])
def test_an_address_that_cannot_be_a_state_is_refused(url: str) -> None:
    with pytest.raises(StateError):
        SqlStateStore(url)


def test_a_folder_that_cannot_be_made_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(EngineError, match="cannot be created"):
        SqlStateStore(f"sqlite:///{tmp_path}/file/state.db")


def test_alembic_is_not_imported_for_a_current_state(tmp_path: Path) -> None:
    code = f"""
import sys
from engine.adapters.state.store import SqlStateStore
for _ in range(2):
    SqlStateStore("sqlite:///{tmp_path}/state.db")
assert not [name for name in sys.modules if name.startswith("alembic")]
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_project_with_an_older_state_goes_on(tmp_path: Path) -> None:
    """Whatever looks at it first brings it to the current schema."""
    (tmp_path / "engine.yaml").write_text("")
    (tmp_path / ".engine").mkdir()
    written(tmp_path / ".engine" / "state.db").close()
    make_oldest(tmp_path / ".engine" / "state.db")
    workspace = open_workspace(tmp_path)
    assert list(workspace.reader.list_models()) == ["churn"]
    assert workspace.reader.pending() == []
    workspace.reader.close()
    workspace.store.close()
