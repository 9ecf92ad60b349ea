"""More requests than can be answered: who is refused, how soon, and that nothing is counted for it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from served import MISCHIEF, PREDICT, ROW, Answer, Gateway, set_endpoint

from engine.serving.concurrency import FLOOR

Serve = Callable[..., Gateway]
SLOW = {**ROW, "months": -5}  # each takes 0.4 s, one after the other


@contextmanager
def busy(gateway: Gateway, count: int, release: int, **headers: str) -> Iterator[list[Answer]]:
    """While so many slow requests keep the release's processes busy; their answers once they have ended."""
    answers: list[Answer] = []
    named = {name.replace("_", "-"): value for name, value in headers.items()}

    def ask() -> None:
        answers.append(gateway.client().predict(SLOW, named))

    threads = [threading.Thread(target=ask) for _ in range(count)]
    for thread in threads:
        thread.start()
    gateway.wait(lambda: gateway.metric("model_concurrency", release=str(release)) == count)
    yield answers
    for thread in threads:
        thread.join()


def test_what_is_too_much_is_refused_at_once_and_counts_for_nobody(project: Path, serve: Serve) -> None:
    set_endpoint(project, stable=MISCHIEF)
    gateway = serve(max_in_flight=8, deadline=30.0).ready()
    client = gateway.client()
    with busy(gateway, 8, MISCHIEF) as answers, gateway.socket() as large:
        begun = time.monotonic()
        refused = client.predict()
        head = f"POST {PREDICT} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 5000000\r\n\r\n"
        large.sendall(head.encode())  # nobody waits for its body
        assert large.recv(65536).startswith(b"HTTP/1.1 429 ")
        assert client.predict().status == 429  # on the same connection
        assert client.ask("POST", PREDICT, b"no JSON").status == 429  # nobody looked at it
        assert client.predict(headers={"x-engine-release": str(MISCHIEF)}).status == 429
        taken = time.monotonic() - begun
        assert client.ask("GET", "/healthz").status == client.ask("GET", "/readyz").status == 200
        assert not answers, "the refusals came after the answers"
    assert taken < 1
    assert (refused.status, refused.headers["retry-after"]) == (429, "1")
    assert "too many requests" in refused.json["error"]
    assert [answer.status for answer in answers] == [200] * 8
    assert client.predict().status == 200
    assert gateway.metric("model_overload_refusals_total", release=str(MISCHIEF)) == 5
    assert gateway.metric("gateway_turned_away_total") == 5
    assert gateway.metric("model_refused_total") == gateway.metric("model_errors_total") == 0
    gateway.wait(lambda: sum(tally.requests for tally in gateway.tallies()) == 9)
    assert sum(tally.errors for tally in gateway.tallies()) == 0


def test_who_asks_again_at_once_is_read_a_moment_later(project: Path, serve: Serve) -> None:
    set_endpoint(project, stable=MISCHIEF)
    gateway = serve(max_in_flight=8, deadline=30.0).ready()
    client = gateway.client()
    with busy(gateway, 8, MISCHIEF) as answers:
        begun = time.monotonic()
        assert [client.predict().status for _ in range(21)] == [429] * 21
        taken = time.monotonic() - begun
        assert not answers, "the refusals came after the answers"
    assert taken > 20 * 0.01
    assert client.predict().status == 200  # on the same connection


def test_a_candidate_without_room_leaves_its_requests_to_the_stable_release(project: Path, serve: Serve) -> None:
    set_endpoint(project, candidate=MISCHIEF, weight=0.5)
    gateway = serve(deadline=60.0).ready()
    gateway.effective(stable=1, candidate=MISCHIEF, weight=0.5)
    client = gateway.client()
    versions = {str(n): client.predict(headers={"x-routing-key": str(n)}).json["version"] for n in range(20)}
    key = next(key for key, version in versions.items() if version == MISCHIEF)
    rounds = 0  # of slow company, until its limit has come down
    while gateway.metric("model_concurrency_limit", release=str(MISCHIEF)) > FLOOR:
        with busy(gateway, 4, MISCHIEF, x_routing_key=key):
            rounds += 1
        assert rounds < 10
    assert gateway.metric("model_concurrency_limit", release="1") > FLOOR
    with busy(gateway, FLOOR, MISCHIEF, x_routing_key=key) as slow:
        begun = time.monotonic()
        during = {name: client.predict(headers={"x-routing-key": name}).json for name in versions}
        assert client.predict(headers={"x-engine-release": str(MISCHIEF)}).status == 429
        assert not slow
        assert time.monotonic() - begun < 2
    assert {(answer["version"], answer["role"]) for answer in during.values()} == {(1, "stable")}
    assert {answer.status for answer in slow} == {200}
    # The twenty leave no evidence, of neither release: the split of what is judged stays the one that was approved.
    counted = 20 + rounds * 4 + FLOOR
    after = client.predict(headers={"x-routing-key": key})
    assert after.json["version"] == MISCHIEF
    gateway.wait(lambda: sum(tally.requests for tally in gateway.tallies()) == counted + 1)
    assert sum(tally.errors + tally.fallbacks for tally in gateway.tallies()) == 0
    assert gateway.metric("model_requests_total", release="1", role="stable") == 20 + list(versions.values()).count(1)
