"""Clients that trickle, send far too much, or keep much waiting: other clients do not notice, and memory is bounded.

`ENGINE_SOAK=1`: a thousand slow connections for half a minute, bodies of 1 GB, the limits of a gateway as it comes.
"""

from __future__ import annotations

import http.client
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import pytest
from served import PREDICT, Client, Gateway

Serve = Callable[..., Gateway]
SOAK = os.environ.get("ENGINE_SOAK") == "1"
SLOW, SECONDS = (1000, 30.0) if SOAK else (100, 2.0)
LIMITS: dict[str, Any] = {} if SOAK else {"head_seconds": 1.0, "body_seconds": 1.5, "max_bodies": 24 << 20}
BYTES = 1 << 30 if SOAK else 64 << 20
MOST_MEMORY = 400 << 20 if SOAK else 48 << 20  # more than before: all bodies in memory, and what goes with them
HEAD = f"POST {PREDICT} HTTP/1.1\r\nhost: localhost\r\n".encode()


@dataclass
class Others:
    """What other clients see meanwhile."""

    seconds: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def quantile(self, share: float) -> float:
        """Of the latencies."""
        return sorted(self.seconds)[int(share * len(self.seconds))]


@contextmanager
def others(gateway: Gateway) -> Iterator[Others]:
    """Two clients that ask steadily on a connection they keep, and one that connects anew for each request."""
    seen, stop = Others(), threading.Event()

    def ask(*, anew: bool) -> None:
        client = Client(gateway.address)
        while not stop.wait(0.005):
            begun = time.monotonic()
            try:
                status = client.predict().status
                if status != 200:
                    seen.failures.append(str(status))
            except (OSError, http.client.HTTPException) as error:
                seen.failures.append(repr(error))
            seen.seconds.append(time.monotonic() - begun)
            if anew:
                client.close()
        client.close()

    threads = [threading.Thread(target=ask, kwargs={"anew": number == 2}) for number in range(3)]
    for thread in threads:
        thread.start()
    try:
        yield seen
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def memory(gateway: Gateway) -> float:
    """The gateway's, bytes."""
    return gateway.metric("engine_process_resident_memory_bytes", process="gateway")


def test_slow_connections_disturb_nobody(serve: Serve, record_property: Callable[[str, object], None]) -> None:
    gateway = serve(**LIMITS).ready()
    with others(gateway) as before:
        time.sleep(SECONDS / 4)
    at_rest, most, cut = memory(gateway), 0.0, 0
    openings = [HEAD, HEAD + b"content-length: 5000\r\n\r\n", HEAD + b"transfer-encoding: chunked\r\n\r\n1000\r\n"]

    def opened(number: int) -> socket.socket:
        connection = gateway.socket()
        connection.setblocking(False)
        connection.send(openings[number % 3])
        return connection

    with others(gateway) as during:
        slow = [opened(number) for number in range(SLOW)]
        end = time.monotonic() + SECONDS
        while time.monotonic() < end:
            for number, connection in enumerate(slow):
                try:
                    connection.send(b"x")
                    ended = connection.recv(4096)
                except BlockingIOError:
                    continue
                except OSError:
                    ended = b""
                cut += 1
                assert not ended or ended.startswith(b"HTTP/1.1 408 ")
                connection.close()
                slow[number] = opened(number)
            most = max(most, memory(gateway))
        for connection in slow:
            connection.close()
    _tell(record_property, before, during, most - at_rest)
    assert cut >= SLOW // 3  # heads; bodies may take three times as long
    assert not during.failures
    assert during.quantile(0.99) < 0.5
    assert most - at_rest < MOST_MEMORY


def _tell(record: Callable[[str, object], None], before: Others, during: Others, grown: float) -> None:
    for name, seen in (("before", before), ("during", during)):
        record(f"{name}_requests", len(seen.seconds))
        for share in (0.5, 0.99):
            record(f"{name}_p{share * 100:.0f}_ms", round(seen.quantile(share) * 1000, 2))
    record("failures", len(during.failures))
    record("memory_grown_mib", round(grown / (1 << 20), 1))


def _pour(gateway: Gateway, head: bytes, piece: bytes, many: int) -> bytes:
    """Send a body until it is refused; what was answered."""
    with gateway.socket() as connection:
        answer = b""
        with suppress(OSError):
            connection.sendall(head)
            for _ in range(many):
                connection.sendall(piece)
        with suppress(OSError):
            answer = connection.recv(4096)
        return answer


@pytest.mark.parametrize("kind", ["length", "chunks", "specks"])
def test_a_huge_body_disturbs_nobody(live: Gateway, kind: str, record_property: Callable[[str, object], None]) -> None:
    gateway = live
    block = b"x" * (64 << 10)
    chunked = HEAD + b"transfer-encoding: chunked\r\n\r\n"
    head, piece = {
        "length": (HEAD + b"content-length: %d\r\n\r\n" % BYTES, block),
        "chunks": (chunked, b"%x\r\n%s\r\n" % (len(block), block)),
        "specks": (chunked, b"1\r\nx\r\n" * (len(block) // 6)),
    }[kind]
    with others(gateway) as before:
        time.sleep(0.3)
    at_rest, most = memory(gateway), 0.0
    with others(gateway) as during:
        for _ in range(4):
            answer = _pour(gateway, head, piece, BYTES // len(block))
            assert answer == b"" or answer.startswith(b"HTTP/1.1 413 "), answer
            most = max(most, memory(gateway))
    _tell(record_property, before, during, most - at_rest)
    assert not during.failures
    assert during.quantile(0.99) < 0.5
    assert most - at_rest < 48 << 20


def test_who_keeps_most_waiting_gives_way(serve: Serve) -> None:
    gateway = serve(**{**LIMITS, "body_seconds": 20.0, "max_bodies": 24 << 20}).ready()
    piece = b"x" * (9 << 20)
    head = HEAD + b"content-length: %d\r\n\r\n" % (len(piece) + 1)
    at_rest = memory(gateway)
    with others(gateway) as during:
        hoarders = [gateway.socket() for _ in range(6)]
        refused = 0
        for connection in hoarders:
            connection.sendall(head)
            connection.sendall(piece)  # and never the last byte
        for connection in hoarders:
            connection.settimeout(0.5)
            with suppress(TimeoutError):
                refused += connection.recv(4096).startswith(b"HTTP/1.1 503 ")
        seen = len(during.seconds)
        gateway.wait(lambda: len(during.seconds) > seen + 20)
        most = memory(gateway)
        for connection in hoarders:
            connection.close()
    assert refused >= 4  # 24 MiB hold two of them
    assert not during.failures
    assert most - at_rest < 64 << 20


def test_health_is_told_when_there_are_too_many_connections(serve: Serve) -> None:
    gateway = serve(max_connections=5).ready()
    many = [gateway.socket() for _ in range(5)]
    try:
        gateway.wait(lambda: gateway.ask("/healthz").status == 200)
        answer = gateway.ask("/v1/models")
        assert (answer.status, answer.headers["retry-after"]) == (503, "1")
        assert gateway.ask("/readyz").status == 200
    finally:
        for connection in many:
            connection.close()
    gateway.wait(lambda: gateway.client().predict().status == 200)
