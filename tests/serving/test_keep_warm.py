"""After a blue-green flip the old release stays loaded for a time: going back to it loads nothing."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import closing
from datetime import datetime, timezone
from pathlib import Path

import pytest
from served import TWIN, Client, Gateway, is_alive

from engine.app.delivering import follow
from engine.app.workspace import open_workspace
from engine.cli.entry import run
from engine.core.records import Endpoint
from engine.core.rollout import Phase, start
from engine.kinds import KINDS, STRATEGIES


def begin(folder: Path, keep_warm: str) -> None:
    """Offer the twin by a blue-green rollout, as a deployment does."""
    block = KINDS.strategies["blue_green"].model_validate({"strategy": "blue_green", "keep_warm": keep_warm})
    strategy = STRATEGIES["blue_green"](block.model_dump(mode="json"))
    workspace = open_workspace(folder)
    store = workspace.store
    before = store.models(["churn"])["churn"].endpoint or Endpoint("churn")
    rollout, after = start(before, TWIN, strategy, 1, "twin", datetime.now(timezone.utc))
    assert rollout is not None
    lease = store.acquire("churn", "test", 30)
    try:
        store.set_endpoint(lease, before, after, actor="test", reason="test", rollouts=[(None, rollout)])
    finally:
        store.release(lease)
        store.close()


def flip(gateway: Gateway, keep_warm: str) -> None:
    begin(gateway.folder, keep_warm)
    workspace = open_workspace(gateway.folder)
    [found] = follow(workspace, ["churn"], lambda shown: None, threading.Event())
    assert found.rollout is not None
    assert found.rollout.phase is Phase.PROMOTED, found.rollout.reason
    workspace.store.close()
    gateway.effective(stable=TWIN)


@pytest.mark.slow
def test_going_back_within_the_time_loads_nothing(serve: Callable[..., Gateway]) -> None:
    gateway = serve().ready()
    old = gateway.model_pid(1)
    flip(gateway, "10m")
    assert gateway.state(1)["state"] == "ready"
    assert gateway.model_pid(1) == old
    with closing(Client(gateway.address)) as client:
        assert client.predict().headers["x-engine-release"] == str(TWIN)
        assert run(["--chdir", str(gateway.folder), "rollback", "churn"]) == 0
        flipped = time.monotonic()
        while (answer := client.predict()).headers["x-engine-release"] != "1":
            assert answer.status == 200
            assert time.monotonic() - flipped < 1.0
    assert gateway.model_pid(1) == old, "its process was there all the time"
    gateway.wait(lambda: str(TWIN) not in gateway.model()["releases"])


@pytest.mark.slow
def test_it_goes_when_the_time_is_over(serve: Callable[..., Gateway]) -> None:
    gateway = serve().ready()
    old = gateway.model_pid(1)
    flip(gateway, "3s")
    gateway.wait(lambda: not is_alive(old))
    gateway.wait(lambda: "1" not in gateway.model()["releases"])
    with closing(Client(gateway.address)) as client:
        assert client.predict().status == 200


@pytest.mark.slow
def test_a_gateway_that_starts_meanwhile_loads_it(serve: Callable[..., Gateway]) -> None:
    gateway = serve().ready()
    flip(gateway, "10m")
    assert gateway.stop() == 0
    again = serve().ready()
    again.wait(lambda: again.state(1).get("state") == "ready")
    again.effective(stable=TWIN)
