"""The inbox under load: duplicates that race, and too many that wait."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from engine.adapters.state import store as state_store
from engine.adapters.state.store import SqlStateStore
from engine.errors import TransientError
from engine.testing.postgres import PostgresServer
from engine.testing.state_contract import make_event


def put_from_many(url: str) -> None:
    stores = [SqlStateStore(url) for _ in range(4)]
    with ThreadPoolExecutor(16) as pool:
        kept = list(pool.map(lambda i: stores[i % 4].put(make_event(f"{i % 2}")), range(60)))
    assert sum(kept) == 2, "only one of many that race is told that its event was new"
    assert sorted(event.id for event in stores[0].pending()) == ["0", "1"]
    for store in stores:
        store.close()


def test_racing_duplicates_are_one_event(tmp_path: Path) -> None:
    put_from_many(f"sqlite:///{tmp_path}/state.db")


def test_racing_duplicates_are_one_event_on_postgres(postgres: PostgresServer) -> None:
    put_from_many(postgres.new_url())


def test_no_more_wait_than_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state_store, "PENDING_LIMIT", 3)
    store = SqlStateStore(f"sqlite:///{tmp_path}/state.db")
    for id in "123":
        assert store.put(make_event(id))
    with pytest.raises(TransientError, match="nobody takes them up"):
        store.put(make_event("4"))
    assert not store.put(make_event("3")), "a duplicate is answered all the same"
    assert store.put(make_event("4", "iris"))
    store.handle(store.acquire("churn", "ana", 60), ["1"], "run1")
    assert store.put(make_event("4"))
    store.close()
