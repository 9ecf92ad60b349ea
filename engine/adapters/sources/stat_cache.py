"""Digests of files that were hashed before, recognised by path, size, mtime, ctime and inode.

A small SQLite file that may be deleted at any time: one that is missing, locked, broken or read-only costs the
hashing again and is never an error. `load()` once, look up in memory, `flush()` once. A file that was modified
within two seconds before it was hashed is hashed again next time, since a coarse clock might hide a later change
(git's "racy" rule). Imports nothing but the standard library and blake3, for it is on every plan's path.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from engine.adapters.artifacts.content import digest_file, digest_start
from engine.ports import Hashed

RACY = 2_000_000_000  # nanoseconds

_CREATE = """CREATE TABLE IF NOT EXISTS file_digests (
    path TEXT PRIMARY KEY, size INTEGER, mtime INTEGER, ctime INTEGER, inode INTEGER, digest TEXT, hashed INTEGER
) WITHOUT ROWID"""


class _Known(NamedTuple):
    """What a file looked like when it was hashed; times in nanoseconds."""

    size: int
    mtime: int
    ctime: int
    inode: int
    digest: str
    hashed: int


class Seen(NamedTuple):
    """A file's length in bytes and its digest at that length."""

    size: int
    digest: str


class FileStatCache:
    """A `StatCache` kept in the SQLite file `database`, or in memory alone when that is None."""

    def __init__(self, database: Path | None = None) -> None:
        self._database = database
        self._known: dict[str, _Known] = {}
        self._fresh: dict[str, _Known] = {}
        self._loaded = False

    def digest(self, path: Path) -> str:
        """The digest of a file's bytes, from memory when it is certain that they are the same. Raises OSError."""
        return self.digest_at(os.fspath(path))

    def digest_at(self, path: str) -> str:
        """The same for a path as a string, which spares planning the making of a thousand Path objects."""
        if not self._loaded:
            self.load()
        key = path if path.startswith("/") else os.path.abspath(path)  # noqa: PTH100 - strings, for speed
        status = os.stat(key)  # noqa: PTH116
        certain = self._certain(key, status)
        if certain is not None:
            return certain
        hashed = time.time_ns()
        digest = digest_file(key)
        after = os.stat(key)  # noqa: PTH116 - keys are strings
        if not _same(after, status):  # it is being written
            if after.st_ino != status.st_ino or after.st_size < status.st_size:
                return digest  # true for now, not worth keeping
            digest = digest_start(key, status.st_size)  # what it was if it only grows, which a snapshot then finds
        self._note(key, status, digest, hashed)
        return digest

    def known(self, path: Path) -> Hashed | None:
        """The file as it was hashed, if it is certain that it is that still. Raises OSError."""
        if not self._loaded:
            self.load()
        key = os.path.abspath(path)  # noqa: PTH100 - links stay as they are
        status = os.stat(key)  # noqa: PTH116 - keys are strings
        digest = self._certain(key, status)
        return None if digest is None else Hashed(digest, status.st_size, status.st_mtime_ns, status.st_ino)

    def _certain(self, key: str, status: os.stat_result) -> str | None:
        known = self._known.get(key)
        if (
            known is not None
            and known.size == status.st_size
            and known.mtime == status.st_mtime_ns
            and known.ctime == status.st_ctime_ns
            and known.inode == status.st_ino
            and known.mtime < known.hashed - RACY
        ):
            return known.digest
        return None

    def seen(self, path: Path) -> Seen | None:
        """How long a file was, and its digest, when it was hashed last; None if that is not known."""
        if not self._loaded:
            self.load()
        known = self._known.get(os.path.abspath(path))  # noqa: PTH100
        return None if known is None else Seen(known.size, known.digest)

    def stored(self, path: Path) -> None:
        """Say that linking this file into a store, and nothing else, has changed its ctime.

        Ignored unless the file is otherwise as it was when it was hashed.
        """
        key = os.path.abspath(path)  # noqa: PTH100
        known = self._known.get(key)
        with contextlib.suppress(OSError):
            status = os.stat(key)  # noqa: PTH116
            looks = (status.st_size, status.st_mtime_ns, status.st_ino)
            if known is not None and (known.size, known.mtime, known.inode) == looks:
                self._note(key, status, known.digest, known.hashed)

    def load(self) -> None:
        """Read what is known. A cache that cannot be read is empty."""
        self._loaded = True
        if self._database is None or not self._database.exists():
            return
        with contextlib.suppress(sqlite3.Error, TypeError):
            connection = sqlite3.connect(f"file:{_quoted(self._database)}?mode=ro", uri=True, timeout=0.2)
            with contextlib.closing(connection):
                rows = connection.execute("SELECT path, size, mtime, ctime, inode, digest, hashed FROM file_digests")
                self._known = {row[0]: _Known(*row[1:]) for row in rows}

    def flush(self) -> None:
        """Keep what was learned since `load`. A cache that cannot be written stays as it is."""
        if self._database is None or not self._fresh:
            return
        rows = [(path, *known) for path, known in self._fresh.items()]
        try:
            self._write(rows)
        except sqlite3.OperationalError:  # locked, read-only or full: the next plan hashes again
            return
        except sqlite3.DatabaseError:  # not a database: begin anew
            with contextlib.suppress(OSError, sqlite3.Error):
                self._database.unlink()
                self._write(rows)
        self._fresh = {}

    def _write(self, rows: Sequence[tuple[object, ...]]) -> None:
        assert self._database is not None
        with contextlib.suppress(OSError):
            self._database.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.closing(sqlite3.connect(self._database, timeout=0.5)) as connection, connection:
            connection.execute("PRAGMA synchronous=OFF")  # first: a new file's change to WAL would wait for the disk
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute(_CREATE)
            connection.executemany("INSERT OR REPLACE INTO file_digests VALUES (?,?,?,?,?,?,?)", rows)

    def _note(self, key: str, status: os.stat_result, digest: str, hashed: int) -> None:
        known = _Known(status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino, digest, hashed)
        self._known[key] = self._fresh[key] = known


def _same(one: os.stat_result, other: os.stat_result) -> bool:
    return (one.st_size, one.st_mtime_ns, one.st_ctime_ns, one.st_ino) == (
        other.st_size,
        other.st_mtime_ns,
        other.st_ctime_ns,
        other.st_ino,
    )


def _quoted(path: Path) -> str:
    """A path as part of an SQLite URI."""
    return os.fspath(path.absolute()).replace("%", "%25").replace("?", "%3f").replace("#", "%23")
