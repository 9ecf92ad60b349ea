"""Which releases are kept. Pure.

A release is kept while its rule says so, and always while it serves, is a candidate, or is what a rollback would bring
back. What is not kept stays on record; its artifacts may go.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from engine.core.records import Endpoint, Release


def kept_releases(
    releases: Iterable[Release], rule: Mapping[str, Any] | None, endpoint: Endpoint | None, now: datetime
) -> frozenset[int]:
    """The versions of one model that are kept.

    `rule` is the resolved `retention` block: `releases` (so many of the newest) and `duration` (seconds). What either
    of them keeps is kept; without a rule all are.
    """
    newest = sorted(releases, key=lambda release: release.version, reverse=True)
    if not rule:
        return frozenset(release.version for release in newest)
    kept = {endpoint.stable, endpoint.candidate, endpoint.previous} if endpoint is not None else set()
    number, duration = rule.get("releases"), rule.get("duration")
    if number is not None:
        kept |= {release.version for release in newest[:number]}
    if duration is not None:
        since = now - timedelta(seconds=duration)
        kept |= {release.version for release in newest if _moment(release.created_at) >= since}
    return frozenset(version for version in kept if version is not None)


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00"))
