"""What a controller notices of logs that grow, without listing all their files each time."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, cast

import pytest

from engine.app import watching
from engine.app.watching import Watching
from engine.app.workspace import Workspace

LONG_AGO = 1_000_000_000


@pytest.fixture
def watcher(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Watching]:
    monkeypatch.setattr(watching, "LOOK_SECONDS", 0.0)
    nothing = cast(Any, lambda *_: None)
    yield Watching(Workspace(tmp_path), nothing, nothing, nothing, nothing, lambda: datetime.now(timezone.utc))


def test_only_what_grew_is_looked_at(watcher: Watching, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert watcher.grown() == set()
    log = tmp_path / ".engine" / "serving" / "log"
    for name in ("a", "b"):
        (log / name).mkdir(parents=True)
        (log / name / "1.parquet").write_bytes(b"old")
    for name in ("a", "b"):
        os.utime(log / name, ns=(LONG_AGO, LONG_AGO))
    assert watcher.grown() == {"a", "b"}
    assert watcher.grown() == set()
    (log / "a" / "2.log").write_bytes(b"x")
    assert watcher.grown() == {"a"}
    assert watcher.grown() == set()
    os.utime(log / "a", ns=(LONG_AGO, LONG_AGO))
    watcher.grown()
    listed: list[str] = []
    monkeypatch.setattr(watching, "_growing", lambda folder: listed.append(folder) or [])
    with (log / "a" / "2.log").open("ab") as file:
        file.write(b"y")
    assert watcher.grown() == {"a"}
    assert watcher.grown() == set()
    assert not listed, "nothing was added: there is nothing to list"
    (log / "a" / "2.log").unlink()
    assert watcher.grown() == {"a"}
    assert listed == [str(log / "a")]


def test_the_disk_is_asked_now_and_then(watcher: Watching, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "LOOK_SECONDS", 1000.0)
    assert watcher.grown() == set()
    (tmp_path / ".engine" / "serving" / "log" / "a").mkdir(parents=True)
    assert watcher.grown() == set()
    monkeypatch.setattr(watching, "LOOK_SECONDS", 0.0)
    assert watcher.grown() == {"a"}
