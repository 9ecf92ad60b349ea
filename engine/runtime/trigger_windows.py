"""Reports of windows as triggers see them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from engine.core.monitoring import Settings, WindowReport, moment
from engine.core.verdict import Verdict
from engine.triggers.facts import DriftCheck, Measured, Window

_VERDICTS = {
    "drift": Verdict.FAIL,
    "no_drift": Verdict.PASS,
    "inconclusive": Verdict.INCONCLUSIVE,
    "error": Verdict.ERROR,
}


def trigger_windows(reports: Iterable[WindowReport], settings: Settings) -> tuple[Window, ...]:
    """In the order of the reports. Without a `labels.delay` every window stands by the labels that it has."""
    return tuple(
        Window(
            f"{report.version}.{report.window.number}",
            moment(report.window.since),
            moment(report.window.until),
            report.version,
            {key: _drift(found) for key, found in report.drift.items()},
            dict(_metrics(report)),
            report.final or settings.delay is None,
            moment(report.judged_at) if report.final and settings.delay is not None else None,
        )
        for report in reports
    )


def _metrics(report: WindowReport) -> Iterable[tuple[str, Measured]]:
    answered = report.window.rows - report.failed
    for name, found in report.performance.items():
        if found.value is not None:
            yield name, Measured(found.value, found.rows, answered, found.low, found.high)


def _drift(document: Mapping[str, Any]) -> DriftCheck:
    drifted = [finding for finding in document["findings"] if finding["verdict"] == "drift"]
    effects = [each["effect"] for each in drifted or document["findings"] if each["effect"] is not None]
    columns = tuple(dict.fromkeys(finding["name"] for finding in drifted))
    return DriftCheck(_VERDICTS[document["verdict"]], max(effects, default=None), columns, document["text"])
