"""A project that is served while rollouts go on: a real gateway, clients whose requests are counted, and what is seen.

`Served` watches the gateway's status all the time; `check` holds every weight that was ever in effect against the
record of its generation in the audit log.
"""

from __future__ import annotations

import http.client
import json
import os
import random
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from typing import Any

from harness import ENGINE, Life

from engine.adapters.state.reader import SqliteStateReader

CLIENTS = 2
PAUSE = 0.004  # seconds between two requests of a client


class Served:
    """See the module. `failures` are answers that no client should get; `answered` counts the others by version."""

    def __init__(self, life: Life) -> None:
        self.life = life
        self.failures: list[str] = []
        self.answered: Counter[int] = Counter()
        self.effective: set[tuple[int, int, int | None, float]] = set()
        self.unready: list[Mapping[str, Any]] = []  # statuses in which a candidate serves that is not ready
        self._over = threading.Event()
        self._status = life.home / "serving" / "status.json"
        self._status.unlink(missing_ok=True)
        self.printed = life.home / "gateway.txt"
        with self.printed.open("ab") as printed:
            self.gateway = subprocess.Popen(
                [*ENGINE, "serve", "--port", "0"], cwd=life.root, stdout=printed, stderr=printed, start_new_session=True
            )
        self._threads = [threading.Thread(target=self._watch)]
        self._threads[0].start()

    def load(self) -> None:
        """Begin to send requests, once the stable release answers."""
        self.wait(lambda: self.model().get("effective") is not None)
        self._threads += [threading.Thread(target=self._ask, args=(seed,)) for seed in range(CLIENTS)]
        for thread in self._threads[1:]:
            thread.start()

    def close(self) -> None:
        """End the clients, then the gateway."""
        self._over.set()
        for thread in self._threads:
            thread.join()
        self.gateway.terminate()
        assert self.gateway.wait(30) == 0, self.printed.read_text()

    def status(self) -> Mapping[str, Any]:
        """What the gateway says."""
        with suppress(OSError, ValueError):
            found: Mapping[str, Any] = json.loads(self._status.read_text())
            return found
        return {}

    def model(self) -> Mapping[str, Any]:
        """What it says of the model."""
        found: Mapping[str, Any] = self.status().get("models", {}).get("tiny", {})
        return found

    def wait(self, happened: Callable[[], bool], seconds: float = 120.0) -> None:
        """Wait for what another process does."""
        deadline = time.monotonic() + seconds
        while not happened():
            assert self.gateway.poll() is None, self.printed.read_text()
            assert time.monotonic() < deadline, (self.status(), self.printed.read_text())
            time.sleep(0.02)

    def model_process(self, version: int) -> int:
        """The process of a release that is loaded; 0 while there is none."""
        with closing(self._connect()) as connection:
            connection.request("GET", "/v1/models/tiny")
            found = json.loads(connection.getresponse().read())["processes"].get(str(version)) or [0]
            return int(found[0])

    def kill_model_process(self, version: int) -> bool:
        """SIGKILL the process of a release; whether there was one."""
        pid = self.model_process(version)
        if pid:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return pid != 0

    def check(self) -> None:
        """No client was failed; nothing was ever in effect that its generation's record did not approve."""
        assert self.failures == []
        reader = SqliteStateReader(self.life.home / "state.db")
        records = [event.details["after"] for event in reader.audit() if event.event == "endpoint changed"]
        reader.close()
        approved: dict[int, Any] = {record["generation"]: record for record in records}  # type: ignore[index, call-overload, misc]
        for generation, stable, candidate, weight in sorted(self.effective, key=str):
            record = approved[generation]
            assert weight <= record["weight"], (generation, weight, record)
            assert candidate in (None, record["candidate"])
            assert (candidate is not None) == (weight > 0)
            assert stable in (record["stable"], record["previous"])
        assert self.unready == []

    def _watch(self) -> None:
        while not self._over.wait(0.01):
            found = self.model()
            effective = found.get("effective")
            if effective is None:
                continue
            stable, candidate, weight = (effective[name] for name in ("stable", "candidate", "weight"))
            self.effective.add((found["generation"], stable, candidate, weight))
            if candidate is not None and found["releases"][str(candidate)]["state"] != "ready":
                self.unready.append(found)

    def _connect(self) -> http.client.HTTPConnection:
        host, _, port = str(self.status()["address"]).rpartition(":")
        return http.client.HTTPConnection(host, int(port), timeout=30)

    def _ask(self, seed: int) -> None:
        chance = random.Random(seed)
        connection = self._connect()
        while not self._over.wait(PAUSE):
            row = {"a": chance.gauss(0, 1), "b": chance.gauss(0, 1), "c": chance.choice("xyz")}
            try:
                connection.request(
                    "POST", "/v1/models/tiny/predict", json.dumps(row), {"content-type": "application/json"}
                )
                response = connection.getresponse()
                body = response.read()
                if response.status == 200:
                    self.answered[json.loads(body)["version"]] += 1
                else:
                    self.failures.append(f"{response.status} {body.decode()}")
            except (OSError, http.client.HTTPException) as error:
                self.failures.append(repr(error))
                connection.close()
        connection.close()


@contextmanager
def served(life: Life) -> Iterator[Served]:
    """A gateway on the project with clients that never pause."""
    found = Served(life)
    try:
        found.load()
        yield found
    finally:
        found.close()
