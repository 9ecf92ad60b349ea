"""What the engine sends goes where it was meant to go, and an answer costs at most so much time and memory."""

from __future__ import annotations

import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import which
from typing import Any

import pytest

from engine.adapters import outgoing
from engine.adapters.outgoing import MOST_BYTES, Post, persistently, refusal, send
from engine.errors import TransientError, UsageError
from engine.testing.listening import WebServer, free_port


@pytest.mark.parametrize(
    ("address", "written", "named"),
    [
        ("8.8.8.8", "", ""),
        ("2606:4700:4700::1111", "", ""),
        ("127.0.0.1", "", "private"),
        ("10.1.2.3", "", "private"),
        ("192.168.0.7", "", "private"),
        ("100.64.0.1", "", "private"),
        ("::1", "", "private"),
        ("fd12::1", "", "private"),
        ("::ffff:10.0.0.1", "", "private"),
        ("64:ff9b::a00:1", "", "private"),
        ("2002:a00:1::", "", "private"),
    ],
)
def test_private_addresses_are_for_whoever_writes_them_out(address: str, written: str, named: str) -> None:
    assert (refusal(address, private=True), refusal(address, private=False)) == (written, named)


@pytest.mark.parametrize(
    "address",
    [
        *("169.254.169.254", "fe80::1", "fe80::1%eth0", "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe"),
        *("2002:a9fe:a9fe::", "fd00:ec2::254", "100.100.100.200", "168.63.129.16", "0.0.0.0", "::", "224.0.0.1"),
        *("ff02::1", "255.255.255.255"),
    ],
)
def test_what_is_never_allowed(address: str) -> None:
    assert refusal(address, private=True)
    assert refusal(address, private=False)


@contextmanager
def names(monkeypatch: pytest.MonkeyPatch, *answers: list[str]) -> Iterator[list[str]]:
    """A resolver that gives these addresses, one list for each question; yields the names it was asked for."""
    asked: list[str] = []

    def resolve(host: str, port: int, **_: Any) -> list[Any]:
        asked.append(host)
        found = answers[min(len(asked), len(answers)) - 1]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in found]

    with monkeypatch.context() as patched:
        patched.setattr(outgoing.socket, "getaddrinfo", resolve)
        yield asked


def test_a_name_is_connected_to_as_it_was_checked(web: WebServer, monkeypatch: pytest.MonkeyPatch) -> None:
    real = socket.getaddrinfo
    looked_up: list[str] = []

    def resolve(host: str, *arguments: Any, **options: Any) -> Any:
        looked_up.append(host)
        return real("127.0.0.1" if host == "hooks.example" else host, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    url = f"http://hooks.example:{web.port}/x?a=b"
    with pytest.raises(UsageError, match="private"):
        send(Post(url, b""))
    assert web.received == []
    assert send(Post(url, b"hello", private=True)).status == 200
    [request] = web.received
    assert (request.path, request.headers["host"], request.body) == ("/x?a=b", f"hooks.example:{web.port}", b"hello")
    assert looked_up.count("hooks.example") == 2, "once for each request: never again between check and connection"


@pytest.mark.parametrize("answers", [["8.8.8.8", "127.0.0.1"], ["169.254.169.254"], ["8.8.8.8", "169.254.169.254"]])
def test_one_bad_address_of_a_name_is_enough(monkeypatch: pytest.MonkeyPatch, answers: list[str]) -> None:
    with names(monkeypatch, answers), pytest.raises(UsageError, match="the host's address is"):
        send(Post("https://hooks.example/", b""))


@pytest.mark.parametrize(
    "url",
    ["http://127.1:9/", "http://0x7f.1:9/", "http://2130706433:9/", "http://017700000001:9/"],
)
def test_other_spellings_of_loopback_are_no_literal_addresses(url: str) -> None:
    with pytest.raises((UsageError, TransientError), match=r"private|cannot be resolved"):
        send(Post(url, b""))


@pytest.mark.parametrize(
    "url", ["ftp://8.8.8.8/", "file:///etc/passwd", "gopher://127.0.0.1/", "http://", "nothing", ""]
)
def test_other_protocols(url: str) -> None:
    with pytest.raises(UsageError, match="URL"):
        send(Post(url, b""))


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_no_redirect_is_followed(web: WebServer, status: int) -> None:
    other = WebServer()
    try:
        web.answer = lambda _: (status, {"location": other.url}, b"")
        with pytest.raises(UsageError, match="a redirect"):
            send(Post(web.url, b""))
        assert other.received == []
    finally:
        other.close()


def test_credentials_of_a_url(web: WebServer) -> None:
    send(Post(f"http://ada:secret@127.0.0.1:{web.port}/", b""))
    assert web.received[0].headers["authorization"] == "Basic YWRhOnNlY3JldA=="
    assert "ada" not in web.received[0].headers["host"]


def test_a_header_cannot_be_smuggled_in(web: WebServer) -> None:
    with pytest.raises(UsageError, match="characters"):
        send(Post.of_json(web.url, {}, token="a\r\nx-evil: 1"))
    assert web.received == []


def test_proxies_of_the_environment_are_not_asked(web: WebServer, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert send(Post(web.url, b"")).status == 200


@contextmanager
def raw(write: Any) -> Iterator[str]:
    """A server that reads a request and then does as told with the connection."""
    listener = socket.create_server(("127.0.0.1", 0))
    over = threading.Event()

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.settimeout(10)
            connection.recv(65536)
            try:
                write(connection, over)
            except OSError:
                return

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
    finally:
        over.set()
        thread.join()
        listener.close()


def trickle(data: bytes) -> Any:
    def write(connection: socket.socket, over: threading.Event) -> None:
        connection.sendall(data)
        while not over.wait(0.05):
            connection.sendall(b"x")

    return write


@pytest.mark.parametrize(
    "begun",
    [b"HTTP/1.1 200 OK\r\nx-a: ", b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.1 200 OK\r\ncontent-length: 999\r\n\r\n"],
)
def test_an_answer_that_trickles_is_cut_off(begun: bytes) -> None:
    with raw(trickle(begun)) as url:
        before = time.monotonic()
        with pytest.raises(TransientError, match="no answer in time"):
            send(Post(url, b"", seconds=0.4))
        assert time.monotonic() - before < 3


def test_an_answer_that_is_too_long() -> None:
    def write(connection: socket.socket, over: threading.Event) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        while not over.is_set():
            connection.sendall(b"x" * MOST_BYTES)

    with raw(write) as url, pytest.raises(UsageError, match="more than 1 MiB"):
        send(Post(url, b""))


@pytest.mark.parametrize("answer", [b"", b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nshort", b"nonsense\r\n\r\n"])
def test_an_answer_that_breaks_off(answer: bytes) -> None:
    with raw(lambda connection, _: connection.sendall(answer)) as url, pytest.raises(TransientError) as caught:
        send(Post(url, b""))
    assert "127.0.0.1" not in str(caught.value)


def test_nobody_listens() -> None:
    with pytest.raises(TransientError, match="refuses connections"):
        send(Post(f"http://127.0.0.1:{free_port()}/", b""))


def test_what_is_tried_again_and_what_is_not(web: WebServer) -> None:
    statuses = iter([503, 429, 500, 200])
    web.answer = lambda _: (next(statuses), {}, b"{}")
    assert persistently(lambda: send(Post(web.url, b""))).status == 200
    assert len(web.received) == 4
    web.received.clear()
    web.answer = lambda _: (503, {}, b"")
    with pytest.raises(TransientError, match="answered 503"):
        persistently(lambda: send(Post(web.url, b"")))
    assert len(web.received) == 4
    web.received.clear()
    web.answer = lambda _: (302, {"location": "/"}, b"")
    with pytest.raises(UsageError):
        persistently(lambda: send(Post(web.url, b"")))
    assert len(web.received) == 1


def test_certificates_are_checked_against_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    openssl = which("openssl")
    if openssl is None:
        pytest.skip("there is no openssl to make a certificate with")
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    made = [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    named = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    subprocess.run([*made, *named, "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server = WebServer(context)
    try:
        with pytest.raises(UsageError, match="certificate is not accepted"):
            send(Post(f"https://localhost:{server.port}/", b""))
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        assert send(Post(f"https://localhost:{server.port}/", b"")).status == 200
        with pytest.raises(UsageError, match="certificate is not accepted"):
            send(Post(f"https://127.0.0.1:{server.port}/", b""))
        assert len(server.received) == 1
    finally:
        server.close()
