"""A notice as a message for an incoming webhook of Slack, or of what takes the same. Slack knows no message twice."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from engine.adapters.notifiers.webhook import accept
from engine.adapters.outgoing import Post, persistently, send
from engine.core.alerts import Notice
from engine.core.notice_text import lines_of, title_of

_LONGEST = 3_000  # characters; Slack cuts longer ones


def notify(receiver: Mapping[str, Any], notice: Notice, resolve: Callable[[str], str], _project: Path) -> None:
    """The port Notifier."""
    title, lines = title_of(notice, receiver["title"], _escape), lines_of(notice, receiver["template"], _escape)
    text = "\n".join([f"*{title}*", *(f"• {line}" for line in lines)])
    cut = text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
    url, seconds = resolve(receiver["slack"]), float(receiver["timeout"])
    accept(persistently(lambda: send(Post.of_json(url, {"text": cut}, seconds=seconds, private=receiver["private"]))))


def _escape(text: str) -> str:
    """So that nothing in a value becomes a link, a mention or markup of Slack's."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
