"""What a notice says: a title, a line for each alert, and one JSON document. Pure.

A template is text with `${names}` in it, and no more: a value is put in as it is, and nothing in it is looked at again.
"""

from __future__ import annotations

import string
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from engine.core.alerts import AlertRecord, Notice

FORMAT = 1
TITLE = "[${status}] ${model}: ${alerts}"
LINE = "${status}: ${severity} ${alert}, ${summary} (since ${since}) ${remedy}"
LONGEST = 1_000
"""Characters of a value that is put into a line."""
MOST_LINES = 50

Escape = Callable[[str], str]


def title_of(notice: Notice, template: str | None, escape: Escape = str) -> str:
    """The first line, without line breaks."""
    values = {
        "model": notice.model,
        "status": "test" if notice.test else notice.status,
        "firing": str(len(notice.firing)),
        "resolved": str(len(notice.resolved)),
        "alerts": ", ".join(dict.fromkeys(each.alert.name for each in notice.alerts)),
    }
    return _filled(template or TITLE, values, escape)


def lines_of(notice: Notice, template: str | None, escape: Escape = str) -> Sequence[str]:
    """A line for each alert, firing ones first; what is too much is counted."""
    alerts = (*notice.firing, *notice.resolved)
    lines = [_filled(template or LINE, _values(each), escape) for each in alerts[:MOST_LINES]]
    return [*lines, *([f"and {len(alerts) - MOST_LINES} more"] if len(alerts) > MOST_LINES else [])]


def document_of(notice: Notice, title: str, lines: Sequence[str]) -> Mapping[str, Any]:
    """The notice for programs. The same `id` is the same notice: it may come again."""
    return {
        "format_version": FORMAT,
        "id": notice.id,
        "receiver": notice.receiver,
        "model": notice.model,
        "status": notice.status,
        "test": notice.test,
        "title": title,
        "text": "\n".join(lines),
        "alerts": [
            {
                "fingerprint": each.fingerprint,
                "alert": each.alert.name,
                "status": each.status,
                "severity": each.alert.severity,
                "summary": each.alert.summary,
                "remedy": each.alert.remedy,
                "labels": dict(sorted(each.alert.labels.items())),
                "fired_at": each.fired_at,
                "resolved_at": each.resolved_at,
            }
            for each in (*notice.firing, *notice.resolved)
        ],
    }


def _values(each: AlertRecord) -> Mapping[str, str]:
    return {
        "model": each.alert.model,
        "alert": each.alert.name,
        "status": each.status,
        "severity": each.alert.severity,
        "summary": each.alert.summary,
        "remedy": each.alert.remedy,
        "since": each.fired_at,
        "until": each.resolved_at or "",
        "release": each.alert.labels.get("release", ""),
    }


def _filled(template: str, values: Mapping[str, str], escape: Escape) -> str:
    flat = {name: escape(_flat(value)) for name, value in values.items()}
    return string.Template(template).substitute(flat).strip()


def _flat(value: str) -> str:
    """On one line and not too long: a summary may hold what a stranger's server or step said."""
    words = " ".join("".join(char if char.isprintable() else " " for char in value).split())
    return words if len(words) <= LONGEST else f"{words[:LONGEST]}…"
