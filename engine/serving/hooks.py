"""Signed deliveries: whether a request was sent by somebody who knows the secret, now, and under which id.

HMAC-SHA256 as GitHub does: `X-Hub-Signature-256: sha256=…` over the raw body, with `X-GitHub-Delivery` as its id. With
`X-Engine-Timestamp` (seconds since 1970) the signature is over `timestamp.body`, the id is in `X-Engine-Delivery`, and
what is older than five minutes is refused, so that a delivery that somebody recorded is of no use to them.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from engine.serving.payloads import parse
from engine.serving.refusal import Refusal

FRESH_SECONDS = 300
MIN_SECRET = 16
_ID = re.compile(rb"[A-Za-z0-9._:-]{1,128}")
_EVENT = re.compile(rb"[A-Za-z0-9._-]{0,64}")


@dataclass(frozen=True)
class Delivery:
    """A delivery that was signed. `id` tells its way of signing too, so that neither can take an id of the other."""

    id: str
    event: str
    body: Mapping[str, Any]

    @property
    def is_ping(self) -> bool:
        """Whether it only asks if deliveries arrive, as GitHub does for a new webhook."""
        return self.event == "ping" and self.id.startswith("github:")


class Verifier:
    """Checks deliveries. Of those with a timestamp it remembers the signatures as long as they are fresh, because an
    id is not under the signature: the same one under another id is a replay."""

    def __init__(self) -> None:
        self._seen: dict[tuple[str, str], tuple[float, str]] = {}
        self._lock = threading.Lock()

    def check(self, model: str, secret: str, headers: Mapping[bytes, bytes], body: bytes, now: float) -> Delivery:
        """The delivery that a request is. Raises Refusal: 401 for a signature, 400 for anything else that is wrong.

        `now` is in seconds since 1970.
        """
        stamp = headers.get(b"x-engine-timestamp")
        signed = body if stamp is None else stamp + b"." + body
        expected = hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()
        given = headers.get(b"x-hub-signature-256", b"")
        if not hmac.compare_digest(given.lower(), f"sha256={expected}".encode()):
            raise Refusal(401, "the signature is not right")
        # A body that is no JSON object could be another delivery's `timestamp.body`.
        document = parse(body)
        if not isinstance(document, dict):
            raise Refusal(400, "the body must be a JSON object")
        event = headers.get(b"x-github-event" if stamp is None else b"x-engine-event", b"")
        name = b"x-github-delivery" if stamp is None else b"x-engine-delivery"
        id = headers.get(name, b"")
        if not _ID.fullmatch(id) or not _EVENT.fullmatch(event):
            raise Refusal(400, f"the header {name.decode()} or the event's is missing, or is no plain text")
        if stamp is None:
            return Delivery(f"github:{id.decode()}", event.decode(), document)
        if not stamp.isdigit() or len(stamp) > 12 or abs(now - int(stamp)) > FRESH_SECONDS:
            raise Refusal(401, f"the timestamp is not within {FRESH_SECONDS} s of now")
        self._refuse_replay(model, expected, id.decode(), now)
        return Delivery(f"engine:{id.decode()}", event.decode(), document)

    def _refuse_replay(self, model: str, signature: str, id: str, now: float) -> None:
        with self._lock:
            for key in [key for key, (until, _) in self._seen.items() if until < now]:
                del self._seen[key]
            _, known = self._seen.setdefault((model, signature), (now + 2 * FRESH_SECONDS, id))
        if known != id:
            raise Refusal(409, "this was delivered before, under another id")
