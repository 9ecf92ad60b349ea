"""The state contract over each database."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.adapters.state.reader import SqliteStateReader
from engine.adapters.state.store import SqlStateStore
from engine.testing.postgres import PostgresServer
from engine.testing.state_contract import StateContract, StateUnderTest


class TestSqlite(StateContract):
    @pytest.fixture
    def state(self, tmp_path: Path) -> StateUnderTest:
        path = tmp_path / "state.db"
        return StateUnderTest(
            open_store=lambda clock: SqlStateStore(f"sqlite:///{path}", clock),
            open_reader=lambda: SqliteStateReader(path),
        )


class TestPostgres(StateContract):
    @pytest.fixture
    def state(self, postgres: PostgresServer) -> StateUnderTest:
        url = postgres.new_url()
        return StateUnderTest(
            open_store=lambda clock: SqlStateStore(url, clock), open_reader=lambda: SqlStateStore(url)
        )
