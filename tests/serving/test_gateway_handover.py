"""A gateway that takes the place of another, and gateways that are told to end, under load: nobody notices."""

from __future__ import annotations

import http.client
import os
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from served import ALTERED, ROW, Client, Gateway, set_endpoint

from engine.cli.entry import run

Serve = Callable[..., Gateway]
HANDOVERS = 20 if os.environ.get("ENGINE_SOAK") == "1" else 2
LIMITS = {"idle_seconds": 120.0}


class Load:
    """Clients with connections that they keep; each asks, waits a little, asks again, and connects anew when told."""

    def __init__(self, address: str, clients: int) -> None:
        self.address = address
        self.seen: Counter[str] = Counter()
        self.slowest = 0.0
        self.stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(0.002 * n,)) for n in range(clients)]
        self._threads += [threading.Thread(target=self._connect_anew) for _ in range(2)]

    def start(self) -> None:
        """Begin."""
        for thread in self._threads:
            thread.start()

    def join(self) -> None:
        """End."""
        self.stop.set()
        for thread in self._threads:
            thread.join(30)

    def _ask(self, pause: float) -> None:
        client = Client(self.address)  # http.client connects anew after "connection: close"
        while not self.stop.wait(pause):
            self._one(client)
        client.close()

    def _connect_anew(self) -> None:
        while not self.stop.wait(0.003):
            client = Client(self.address)
            self._one(client)
            client.close()

    def _one(self, client: Client) -> None:
        begun = time.monotonic()
        try:
            self.seen[str(client.predict().status)] += 1
        except (OSError, http.client.HTTPException) as error:
            self.seen[repr(error)] += 1
        self.slowest = max(self.slowest, time.monotonic() - begun)


@contextmanager
def loaded(gateway: Gateway, clients: int = 6) -> Iterator[Load]:
    """While clients ask."""
    load = Load(gateway.address, clients)
    load.start()
    try:
        yield load
    finally:
        load.join()


def test_a_gateway_takes_the_place_of_another_and_no_request_fails(project: Path, serve: Serve) -> None:
    old = serve(**LIMITS).ready()
    first = old
    with loaded(old) as load:
        for _ in range(HANDOVERS):
            quiet = old.client()
            assert "connection" not in quiet.predict().headers
            before = load.seen["200"]
            new = serve(port=0, take_over=True, **LIMITS)  # it says its address once it has taken over
            assert new.address == first.address
            told = quiet.predict()  # idle all the time: it is told with its next answer
            assert (told.status, told.headers["connection"]) == (200, "close")
            assert quiet.predict().status == 200  # by the one that serves now
            quiet.close()
            old.wait_for_end()
            wait_until(lambda: load.seen["200"] > before + 50)  # noqa: B023
            new.wait(lambda: new.status().get("pid") == new.process.pid)  # noqa: B023
            old = new
    assert set(load.seen) == {"200"}, load.seen
    asked = load.seen["200"] + 3 * HANDOVERS
    old.wait(lambda: sum(tally.requests for tally in old.tallies()) == asked)  # none lost, none twice


def test_sigterm_to_one_whose_successor_is_loading_waits_for_it(project: Path, serve: Serve) -> None:
    old = serve(**LIMITS).ready()
    with loaded(old) as load:
        new = Gateway(project, {"take_over": True, **LIMITS})
        starting = threading.Thread(target=new.start)
        starting.start()
        wait_until(lambda: holds_lock(new))
        old.process.send_signal(signal.SIGTERM)
        starting.join(60)
        before = load.seen["200"]
        wait_until(lambda: load.seen["200"] > before + 50)
        old.wait_for_end()
    try:
        assert set(load.seen) == {"200"}, load.seen
    finally:
        assert new.stop() == 0


def test_a_successor_that_cannot_be_ready_leaves_the_other_in_its_place(project: Path, serve: Serve) -> None:
    old = serve(**LIMITS).ready()
    set_endpoint(project, stable=ALTERED)
    late = Gateway(project, {"take_over": True, "take_over_seconds": 2.0})
    with loaded(old, 2) as load, pytest.raises(AssertionError, match="the models are not ready"):
        late.start()
    assert set(load.seen) == {"200"}, load.seen
    assert old.client().predict().status == 200
    assert old.process.poll() is None
    assert old.status()["pid"] == old.process.pid
    killed = Gateway(project, {"take_over": True, "take_over_seconds": 60.0})
    thread = threading.Thread(target=lambda: (wait_until(lambda: holds_lock(killed)), killed.process.kill()))
    thread.start()
    with pytest.raises(AssertionError):
        killed.start()
    thread.join(30)
    for gateway in (late, killed):
        gateway.stop()
    assert old.client().predict().status == 200


def test_without_another_gateway_there_is_nothing_to_take(project: Path, serve: Serve) -> None:
    gateway = serve(take_over=True)
    gateway.ready()
    gateway.process.kill()  # leaves its socket and its status behind
    gateway.process.wait()
    again = serve(take_over=True).ready()
    assert again.client().predict(ROW).status == 200
    assert run(["--chdir", str(project), "serve", "--port", "0"]) == 1


def test_one_that_belongs_to_engine_up_keeps_its_place(
    project: Path, serve: Serve, capsys: pytest.CaptureFixture[str]
) -> None:
    serve(parent=os.getpid())
    assert run(["--chdir", str(project), "serve", "--port", "0", "--take-over"]) == 1
    assert "it belongs to engine up" in capsys.readouterr().err


def holds_lock(gateway: Gateway) -> bool:
    """Whether it has got the lock of the one before it, with the sockets."""
    if not hasattr(gateway, "process"):
        return False
    with suppress(OSError):  # descriptors come and go
        links = [str(each.readlink()) for each in Path(f"/proc/{gateway.process.pid}/fd").iterdir()]
        return any(link.endswith("/serving/lock") for link in links)
    return False


def wait_until(happened: Callable[[], bool], seconds: float = 60.0) -> None:
    """Wait for what others do."""
    end = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < end
        time.sleep(0.01)
