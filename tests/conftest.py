"""How many examples Hypothesis tries (with ENGINE_SOAK=1 as many as a night allows), and a database server."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from engine.testing.postgres import PostgresServer

settings.register_profile("quick", max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("soak", settings.get_profile("quick"), max_examples=2_000)
settings.load_profile("soak" if os.environ.get("ENGINE_SOAK") == "1" else "quick")


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgresServer]:
    """A PostgreSQL server; tests that want one are skipped where none is installed."""
    pytest.importorskip("psycopg")
    binaries = PostgresServer.find()
    if binaries is None:
        pytest.skip("no PostgreSQL server is installed")
    server = PostgresServer(binaries)
    server.start()
    yield server
    server.stop()
