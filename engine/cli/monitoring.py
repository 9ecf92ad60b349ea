"""What monitoring found, in words and as JSON. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import click

from engine.app.monitoring import Monitored
from engine.cli.tables import render_table
from engine.cli.words import count, one_line, percent, when
from engine.core.monitoring import Measure, WindowReport

_BARS = "▁▂▃▄▅▆▇█"
_SHOWN = 12  # features in the table of drift


def monitored_document(found: Monitored) -> dict[str, Any]:
    """Plain values: every window as it is kept, newest first."""
    opened = found.looked.open if found.looked else None
    return {
        "model": found.model,
        "version": found.version,
        "breaches": [dict(vars(breach)) for breach in found.breaches],
        "open": None if opened is None else dict(vars(opened)),
        "windows": [report.to_json() for report in found.reports],
    }


def monitored_text(found: Monitored) -> str:
    """The newest window of the live release, what is breached, and how it came to be."""
    head = click.style(f"{found.model}@{found.version}", bold=True)
    own = [report for report in found.reports if report.version == found.version]
    opened = found.looked.open if found.looked else None
    waiting = "" if opened is None else f"; the next has {count(opened.rows, 'row')} so far"
    if not own:
        return f"{head}: no window has closed yet{waiting}."
    newest = own[0]
    lines = [f"{head}: window {newest.window.number} of {count(newest.window.rows, 'row')}, {_time(newest)}{waiting}"]
    for breach in found.breaches:
        lines.append(click.style(f"  breached  {breach.text}", fg="red") + _others(breach.windows))
    return "\n\n".join(
        [
            "\n".join(lines),
            _performance(found, newest),
            *_figures(found, newest),
            *_drift(newest),
            _checks(newest),
        ]
    )


def _time(report: WindowReport) -> str:
    return f"{when(report.window.since)} to {when(report.window.until)}"


def _others(windows: Sequence[int]) -> str:
    return "" if len(windows) == 1 else f" (windows {', '.join(map(str, windows))})"


def _performance(found: Monitored, newest: WindowReport) -> str:
    answered = newest.window.rows - newest.failed
    state = "final" if newest.final else "provisional"
    title = f"{newest.labelled:,} of {count(answered, 'label')} known ({percent(newest.coverage)}), {state}"
    rows = [
        (
            name,
            _measure(measure),
            _measure(newest.estimated.get(name)),
            _holdout(found.evaluation.get(name)),
            spark([report.performance.get(name) for report in reversed(found.reports)]),
            one_line(measure.reason, 60),
        )
        for name, measure in newest.performance.items()
    ]
    why = f"\nNot estimated: {newest.not_estimated}" if newest.not_estimated else ""
    return f"{title}\n{render_table(('metric', 'live', 'estimated', 'hold-out', 'history', ''), rows)}{why}"


def _figures(found: Monitored, newest: WindowReport) -> Iterator[str]:
    if not newest.figures:
        return
    rows = [
        (
            name,
            "" if measure.value is None else f"{measure.value:,.6g}",
            f"{measure.rows:,}",
            spark([report.figures.get(name) for report in reversed(found.reports)]),
            one_line(measure.reason, 60),
        )
        for name, measure in newest.figures.items()
    ]
    yield render_table(("figure", "value", "rows", "history", ""), rows)


def _drift(newest: WindowReport) -> Iterator[str]:
    for document in newest.drift.values():
        yield drift_text(document)


def drift_text(document: Mapping[str, Any]) -> str:
    """What one check found, each column with the test that says most, in a table; of a `DriftReport.to_json`."""
    findings: Any = document["findings"]
    worst: dict[tuple[str, str], Mapping[str, Any]] = {}
    for finding in sorted(findings, key=_severity):
        worst.setdefault((finding["role"], finding["name"]), finding)
    shown = list(worst.values())[:_SHOWN]
    more = f"\nand {len(worst) - len(shown)} more that moved less" if len(worst) > len(shown) else ""
    rows = [
        (
            each["name"],
            each["test"],
            _number(each["effect"], "{:.3f}"),
            _number(each["p"], "{:.2g}"),
            _number(each["q"], "{:.2g}"),
            each["verdict"].replace("_", " "),
        )
        for each in shown
    ]
    table = f"\n{render_table(('feature', 'test', 'effect', 'p', 'corrected', 'verdict'), rows)}" if rows else ""
    return f"{document['text']}{table}{more}"


def _severity(finding: Mapping[str, Any]) -> tuple[bool, float, float]:
    effect = -1.0 if finding["effect"] is None else finding["effect"]
    return finding["verdict"] != "drift", 1.0 if finding["q"] is None else finding["q"], -effect


def _checks(newest: WindowReport) -> str:
    rows = [(check.verdict.value, check.kind, check.text) for check in newest.checks]
    latency = ", ".join(f"{name} {value * 1000:.1f} ms" for name, value in newest.latency.items())
    rate = "" if newest.per_second is None else f", {newest.per_second:,.3g} rows a second"
    service = f"latency {latency}{rate}, {newest.failed:,} failed"
    return f"{render_table(('', 'limit', 'says'), rows)}\n{service}"


def spark(measures: Sequence[Measure | None]) -> str:
    """A bar for each value, oldest first, between the least and the largest of them; a dot where there is none."""
    values = [None if measure is None else measure.value for measure in measures]
    known = [value for value in values if value is not None]
    if len(known) < 2:
        return ""
    low, high = min(known), max(known)
    step = (high - low) / (len(_BARS) - 1) or 1.0
    return "".join("·" if value is None else _BARS[round((value - low) / step)] for value in values)


def _measure(measure: Measure | None) -> str:
    if measure is None or measure.value is None:
        return ""
    interval = "" if measure.low is None or measure.high is None else f" [{measure.low:.3f}, {measure.high:.3f}]"
    return f"{measure.value:.3f}{interval}"


def _holdout(entry: Any) -> str:
    return _number(None if entry is None else entry.get("value"), "{:.3f}")


def _number(value: float | None, form: str) -> str:
    return "" if value is None else form.format(value)
