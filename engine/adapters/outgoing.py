"""Requests that the engine sends by itself: to Prometheus, to webhooks, to where alerts go.

An address is resolved once, checked, and connected to as it was checked, so that a name cannot lead somewhere else
between the check and the connection. Allowed are public addresses; private and loopback ones when they are written out
(`127.0.0.1`, `[fd12::1]`, `localhost`), or for a name when `private` says so. Link-local addresses, which are those of
a cloud's metadata services, and what no server can have are refused always. No redirect is followed, no proxy is used,
the whole answer has to come within the time, and no more than `MOST_BYTES` of it are read.

What goes wrong is told without the URL, which may be a secret: TransientError for what is worth another try,
UsageError for what is not.
"""

from __future__ import annotations

import ipaddress
import json
import socket
import ssl
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from http.client import HTTPException
from typing import Any, TypeVar

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError, LocationParseError
from urllib3.util import Url, make_headers, parse_url

from engine.errors import TransientError, UsageError

MOST_BYTES = 1 << 20
TRIES = 4
_CHUNK = 65_536
_AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})
_IPAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_METADATA = frozenset(
    ipaddress.ip_address(address)
    for address in ("100.100.100.200", "168.63.129.16", "192.0.0.192", "fd00:ec2::254", "fd20:ce::254")
)
T = TypeVar("T")


@dataclass(frozen=True)
class Post:
    """A POST. `seconds`: for all of it; `private`: whether a name may lead to a private address."""

    url: str
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict)
    seconds: float = 5.0
    private: bool = False

    @staticmethod
    def of_json(url: str, document: Any, *, token: str = "", seconds: float = 5.0, private: bool = False) -> Post:
        """One with a JSON document as its body, and with a bearer token if there is one."""
        headers = {"content-type": "application/json", **({"authorization": f"Bearer {token}"} if token else {})}
        return Post(url, json.dumps(document).encode(), headers, seconds, private)


@dataclass(frozen=True)
class Reply:
    """What came back."""

    status: int
    body: bytes

    def document(self) -> Any:
        """The body as JSON. Raises UsageError."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            raise UsageError(f"the server answered {self.status} and no JSON") from None


def persistently(call: Callable[[], T]) -> T:
    """What `call` gives, of up to four tries with growing pauses; raises what the last one raised."""
    from tenacity import Retrying, retry_if_exception_type, stop_after_attempt, wait_random_exponential

    return Retrying(
        retry=retry_if_exception_type(TransientError),
        wait=wait_random_exponential(multiplier=0.2, max=2),
        stop=stop_after_attempt(TRIES),
        reraise=True,
    )(call)


def send(post: Post) -> Reply:
    """Send it once. Raises TransientError, UsageError."""
    url = _parsed(post.url)
    host = (url.host or "").strip("[]")
    failure: Exception | None = None
    port = url.port or (443 if url.scheme == "https" else 80)
    for address in addresses(host, port, private=post.private):
        try:
            reply = _exchange(_connection(url, host, address, post.seconds), url, post)
        except (ssl.SSLCertVerificationError, urllib3.exceptions.SSLError) as error:
            raise UsageError(f"the server's certificate is not accepted ({_cause(error)})") from None
        except (OSError, HTTPError, HTTPException) as error:
            failure = error
        except ValueError:  # http.client's, for a header with a line break in it
            raise UsageError("the token or the address has characters that a request cannot have") from None
        else:
            return _accepted(reply)
    raise TransientError(f"the server did not answer ({_cause(failure)})")


def _accepted(reply: Reply) -> Reply:
    if reply.status in _AGAIN:
        raise TransientError(f"the server answered {reply.status}")
    if 300 <= reply.status < 400:
        raise UsageError(f"the server answered {reply.status}, a redirect", remedy="Write the address it leads to.")
    return reply


def _parsed(text: str) -> Url:
    try:
        url = parse_url(text)
    except LocationParseError:
        raise UsageError("the address is not a URL") from None
    if url.scheme not in ("http", "https") or not url.host:
        raise UsageError("the address is not an http or https URL")
    return url


# ── addresses ────────────────────────────────────────────────────────────────────────────────────────────────


def addresses(host: str, port: int, *, private: bool) -> list[str]:
    """The addresses of a host, each of them checked. Raises TransientError, UsageError."""
    try:
        found = socket.getaddrinfo(host.partition("%")[0], port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise TransientError("the host's name cannot be resolved") from None
    resolved = list(dict.fromkeys(str(entry[4][0]) for entry in found))
    written = host == "localhost" or _is_literal(host)
    for address in resolved:
        if why := refusal(address, private=private or written):
            raise UsageError(
                f"the host's address is {why}",
                remedy="Write the address itself, or private: true beside it." if why == "private" else "",
            )
    return resolved


def _is_literal(host: str) -> bool:
    with suppress(ValueError):
        ipaddress.ip_address(host)
        return True
    return False


def refusal(address: str, *, private: bool) -> str:
    """Why nothing is sent to an address; empty if it may be."""
    ip = _innermost(ipaddress.ip_address(address.partition("%")[0]))
    if ip.is_link_local or ip in _METADATA:
        return "link-local or a metadata service's"
    if ip.is_multicast or ip.is_unspecified or (ip.is_reserved and not ip.is_loopback):
        return "not one of a server"
    return "" if ip.is_global or private else "private"


def _innermost(ip: _IPAddress) -> _IPAddress:
    """The IPv4 address that an IPv6 address stands for, if it does."""
    if isinstance(ip, ipaddress.IPv4Address):
        return ip
    if ip in _NAT64:
        return ipaddress.IPv4Address(int(ip) & 0xFFFF_FFFF)
    return ip.ipv4_mapped or ip.sixtofour or ip


# ── the exchange ─────────────────────────────────────────────────────────────────────────────────────────────


def _connection(url: Url, host: str, address: str, seconds: float) -> HTTPConnection:
    if url.scheme == "http":
        return HTTPConnection(address, url.port or 80, timeout=seconds)
    context = ssl.create_default_context()
    return HTTPSConnection(address, url.port or 443, timeout=seconds, ssl_context=context, server_hostname=host)


def _exchange(connection: HTTPConnection, url: Url, post: Post) -> Reply:
    """Send and read within the time; a server that answers byte by byte is cut off."""
    cut, held = threading.Event(), list[socket.socket]()
    late = threading.Timer(post.seconds, _cut, [held, cut])
    late.daemon = True
    late.start()
    try:
        connection.connect()
        held.append(connection.sock)  # the connection lets go of it where the answer has no length
        headers = {"host": url.netloc or "", "user-agent": "engine", **post.headers}
        if url.auth:
            headers |= make_headers(basic_auth=url.auth)
        connection.request("POST", url.request_uri, post.body, headers, preload_content=False, decode_content=False)
        response = connection.getresponse()
        reply = Reply(response.status, _body(response))
    except (OSError, HTTPError, HTTPException):
        if cut.is_set():
            raise TimeoutError from None
        raise
    finally:
        late.cancel()
        connection.close()
    if cut.is_set():  # an answer without a length ends where it was cut
        raise TimeoutError
    return reply


def _cut(held: list[socket.socket], cut: threading.Event) -> None:
    cut.set()
    for each in held:
        with suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)


def _body(response: Any) -> bytes:
    parts, size = [], 0
    while chunk := response.read(_CHUNK):
        parts.append(chunk)
        size += len(chunk)
        if size > MOST_BYTES:
            raise UsageError(f"the server answered more than {MOST_BYTES >> 20} MiB")
    return b"".join(parts)


def _cause(error: Exception | None) -> str:
    """A failure in a few words that name neither host nor path."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return str(error.verify_message)
    if isinstance(error, urllib3.exceptions.NewConnectionError):  # one of urllib3's time-outs, by inheritance
        return "it refuses connections" if isinstance(error.__cause__, ConnectionRefusedError) else "no connection"
    if isinstance(error, TimeoutError | urllib3.exceptions.TimeoutError):
        return "no answer in time"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return "the connection broke" if error is not None else "it has no address"
