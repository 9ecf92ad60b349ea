"""Connections: pipelining, limits that are kept while reading, slow clients, foreign hosts."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable

import pytest
from served import JSON, PREDICT, ROW, Gateway

BODY = json.dumps(ROW).encode()


def head(path: str = PREDICT, method: str = "POST", *lines: str, host: str = "localhost") -> bytes:
    """A request's head."""
    return "\r\n".join([f"{method} {path} HTTP/1.1", f"host: {host}", *lines, "", ""]).encode()


def request(*lines: str, body: bytes = BODY, path: str = PREDICT) -> bytes:
    """A whole request."""
    return head(path, "POST", "content-type: application/json", f"content-length: {len(body)}", *lines) + body


def everything(connection: socket.socket) -> bytes:
    """What comes until the other end closes."""
    data = b""
    while True:
        try:
            more = connection.recv(65536)
        except ConnectionResetError:
            return data
        if not more:
            return data
        data += more


def status_of(answer: bytes) -> int:
    """The status of the first answer."""
    return int(answer.split()[1])


def test_answers_come_in_the_order_of_pipelined_requests(live: Gateway) -> None:
    with live.socket() as connection:
        bad = request(body=b"{}")
        get = head("/healthz", "GET")
        connection.sendall((request() + bad + get) * 20 + request("connection: close"))
        answers = everything(connection)
    statuses = [int(part.split()[0]) for part in answers.split(b"HTTP/1.1 ")[1:]]
    assert statuses == [200, 422, 200] * 20 + [200]


def test_a_request_may_come_byte_by_byte_or_in_chunks(live: Gateway) -> None:
    with live.socket() as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in request():
            connection.send(bytes([byte]))
        assert status_of(connection.recv(65536)) == 200
        chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (BODY[:5], BODY[5:])) + b"0\r\n\r\n"
        connection.sendall(head(PREDICT, "POST", "transfer-encoding: chunked") + chunks)
        assert status_of(connection.recv(65536)) == 200


def test_an_offer_of_another_protocol_is_ignored(live: Gateway) -> None:
    """Some clients (Java's) send one with each first request, and wait for the answer."""
    offer = request("connection: Upgrade, HTTP2-Settings", "upgrade: h2c", "http2-settings: AAMAAABk")
    with live.socket() as connection:
        for data in (offer, request(), offer + request("connection: close")):
            connection.sendall(data)
            assert status_of(connection.recv(65536)) == 200
        everything(connection)
    with live.socket() as connection:
        connection.sendall(head("localhost:80", "CONNECT") + request())
        answer = everything(connection)
        assert (status_of(answer), answer.count(b"HTTP/1.1 ")) == (404, 1)


def test_methods(live: Gateway) -> None:
    client = live.client()
    assert client.ask("HEAD", "/healthz").body == b""
    assert client.ask("HEAD", "/healthz").status == 200
    options = client.ask("OPTIONS", PREDICT)
    assert (options.status, options.headers["allow"]) == (204, "POST, OPTIONS")
    wrong = client.ask("DELETE", PREDICT)
    assert (wrong.status, wrong.headers["allow"]) == (405, "POST, OPTIONS")
    assert client.ask("GET", "/nothing").status == 404
    unknown = client.ask("POST", "/v1/models/chrn/predict", ROW)
    assert (unknown.status, unknown.json["models"]) == (404, ["churn"])
    assert client.ask("POST", "/v1/models/%63hurn/predict", ROW).status == 200
    assert client.ask("POST", PREDICT, BODY, {"x-engine-release": "9" * 5000}).status == 404
    assert client.ask("POST", PREDICT, BODY, {"content-type": "text/csv"}).status == 415
    assert client.ask("POST", PREDICT, BODY, {"content-encoding": "gzip"}).status == 415


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\ncontent-length: 3\r\n\r\nabc", 400),  # no host
        (head(PREDICT, "POST", "host: other"), 400),
        (head(PREDICT, "POST", "content-length: 5", "content-length: 6"), 400),
        (head(PREDICT, "POST", "content-length: 5", "transfer-encoding: chunked"), 400),
        (head(PREDICT, "POST", "content-length: -5"), 400),
        (head(PREDICT, "POST", f"content-length: {1 << 30}"), 413),
        (head(PREDICT, "POST", f"content-length: {10**30}"), 400),
        (head(PREDICT, "POST", "transfer-encoding: chunked") + b"%x\r\n" % 300_000 + b"x" * 300_000, 413),
        (head(PREDICT, "POST", "x-long: " + "x" * 17_000), 431),
        (head(PREDICT, "POST", *[f"x-{n}: {'x' * 90}" for n in range(200)]), 431),
        (head("/" + "x" * 17_000, "GET"), 431),
        (b"GET /healthz HTTP/1.1\r\nx: " + b"x" * 40_000, 431),
    ],
)
def test_what_cannot_be_read_is_refused_and_closed(live: Gateway, data: bytes, status: int) -> None:
    with live.socket() as connection:
        connection.sendall(data)
        answer = everything(connection)
    assert status_of(answer) == status, answer
    assert b"error" in answer


def test_a_claim_of_a_gigabyte_is_refused_before_it_is_sent(live: Gateway) -> None:
    with live.socket() as connection:
        connection.sendall(head(PREDICT, "POST", f"content-length: {1 << 30}", "expect: 100-continue"))
        assert status_of(connection.recv(65536)) == 413
    with live.socket() as connection:
        connection.sendall(head(PREDICT, "POST", f"content-length: {len(BODY)}", "expect: 100-continue"))
        assert connection.recv(65536).startswith(b"HTTP/1.1 100")
        connection.sendall(BODY)
        assert status_of(connection.recv(65536)) == 200


@pytest.mark.parametrize(
    "beginning",
    [b"POST /v1/mod", head(PREDICT, "POST", "content-length: 50") + b'{"months"'],
    ids=["head", "body"],
)
def test_slow_clients_are_cut_and_disturb_nobody(live: Gateway, beginning: bytes) -> None:
    slow = [live.socket() for _ in range(100)]
    for connection in slow:
        connection.sendall(beginning)
    client = live.client()
    assert all(client.predict().status == 200 for _ in range(20))
    begun = time.monotonic()
    for connection in slow:
        with connection:
            assert status_of(everything(connection)) == 408
    assert time.monotonic() - begun < 5


def test_other_sites_and_hosts_are_refused_where_something_may_change(live: Gateway) -> None:
    client = live.client()
    for headers in ({"host": "evil.example"}, {"origin": "http://evil.example"}, {"host": "localhost.evil.example:80"}):
        answer = client.ask("POST", PREDICT, ROW, headers)
        assert answer.status == 403
        assert next(iter(headers)) in answer.json["error"]
    for headers in ({"host": "[::1]:8080"}, {"host": "localhost"}, {"origin": "http://127.0.0.1:9"}):
        assert client.ask("POST", PREDICT, ROW, headers).status == 200


def test_bounds_on_connections_and_on_what_waits(serve: Callable[..., Gateway]) -> None:
    token = "a-token-of-some-length"
    gateway = serve(max_connections=12, max_in_flight=8, token=token)
    client = gateway.client()
    gateway.wait(lambda: client.ask("GET", "/readyz").status == 200)
    assert client.ask("POST", PREDICT, ROW).status == 401
    assert client.ask("GET", "/metrics", headers={"authorization": "Bearer another"}).status == 401
    pair = {"authorization": f"Bearer {token}"}
    assert client.ask("POST", PREDICT, ROW, pair).status == 200
    many = [gateway.socket() for _ in range(11)]
    with gateway.socket() as extra:
        answer = everything(extra)
        assert (status_of(answer), b"retry-after" in answer) == (503, True)
    rows = json.dumps({"instances": [ROW] * 2000}).encode()
    lines = [f"{name}: {value}" for name, value in {**JSON, **pair, "connection": "close"}.items()]
    message = head(PREDICT, "POST", *lines, f"content-length: {len(rows)}") + rows
    for connection in many:
        connection.sendall(message)
    statuses = []
    for connection in many:
        with connection:
            statuses.append(status_of(everything(connection)))
    assert set(statuses) <= {200, 429}
    assert 200 in statuses
    gateway.wait(lambda: client.ask("GET", "/healthz").status == 200)
