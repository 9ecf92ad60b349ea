"""A control listener in this process, on a project whose churn has releases 1 to 3 and a rollout that goes on."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import threading
from collections.abc import Mapping
from contextlib import closing
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from served import Answer, Client

from engine import kinds
from engine.app.serving import ControlAt, control_beside
from engine.app.tokens import create
from engine.app.workspace import Workspace
from engine.core.records import Event
from engine.core.rollout import start
from engine.serving.control import control_settings
from engine.serving.tokens import Purpose

SECRET = "a secret of deliveries"


def begin_rollout(folder: Path, candidate: int) -> None:
    """Bring a release of churn in as a candidate, as its spec says; the registry is taken to know."""
    workspace = Workspace(folder)
    store = workspace.store
    block: Any = store.runs("churn")[0].document["deployment"]
    before = store.models(["churn"])["churn"].endpoint
    assert before is not None
    strategy = kinds.STRATEGIES[block["strategy"]](block)
    rollout, after = start(before, candidate, strategy, 1, "b", datetime.now(timezone.utc))
    assert rollout is not None
    lease = store.acquire("churn", "test", 30)
    store.set_endpoint(lease, before, after, actor="test", reason="deploy", rollouts=[(None, rollout)])
    store.set_mirrored(after)
    store.release(lease)
    workspace.close()


class Controlled:
    """The listener, with a token of each kind. `limits` are the settings that differ."""

    def __init__(self, folder: Path, **limits: Any) -> None:
        self.workspace = Workspace(folder)
        self.tokens = {purpose: create(self.workspace, purpose, f"my-{purpose.value}", None)[1] for purpose in Purpose}
        self.address = ""
        settings = replace(control_settings("127.0.0.1", 0), **limits)
        self.control = control_beside(self.workspace, ControlAt(settings, self._listens), insecure=False)
        self._heard = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._live()))

    def __enter__(self) -> Controlled:
        self._thread.start()
        assert self._heard.wait(20)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join(60)
        assert not self._thread.is_alive()
        self.workspace.close()

    def ask(
        self, method: str, path: str, body: Any = None, token: str | None = "", headers: Mapping[str, str] = {}
    ) -> Answer:
        """A request on a connection of its own, with the control token unless another or none (None) is given."""
        token = self.tokens[Purpose.CONTROL] if token == "" else token
        bearer = {} if token is None else {"authorization": f"Bearer {token}"}
        with closing(Client(self.address)) as client:
            return client.ask(method, path, body, {**bearer, **headers})

    def deliver(self, body: bytes, name: str = "churn", **headers: str) -> Answer:
        """A delivery to the hook; keywords are headers with _ for -."""
        found = {key.replace("_", "-"): value for key, value in headers.items()}
        return self.ask("POST", f"/hooks/{name}", body, None, found)

    def events(self) -> list[Event]:
        """What waits in churn's inbox."""
        with closing(Workspace(self.workspace.root)) as workspace:
            return list(workspace.reader.pending("churn"))

    def audit(self) -> list[tuple[str, str]]:
        """Who did what, oldest first."""
        with closing(Workspace(self.workspace.root)) as workspace:
            return [(event.actor, event.event) for event in workspace.reader.audit()]

    def _listens(self, address: str) -> None:
        self.address = address
        self._heard.set()

    async def _live(self) -> None:
        self._loop, self._over = asyncio.get_running_loop(), asyncio.Event()
        await self.control.start()
        await self._over.wait()
        await self.control.stop()


def signed(body: bytes, stamp: int | None = None, secret: str = SECRET) -> dict[str, str]:
    """The headers that sign a body."""
    text = body if stamp is None else b"%d.%s" % (stamp, body)
    found = {"x_hub_signature_256": "sha256=" + hmac.new(secret.encode(), text, hashlib.sha256).hexdigest()}
    return found if stamp is None else {**found, "x_engine_timestamp": str(stamp)}


def payload(**fields: Any) -> bytes:
    """A body."""
    return json.dumps(fields).encode()
