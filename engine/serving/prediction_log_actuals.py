"""What predictions turned out to be: actual values by id, in the file of the evidence that they are counted into.

They lie in one file with the tallies so that a value and its count are stored in one transaction: a value that is kept
has been counted, exactly once, whatever dies in between.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from engine.core.evidence import Tally
from engine.serving.evidence_file import insert, open_evidence

EVIDENCE = "evidence.db"
_AT_ONCE = 500  # ids in a question; SQLite takes 999
_FORGET_AT_ONCE = 20_000  # in a transaction, so that nobody waits for long


@dataclass(frozen=True)
class Actual:
    """An actual value: a class's label or a number. `at` is when it came, UTC."""

    actual: str | float
    at: str


class Actuals:
    """Of all models. Opened for each call."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @staticmethod
    def in_folder(folder: Path) -> Actuals:
        """Those in a gateway's folder."""
        return Actuals(folder / EVIDENCE)

    def add(
        self, model: str, at: str, given: Mapping[str, str | float], tallies: Callable[[Sequence[str]], Iterable[Tally]]
    ) -> dict[str, str | float]:
        """Keep values by id and add the tallies of those that are new; returns what was kept before. Durable.

        Raises sqlite3.Error, with nothing kept.
        """
        with closing(self._open()) as connection, connection:
            connection.execute("BEGIN IMMEDIATE")
            kept = _known(connection, model, given)
            new = [id_ for id_ in given if id_ not in kept]
            connection.executemany(
                "INSERT INTO actuals (model, id, actual, at) VALUES (?, ?, ?, ?)",
                [(model, bytes.fromhex(id_), json.dumps(given[id_]), at) for id_ in new],
            )
            insert(connection, tallies(new))
        return kept

    def between(self, model: str, first: str, last: str) -> dict[str, Actual]:
        """Those of a model's ids from `first` to `last`."""
        if not self._path.exists():
            return {}
        with closing(self._open()) as connection:
            found = connection.execute(
                "SELECT id, actual, at FROM actuals WHERE model = ? AND id BETWEEN ? AND ?",
                (model, bytes.fromhex(first), bytes.fromhex(last)),
            ).fetchall()
        return {id_.hex(): Actual(json.loads(actual), at) for id_, actual, at in found}

    def count(self, model: str, first: str, last: str) -> int:
        """How many there are of a model's ids from `first` to `last`."""
        if not self._path.exists():
            return 0
        with closing(self._open()) as connection:
            found = connection.execute(
                "SELECT count(*) FROM actuals WHERE model = ? AND id BETWEEN ? AND ?",
                (model, bytes.fromhex(first), bytes.fromhex(last)),
            ).fetchone()
        return int(found[0])

    def extent(self, model: str, until: str | None = None) -> tuple[int, str]:
        """How many there are of a model (that came up to a moment, UTC), and when the newest came; empty for none."""
        if not self._path.exists():
            return 0, ""
        with closing(self._open()) as connection:
            count, newest = connection.execute(
                "SELECT count(*), max(at) FROM actuals WHERE model = ? AND (? IS NULL OR at <= ?)",
                (model, until, until),
            ).fetchone()
        return int(count), newest or ""

    def newest(self, model: str, until: str, count: int) -> str:
        """The oldest id of the `count` newest that came up to a moment, UTC; empty where there are not as many."""
        if not self._path.exists():
            return ""
        with closing(self._open()) as connection:
            found = connection.execute(
                "SELECT id FROM actuals WHERE model = ? AND at <= ? ORDER BY id DESC LIMIT 1 OFFSET ?",
                (model, until, count - 1),
            ).fetchone()
        return found[0].hex() if found else ""

    def forget(self, model: str, before: int) -> None:
        """Delete those of ids below this one."""
        if not self._path.exists():
            return
        with closing(self._open()) as connection:
            gone = _FORGET_AT_ONCE
            while gone == _FORGET_AT_ONCE:
                with connection:
                    gone = connection.execute(
                        "DELETE FROM actuals WHERE (model, id) IN "
                        "(SELECT model, id FROM actuals WHERE model = ? AND id < ? LIMIT ?)",
                        (model, before.to_bytes(16, "big"), _FORGET_AT_ONCE),
                    ).rowcount

    def _open(self) -> sqlite3.Connection:
        connection = open_evidence(self._path, synchronous="FULL")
        connection.execute(
            "CREATE TABLE IF NOT EXISTS actuals "
            "(model TEXT, id BLOB, actual TEXT, at TEXT, PRIMARY KEY (model, id)) WITHOUT ROWID"
        )
        return connection


def _known(connection: sqlite3.Connection, model: str, ids: Iterable[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    left = iter(ids)
    while some := [bytes.fromhex(id_) for id_ in islice(left, _AT_ONCE)]:
        marks = ", ".join("?" * len(some))
        found |= {
            id_.hex(): json.loads(actual)
            for id_, actual in connection.execute(
                f"SELECT id, actual FROM actuals WHERE model = ? AND id IN ({marks})",  # noqa: S608 - marks only
                (model, *some),
            )
        }
    return found
