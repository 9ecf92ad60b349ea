"""What is refused before anybody looks at a request: other sites' pages, and bodies that are not what is read here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache

from engine.serving.http import Request

LOOPBACK = ("127.0.0.1", "localhost", "::1")
"""Addresses that only this machine reaches."""
CHALLENGE = b'www-authenticate: Bearer realm="engine"\r\n'

_HOSTS = frozenset({"localhost", "127.0.0.1", "[::1]"})


def foreign_site(headers: Mapping[bytes, bytes]) -> tuple[int, str] | None:
    """Why a listener on loopback refuses it: a page of another site may have sent it. None if it does not."""
    for name in (b"host", b"origin"):
        if name in headers and not _is_loopback(headers[name]):
            return 403, f"the header {name.decode()} names another host; only loopback is served"
    return None


def foreign_body(request: Request, kinds: Sequence[bytes]) -> tuple[int, str] | None:
    """Why its body is refused: it is declared as something else than the first of `kinds`. None if it is not."""
    headers = request.headers
    kind = headers.get(b"content-type", kinds[0]).partition(b";")[0].strip().lower()
    if kind not in kinds:
        return 415, f"content-type must be {kinds[0].decode()}"
    if headers.get(b"content-encoding", b"identity").lower() != b"identity":
        return 415, "content-encoding must be identity"
    return None


@lru_cache(maxsize=256)
def _is_loopback(value: bytes) -> bool:
    text = value.decode("latin-1").lower().removeprefix("http://").removeprefix("https://")
    host = text.rpartition(":")[0] if ":" in text and not text.endswith("]") else text
    return host in _HOSTS
