"""HTTP/1.1 on a connection: requests in, in their order, through a C parser; limits are kept while reading.

A connection answers one request after the other; what a client sends ahead waits, bounded, and reading pauses. Who
sends its head, its body or takes its answer too slowly is cut. Handlers get a `Request` and answer it exactly once.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections import deque
from collections.abc import Mapping
from email.utils import formatdate
from typing import Any, Protocol, cast

import httptools

from engine.serving.settings import Settings

_SIGNED = frozenset(
    {
        b"x-hub-signature-256",
        b"x-github-delivery",
        b"x-github-event",
        b"x-engine-timestamp",
        b"x-engine-delivery",
        b"x-engine-event",
    }
)
KEPT = frozenset(
    {
        b"host",
        b"origin",
        b"authorization",
        b"content-type",
        b"content-encoding",
        b"accept",
        b"expect",
        b"x-routing-key",
        b"x-engine-release",
        b"inference-header-content-length",
        *_SIGNED,
    }
)
_ONCE = frozenset({b"host", b"authorization", b"x-routing-key", b"x-engine-release"}) | _SIGNED
_NOT_AGAIN = frozenset({b"connection", b"upgrade", b"http2-settings", b"expect"})  # the last was obeyed already
_REASONS: Mapping[int, str] = {
    100: "Continue", 200: "OK", 202: "Accepted", 204: "No Content",
    400: "Bad Request", 401: "Unauthorized", 403: "Forbidden", 404: "Not Found", 405: "Method Not Allowed",
    408: "Request Timeout", 409: "Conflict", 411: "Length Required", 413: "Content Too Large",
    415: "Unsupported Media Type", 421: "Misdirected Request", 422: "Unprocessable Content", 423: "Locked",
    429: "Too Many Requests", 431: "Request Header Fields Too Large",
    500: "Internal Server Error", 501: "Not Implemented", 503: "Service Unavailable", 504: "Gateway Timeout",
}  # fmt: skip
_log = logging.getLogger("engine.serving")
_LINGER_SECONDS = 1.0
_AHEAD = 16  # requests of one connection that may wait
_SURPLUS = 64  # connections beyond the most that there may be, for health checks alone
_SURPLUS_SECONDS = 1.0  # for the head of such a one
_MOST_CHUNKS = 16_384  # of one body: each costs time, however small it is
_MOST_TO_DROP = 64 << 10  # bytes of a refused body that are read, so that the connection can go on
_JSON = b"content-type: application/json\r\n"
_RETRY = b"retry-after: 1\r\n"
_TOO_MANY = (503, "too many connections", _RETRY)
_PENALTY_SECONDS = 0.01  # that a connection is not read after a 429: who asks again at once leaves others the processor


class Request:
    """A whole request. `headers` are those in KEPT, with names in lower case."""

    __slots__ = (
        "_connection",
        "answered",
        "body",
        "headers",
        "keep_alive",
        "method",
        "path",
        "query",
        "refusal",
        "size",
    )

    def __init__(self, connection: Connection, method: bytes, url: bytes, headers: dict[bytes, bytes]) -> None:
        self._connection = connection
        self.method = method
        self.path, _, self.query = url.partition(b"?")
        self.headers = headers
        self.body = b""
        self.size = 0  # of the body, as long as it is held
        self.keep_alive = True
        self.answered = False
        self.refusal: tuple[int, str, bytes] | None = None  # what could not be read, told in its turn

    def answer(self, status: int, body: bytes, headers: bytes = _JSON) -> None:
        """Send the answer. `headers` are lines that end in CRLF; only the first call counts."""
        if not self.answered:
            self.answered = True
            self._connection.write(self, status, body, headers)

    def answer_json(self, status: int, document: Any, headers: bytes = b"") -> None:
        """Send a JSON document."""
        self.answer(status, json.dumps(document).encode(), _JSON + headers)

    def fail(self, status: int, message: str, headers: bytes = b"", **more: Any) -> None:
        """Send an error."""
        self.answer_json(status, {"error": message, **more}, headers)


class Handler(Protocol):
    """What the connections need of the gateway."""

    settings: Settings
    connections: set[Connection]
    held: int  # bytes of bodies that are being read or answered
    draining: bool
    spared: frozenset[bytes]  # paths that are answered also when there are too many connections

    def refusal(self, method: bytes, path: bytes, headers: Mapping[bytes, bytes]) -> tuple[int, str, bytes] | None:
        """Why a request is refused before its body is read: status, message, header lines. None to read on."""

    def handle(self, request: Request) -> None:
        """Answer the request, now or later."""


class Connection(asyncio.Protocol):
    """One client."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self._settings = handler.settings
        self._loop = asyncio.get_running_loop()
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport | None = None
        self._waiting: deque[Request] = deque()
        self._current: Request | None = None
        self._paused = False  # the client does not take its answers
        self._closing = False  # nothing is read any more
        self._lingering = False  # while the client may still be sending
        self._half_closed = False  # the client will send nothing more
        self._head = 0  # bytes of a head that is not complete yet
        self._in_body = False
        self._url = b""
        self._headers: dict[bytes, bytes] = {}
        self._lines: list[tuple[bytes, bytes]] = []  # all of them
        self._length = 0  # as announced
        self._size = 0  # of the head
        self._body: list[bytes] = []
        self._body_size = 0
        self._chunks = 0
        self._refused: tuple[int, str, bytes] | None = None  # the request that is being read, whose body is dropped
        self._surplus = False
        self._since = self._loop.time()  # nothing was answered
        self._deadline = self._since + self._settings.head_seconds

    # ── asyncio.Protocol ───────────────────────────────────────────────────────────────────────────────────────

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass
        connections = self._handler.connections
        connections.add(self)
        most = self._settings.max_connections
        if len(connections) > most + _SURPLUS:
            self._refuse(*_TOO_MANY)
        elif len(connections) > most:
            self._surplus = True
            self._deadline = self._loop.time() + _SURPLUS_SECONDS

    def connection_lost(self, _error: Exception | None) -> None:
        self._handler.connections.discard(self)
        self._release_body()
        self._closing = True
        self._transport = None
        self._handler.held -= sum(request.size for request in self._waiting)
        self._waiting.clear()

    def data_received(self, data: bytes) -> None:
        if self._closing:
            return
        if not self._in_body:
            if self._head == 0 and self._current is None and not self._waiting and not self._surplus:
                self._deadline = self._loop.time() + self._settings.head_seconds
            self._head += len(data)
        try:
            self._feed(data)
        except httptools.HttpParserCallbackError as error:
            if not isinstance(error.__context__, _RefusedError):
                raise
        except httptools.HttpParserError:
            self._refuse(400, "this is no HTTP/1.1 request")
        if not self._in_body and not self._closing and self._head > self._settings.max_head:
            self._refuse(431, f"the head of a request may have {self._settings.max_head} bytes")
        if len(self._waiting) >= _AHEAD and self._transport is not None:
            self._transport.pause_reading()

    def eof_received(self) -> bool:
        self._half_closed = True
        return self._current is not None or bool(self._waiting)  # it may still wait for answers

    def pause_writing(self) -> None:
        self._paused = True
        self._deadline = self._loop.time() + self._settings.write_seconds

    def resume_writing(self) -> None:
        self._paused = False
        self._next()

    def _feed(self, data: bytes) -> None:
        """No other protocol is spoken here: an offer to change to one is ignored, as HTTP allows.

        The parser takes such a request to end with its head, so that it is given the head again without the offer.
        """
        while data and not self._closing:
            try:
                self._parser.feed_data(data)
                return
            except httptools.HttpParserUpgrade as upgrade:
                data = self._without_offer() + data[upgrade.args[0] :]
                self._parser = httptools.HttpRequestParser(self)

    def _without_offer(self) -> bytes:
        lines = [b"%s %s HTTP/%s" % (self._parser.get_method(), self._url, self._parser.get_http_version().encode())]
        for name, value in self._lines:
            if name == b"connection" and b"close" in value.lower():
                lines.append(b"connection: close")
            elif name not in _NOT_AGAIN:
                lines.append(b"%s: %s" % (name, value))
        return b"\r\n".join([*lines, b"", b""])

    # ── httptools ──────────────────────────────────────────────────────────────────────────────────────────────

    def on_message_begin(self) -> None:
        self._url, self._headers, self._lines, self._length, self._size = b"", {}, [], 0, 0
        self._chunks, self._refused = 0, None
        self._release_body()

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._size += len(name) + len(value) + 4
        if self._size > self._settings.max_head:
            self._refuse(431, f"the head of a request may have {self._settings.max_head} bytes")
            raise _RefusedError
        name = name.lower()
        self._lines.append((name, value))
        if name in KEPT:
            if name in _ONCE and name in self._headers:
                self._refuse(400, f"the header {name.decode()} is there twice")
                raise _RefusedError
            self._headers[name] = value
        elif name == b"content-length":
            self._length = int(value) if value.isdigit() and len(value) < 19 else -1

    def on_headers_complete(self) -> None:
        self._in_body = True
        self._head = 0
        settings = self._settings
        if len(self._url) > settings.max_head:
            self._refuse(431, f"the head of a request may have {settings.max_head} bytes")
            raise _RefusedError
        if self._length > settings.max_body:
            self._refuse(413, f"a body may have {settings.max_body} bytes")
            raise _RefusedError
        if b"host" not in self._headers and self._parser.get_http_version() == "1.1":
            self._refuse(400, "the header host is missing")
            raise _RefusedError
        path = self._url.partition(b"?")[0]
        if self._surplus and path not in self._handler.spared:
            self._refuse(*_TOO_MANY)
            raise _RefusedError
        self._deadline = self._loop.time() + settings.body_seconds
        expects = self._headers.get(b"expect", b"").lower() == b"100-continue"
        self._refused = self._handler.refusal(self._parser.get_method(), path, self._headers)
        if self._refused is not None:
            if expects or self._length > _MOST_TO_DROP:
                self._refuse(*self._refused)
                raise _RefusedError
        elif expects and self._transport is not None:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_chunk_header(self) -> None:
        self._chunks += 1
        if self._chunks > _MOST_CHUNKS:
            self._refuse(413, f"a body may have {_MOST_CHUNKS} chunks")
            raise _RefusedError

    def on_body(self, body: bytes) -> None:
        if self._refused is not None:
            self._size += len(body)
            if self._size > _MOST_TO_DROP + self._settings.max_head:
                self._refuse(*self._refused)
                raise _RefusedError
            return
        self._body.append(body)
        self._body_size += len(body)
        self._handler.held += len(body)
        if self._body_size > self._settings.max_body:
            self._refuse(413, f"a body may have {self._settings.max_body} bytes")
            raise _RefusedError
        while self._handler.held > self._settings.max_bodies:
            largest = max(self._handler.connections, key=lambda each: each._body_size)
            largest._refuse(503, "too many requests are being read", _RETRY)
            largest._release_body()
            if largest is self:
                raise _RefusedError

    def on_message_complete(self) -> None:
        if self._parser.should_upgrade() and self._parser.get_method() != b"CONNECT":
            return  # it comes once more
        request = Request(self, self._parser.get_method(), self._url, self._headers)
        request.keep_alive = self._parser.should_keep_alive() and not self._surplus
        request.refusal = self._refused
        if request.method == b"CONNECT":  # what follows is no HTTP
            request.keep_alive, self._closing = False, True
        request.body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        request.size, self._body, self._body_size = self._body_size, [], 0
        self._in_body = False
        self._deadline = self._loop.time() + self._settings.idle_seconds
        if self._current is None and not self._waiting and not self._paused:
            self._current = request
            self._answer(request)
        else:
            self._waiting.append(request)

    # ── answers ────────────────────────────────────────────────────────────────────────────────────────────────

    def write(self, request: Request, status: int, body: bytes, headers: bytes) -> None:
        """Send the answer to the current request and go on with the next."""
        self._handler.held -= request.size
        request.size = 0
        if self._transport is None:
            return
        keep = request.keep_alive and not self._handler.draining
        close = b"" if keep else b"connection: close\r\n"
        head = b"HTTP/1.1 %d %s\r\ndate: %s\r\n%s%scontent-length: %d\r\n\r\n" % (
            status,
            _REASONS[status].encode(),
            _date(),
            headers,
            close,
            len(body),
        )
        self._transport.write(head if request.method == b"HEAD" else head + body)
        self._current = None
        self._since = self._loop.time()
        self._deadline = self._since + self._settings.idle_seconds
        if status == 429 and keep and not self._waiting:
            self._transport.pause_reading()
            self._loop.call_later(_PENALTY_SECONDS, self._read_on)
        if not keep or (self._half_closed and not self._waiting):
            self._last()
        elif self._waiting:
            self._loop.call_soon(self._next)

    def check(self, now: float) -> None:
        """Cut a client that takes too long."""
        if now < self._deadline or self._transport is None:
            return
        if self._paused or (self._closing and self._current is None):
            self._transport.abort()
        elif self._current is None and not self._waiting:
            if self._surplus:
                self._refuse(*_TOO_MANY)
            elif self._in_body or self._head:
                self._refuse(408, "the request did not arrive in time")
            else:
                self._last()

    def drain(self, quiet: float) -> None:
        """Close if nothing was asked for so many seconds: who asks before that is told with the answer.

        A connection that is closed while a request is on its way to it looks like one that failed.
        """
        idle = self._current is None and not self._waiting and not self._in_body and not self._head
        if idle and self._loop.time() - self._since >= quiet:
            self._last()

    def _read_on(self) -> None:
        if self._transport is not None and not self._closing:
            self._transport.resume_reading()

    def _next(self) -> None:
        if self._current is None and self._waiting and not self._paused and self._transport is not None:
            self._current = self._waiting.popleft()
            if len(self._waiting) < _AHEAD // 2:
                self._transport.resume_reading()
            self._answer(self._current)

    def _answer(self, request: Request) -> None:
        if request.refusal is not None:
            request.fail(*request.refusal)
            return
        try:
            self._handler.handle(request)
        except Exception:  # noqa: BLE001 - a defect of ours must not look like a lost connection
            _log.exception("A request could not be handled")
            request.fail(500, "the gateway failed")

    def _refuse(self, status: int, message: str, headers: bytes = b"") -> None:
        """Read nothing more, say why after the answers that are due to earlier requests, and close."""
        if self._closing or self._transport is None:
            return
        self._closing = self._lingering = True
        request = Request(self, b"", b"", {})
        request.keep_alive = False
        request.refusal = (status, message, headers)
        self._waiting.append(request)
        self._next()

    def _last(self) -> None:
        """Close. Who is still sending gets time to read the answer: a socket that is closed at once resets it."""
        self._closing = True
        self._release_body()
        if self._transport is None:
            return
        if self._lingering and self._transport.can_write_eof():
            self._transport.write_eof()
            self._deadline = self._loop.time() + _LINGER_SECONDS
        else:
            self._transport.close()

    def _release_body(self) -> None:
        self._handler.held -= self._body_size
        self._body = []
        self._body_size = 0


class _RefusedError(Exception):
    """Stops the parser after an answer was given."""


class _Clock:
    """The date line, made once a second."""

    second = 0
    text = b""


def _date() -> bytes:
    now = int(time.time())
    if now != _Clock.second:
        _Clock.second, _Clock.text = now, formatdate(now, usegmt=True).encode()
    return _Clock.text
