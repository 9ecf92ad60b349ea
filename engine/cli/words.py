"""Values in words for people: durations, moments, sizes, counts, and fields of a spec cut short. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from typing import Any

LONGEST_VALUE = 40  # characters of a value in a line of a plan


def count(number: int, noun: str, plural: str = "") -> str:
    """`1 model`, `1,000 models`."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def duration(seconds: float) -> str:
    """`0.4 s`, `42 s`, `3 min 05 s`, `2 h 03 min`."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def duration_range(low: float, high: float) -> str:
    """`38–51 s`, or both in full where their units differ."""
    first, last = duration(low), duration(high)
    if first == last:
        return first
    if first.endswith(" s") and last.endswith(" s") and "min" not in first + last:
        return f"{first.removesuffix(' s')}–{last}"
    return f"{first} – {last}"


def moment(iso: str) -> datetime:
    """A recorded moment. Raises ValueError."""
    return datetime.fromisoformat(iso.replace("Z", "+00:00")).astimezone(timezone.utc)


def when(iso: str | None) -> str:
    """`2026-11-29 00:00:05 UTC`; nothing for None."""
    return f"{moment(iso):%Y-%m-%d %H:%M:%S} UTC" if iso else ""


def span(since: str, until: str) -> str:
    """`2026-11-29 00:00:05 to 00:10:00 UTC`, with both days where they differ."""
    first, last = when(since), when(until)
    return f"{first.removesuffix(' UTC')} to {last.removeprefix(first[:11])}"


def next_time(iso: str) -> str:
    """`Sun 2026-11-29 00:00 UTC`."""
    return f"{moment(iso):%a %Y-%m-%d %H:%M} UTC"


def elapsed(start: str, end: str | None) -> str:
    """How long something took, from two recorded moments; nothing while it goes on."""
    return duration((moment(end) - moment(start)).total_seconds()) if end else ""


def size(number: float) -> str:
    """`970.5 kB`."""
    for unit in ("B", "kB", "MB", "GB"):
        if number < 1000:
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1000
    return f"{number:.1f} TB"


def percent(fraction: float) -> str:
    """`10%`, `2.5%`."""
    return f"{fraction * 100:.4g}%"


def value(item: Any) -> str:
    """A value of a spec, on one line, cut short in the middle of nothing: `none`, `300`, `{search: random, …}`."""
    text = _flow(item)
    return text if len(text) <= LONGEST_VALUE else text[: LONGEST_VALUE - 1].rstrip(" ,") + "…"


def one_line(text: str, longest: int = 100) -> str:
    """A text's first line, cut short."""
    first = text.strip().partition("\n")[0]
    return first if len(first) <= longest else first[: longest - 1] + "…"


def table(rows: Sequence[Sequence[str]], gap: int = 2) -> list[str]:
    """Rows in columns that line up; the last column is left as it is."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)] if rows else []
    return [
        "".join(f"{cell:<{width + gap}}" for cell, width in zip(row[:-1], widths, strict=False)) + row[-1]
        for row in rows
    ]


def _flow(item: Any) -> str:
    if item is None:
        return "none"
    if isinstance(item, str):
        return short_digest(item) if item.startswith("blake3:") else one_line(item) or '""'
    if isinstance(item, Mapping):
        return "{" + ", ".join(f"{key}: {_flow(entry)}" for key, entry in item.items()) + "}"
    if isinstance(item, list | tuple):
        return "[" + ", ".join(map(_flow, item)) + "]"
    if isinstance(item, float):
        return f"{item:.10g}"
    return json.dumps(item)


def short_digest(digest: str) -> str:
    """The first 12 hex digits."""
    return digest.removeprefix("blake3:")[:12]
