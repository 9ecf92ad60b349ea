"""A notice as a POST of JSON (`core.notice_text.document_of`), with its id as Idempotency-Key, signed if asked for."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from engine.adapters.outgoing import Post, Reply, persistently, send
from engine.core.alerts import Notice
from engine.core.notice_text import document_of, lines_of, title_of
from engine.errors import UsageError


def notify(receiver: Mapping[str, Any], notice: Notice, resolve: Callable[[str], str], _project: Path) -> None:
    """The port Notifier."""
    lines = lines_of(notice, receiver["template"])
    body = json.dumps(document_of(notice, title_of(notice, receiver["title"]), lines)).encode()
    token, secret = resolve(receiver["token"] or ""), resolve(receiver["secret"] or "")
    headers = {"content-type": "application/json", "idempotency-key": notice.id}
    if token:
        headers["authorization"] = f"Bearer {token}"
    if secret:
        headers["x-hub-signature-256"] = "sha256=" + hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()
    post = Post(resolve(receiver["webhook"]), body, headers, float(receiver["timeout"]), receiver["private"])
    accept(persistently(lambda: send(post)))


def accept(reply: Reply) -> None:
    """Raises UsageError for an answer that is no success."""
    if reply.status >= 300:
        raise UsageError(f"the receiver answered {reply.status}")
