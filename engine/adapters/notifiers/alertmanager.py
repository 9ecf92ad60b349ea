"""Alerts for an Alertmanager (API v2), which groups, silences and repeats them itself.

It takes an alert for over when it has not heard of it for a while, so it is told again and again how long each lasts.
Telling it twice changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from engine.adapters.notifiers.webhook import accept
from engine.adapters.outgoing import Post, persistently, send
from engine.core.alerts import AlertRecord, Notice
from engine.core.canonical import utc
from engine.core.monitoring import moment

_PATH = "/api/v2/alerts"
_MISSED = 4  # so many repeats may fail before an alert is taken for over
_AT_LEAST = timedelta(minutes=5)


def notify(receiver: Mapping[str, Any], notice: Notice, resolve: Callable[[str], str], _project: Path) -> None:
    """The port Notifier."""
    url = resolve(receiver["alertmanager"]).rstrip("/") + _PATH
    until = utc(moment(notice.at) + max(_AT_LEAST, timedelta(seconds=_MISSED * notice.repeats)))
    alerts = [_alert(each, until) for each in notice.alerts]
    token, seconds = resolve(receiver["token"] or ""), float(receiver["timeout"])
    accept(
        persistently(lambda: send(Post.of_json(url, alerts, token=token, seconds=seconds, private=receiver["private"])))
    )


def _alert(each: AlertRecord, until: str) -> Mapping[str, Any]:
    alert = each.alert
    labels = {"alertname": alert.name, "model": alert.model, "severity": alert.severity, "job": "engine"}
    return {
        "labels": {**alert.labels, **labels},
        "annotations": {"summary": alert.summary, "remedy": alert.remedy},
        "startsAt": each.fired_at,
        "endsAt": each.resolved_at or until,
    }
