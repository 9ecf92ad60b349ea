"""A web server on loopback."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from engine.testing.listening import WebServer


@pytest.fixture
def web() -> Iterator[WebServer]:
    """A web server that keeps what it gets."""
    server = WebServer()
    yield server
    server.close()
