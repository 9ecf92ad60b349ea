"""A new SQLite store for MLflow, whole or not at all, and seconds faster from the second one on.

MLflow makes a store by running all its migrations in place: that takes two seconds, and cut short it leaves a file
that never opens again. So a store is made aside and linked into its place; the empty one is kept in the user's cache
(`$XDG_CACHE_HOME/engine/`), for this version of MLflow, and copied when the next is wanted.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

_PREFIX = "sqlite:////"


def prepare_store(uri: str) -> None:
    """Make the store if `uri` is that of an SQLite file which is not there. Raises OSError."""
    if not uri.startswith(_PREFIX):
        return
    path = Path("/" + uri.removeprefix(_PREFIX))
    if path.exists():
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with _beside(path) as new:
        template = _template()
        if template is not None and _is_sound(template):
            shutil.copyfile(template, new)
        else:
            _migrate(new)
            if template is not None:
                _keep(new, template)
        _flush(new)
        with suppress(FileExistsError):  # another process was faster
            os.link(new, path)


def _migrate(path: Path) -> None:
    """Run MLflow's migrations. The default experiment is taken out: MLflow makes it where the store is opened."""
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    make: Any = SqlAlchemyStore
    make(f"sqlite:///{path}", str(path.parent)).engine.dispose()
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("DELETE FROM experiments")


def _template() -> Path | None:
    """Where the empty store is kept; None without a home directory."""
    cache = os.environ.get("XDG_CACHE_HOME") or (os.environ.get("HOME", "") and f"{os.environ['HOME']}/.cache")
    return Path(cache, "engine", f"mlflow-{version('mlflow')}.db") if cache and Path(cache).is_absolute() else None


def _is_sound(template: Path) -> bool:
    if not template.is_file():
        return False
    try:
        with closing(sqlite3.connect(f"file:{template}?mode=ro&immutable=1", uri=True)) as connection:
            (answer,) = connection.execute("PRAGMA quick_check").fetchone()
            (runs,) = connection.execute("SELECT count(*) FROM alembic_version").fetchone()
    except sqlite3.DatabaseError:
        return False
    return bool(answer == "ok" and runs == 1)


def _keep(store: Path, template: Path) -> None:
    with suppress(OSError):  # a cache that cannot be written costs time, nothing else
        template.parent.mkdir(parents=True, exist_ok=True)
        with _beside(template) as new:
            shutil.copyfile(store, new)
            _flush(new)
            new.replace(template)


@contextmanager
def _beside(path: Path) -> Iterator[Path]:
    """A temporary file in the same folder, gone afterwards."""
    new = path.with_name(f".{path.name}.{os.getpid()}")
    leftovers = (new, new.with_name(f"{new.name}-journal"))
    try:
        for leftover in leftovers:
            leftover.unlink(missing_ok=True)
        yield new
    finally:
        for leftover in leftovers:
            leftover.unlink(missing_ok=True)


def _flush(path: Path) -> None:
    for place in (path, path.parent):
        descriptor = os.open(place, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
