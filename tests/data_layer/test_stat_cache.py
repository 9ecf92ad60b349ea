"""The stat cache: never a wrong digest, never an error, and no reading of what did not change."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from engine.adapters.sources import stat_cache
from engine.adapters.sources.stat_cache import FileStatCache
from engine.core.canonical import digest_bytes


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The files that are hashed."""
    seen: list[str] = []
    hash_it = stat_cache.digest_file

    def noting(path: str) -> str:
        seen.append(Path(path).name)
        return hash_it(path)

    monkeypatch.setattr(stat_cache, "digest_file", noting)
    return seen


def old_file(path: Path, content: bytes, age: float = 60) -> Path:
    path.write_bytes(content)
    os.utime(path, (time.time() - age,) * 2)
    return path


def test_an_unchanged_file_is_read_once(tmp_path: Path, reads: list[str]) -> None:
    path = old_file(tmp_path / "a.csv", b"1")
    database = tmp_path / ".engine/cache.db"
    for _ in range(3):
        cache = FileStatCache(database)
        cache.load()
        assert cache.digest(path) == cache.digest(path) == digest_bytes(b"1")
        cache.flush()
    assert reads == ["a.csv"]


@pytest.mark.parametrize("restore_mtime", [False, True])
def test_a_changed_file_is_read_again(tmp_path: Path, restore_mtime: bool) -> None:
    path = old_file(tmp_path / "a.csv", b"1")
    cache = FileStatCache(tmp_path / "cache.db")
    before = path.stat()
    assert cache.digest(path) == digest_bytes(b"1")
    path.write_bytes(b"2")
    if restore_mtime:
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert cache.digest(path) == digest_bytes(b"2")


def test_a_replaced_file_with_equal_times_is_read_again(tmp_path: Path) -> None:
    path, other = old_file(tmp_path / "a", b"1"), old_file(tmp_path / "b", b"2")
    os.utime(other, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns))
    cache = FileStatCache(None)
    cache.digest(path)
    other.replace(path)
    assert cache.digest(path) == digest_bytes(b"2")


def test_a_file_as_young_as_its_hash_is_not_trusted(tmp_path: Path, reads: list[str]) -> None:
    path = old_file(tmp_path / "a.csv", b"1", age=0)
    cache = FileStatCache(tmp_path / "cache.db")
    cache.digest(path)
    cache.digest(path)
    assert reads == ["a.csv", "a.csv"]


def test_relative_and_absolute_paths_are_one(tmp_path: Path, reads: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    old_file(tmp_path / "a.csv", b"1")
    monkeypatch.chdir(tmp_path)
    cache = FileStatCache(None)
    assert cache.digest(Path("a.csv")) == cache.digest(tmp_path / "a.csv") == cache.digest(Path("x/../a.csv"))
    assert reads == ["a.csv"]


@pytest.mark.parametrize("damage", ["garbage", "other schema", "folder", "locked", "unwritable"])
def test_a_broken_cache_is_no_error(tmp_path: Path, damage: str) -> None:
    path = old_file(tmp_path / "a.csv", b"1")
    database = tmp_path / "cache.db"
    holder = None
    if damage == "garbage":
        database.write_bytes(b"not a database" * 100)
    elif damage == "other schema":
        with sqlite3.connect(database) as connection:
            connection.execute("CREATE TABLE file_digests (path TEXT)")
        connection.close()
    elif damage == "folder":
        database.mkdir()
    elif damage == "locked":
        holder = sqlite3.connect(database)
        holder.execute("BEGIN EXCLUSIVE")
    else:
        (tmp_path / "file").write_bytes(b"")
        database = tmp_path / "file" / "cache.db"
    for _ in range(2):
        cache = FileStatCache(database)
        cache.load()
        assert cache.digest(path) == digest_bytes(b"1")
        cache.flush()
    if holder is not None:
        holder.close()


def test_garbage_is_replaced(tmp_path: Path, reads: list[str]) -> None:
    path = old_file(tmp_path / "a.csv", b"1")
    database = tmp_path / "cache.db"
    database.write_bytes(b"not a database" * 100)
    for _ in range(2):
        cache = FileStatCache(database)
        cache.digest(path)
        cache.flush()
    assert reads == ["a.csv"]


def test_an_absent_file_is_the_callers_business(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        FileStatCache(None).digest(tmp_path / "absent")


def test_the_plans_path_imports_nothing_heavy() -> None:
    code = (
        "import sys, engine.adapters.sources.data, engine.adapters.sources.stat_cache, engine.adapters.artifacts.local;"
        "print(sorted({m.partition('.')[0] for m in sys.modules} & set(sys.argv[1].split(','))))"
    )
    heavy = (
        "pandas,numpy,pyarrow,fsspec,sqlalchemy,pydantic,sklearn,mlflow,scipy,networkx,yaml,"
        "asyncio,socket,difflib,shutil,random,hashlib"
    )
    answer = subprocess.run([sys.executable, "-c", code, heavy], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"
