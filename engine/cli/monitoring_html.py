"""What monitoring found as one page that needs nothing else: tables, and plots as inline SVG. Pure.

No script, no style sheet and no font from elsewhere; every text is escaped.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

from engine.app.monitoring import Monitored
from engine.cli.words import count, percent, when
from engine.core.monitoring import Measure, WindowReport

_WIDTH, _HEIGHT, _EDGE = 640, 120, 34
_STYLE = """body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#222}
h1{font-size:1.5rem}h2{font-size:1.1rem;margin:2rem 0 .5rem}table{border-collapse:collapse;width:100%}
td,th{text-align:left;padding:.25rem .75rem .25rem 0;border-bottom:1px solid #ddd}
td.n{font-variant-numeric:tabular-nums}
.drift,.fail,.breached{color:#b3261e;font-weight:600}.inconclusive,.error{color:#8a6d00}.bar{fill:#5b7fb8}
.line{stroke:#5b7fb8}.big{fill:#b3261e}
svg text{font-size:11px;fill:#555}"""


def monitored_html(found: Monitored) -> str:
    """A page: what is breached, metrics over time, drift by feature, limits."""
    own = [report for report in found.reports if report.version == found.version]
    title = escape(f"{found.model}@{found.version}")
    body = "<p>No window has closed yet.</p>" if not own else "\n".join(_sections(found, own))
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f"<style>{_STYLE}</style></head><body><h1>{title}</h1>\n{body}\n</body></html>\n"
    )


def _sections(found: Monitored, own: Sequence[WindowReport]) -> Iterator[str]:
    newest = own[0]
    span = f"{when(newest.window.since)} to {when(newest.window.until)}"
    known = f"{newest.labelled:,} labels known ({percent(newest.coverage)})"
    yield f"<p>Window {newest.window.number} of {count(newest.window.rows, 'row')}, {escape(span)}; {known}.</p>"
    for breach in found.breaches:
        yield f'<p class="breached">breached: {escape(breach.text)}</p>'
    oldest_first = list(reversed(own))
    for name in newest.performance:
        yield f"<h2>{escape(name)}</h2>"
        yield _plot([report.performance.get(name) for report in oldest_first], [r.window.number for r in oldest_first])
    for document in newest.drift.values():
        yield f"<h2>Drift</h2><p>{escape(str(document['text']))}</p>{_drift(document)}"
    rows = "".join(
        f'<tr><td class="{check.verdict.value}">{check.verdict.value}</td><td>{escape(check.kind)}</td>'
        f"<td>{escape(check.text)}</td></tr>"
        for check in newest.checks
    )
    yield f"<h2>Limits</h2><table><tr><th></th><th>limit</th><th>says</th></tr>{rows}</table>"


def _plot(measures: Sequence[Measure | None], numbers: Sequence[int]) -> str:
    """A value and its interval for each window, oldest first; nothing where there is no value."""
    ends = [
        each for m in measures if m and m.value is not None for each in (m.value, m.low, m.high) if each is not None
    ]
    if not ends:
        return "<p>No actual value is known yet.</p>"
    low, high = min(ends), max(ends)
    room = (high - low) or 1.0

    def y(value: float) -> float:
        return _HEIGHT - 16 - (value - low) / room * (_HEIGHT - 28)

    step = (_WIDTH - 2 * _EDGE) / max(1, len(measures) - 1)
    marks = []
    for place, measure in enumerate(measures):
        if measure is None or measure.value is None:
            continue
        x = _EDGE + place * step
        if measure.low is not None and measure.high is not None:
            marks.append(
                f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{y(measure.low):.1f}" y2="{y(measure.high):.1f}" class="line"/>'
            )
        title = f"window {numbers[place]}: {measure.value:.4g}"
        marks.append(
            f'<circle cx="{x:.1f}" cy="{y(measure.value):.1f}" r="3" class="bar"><title>{title}</title></circle>'
        )
    labels = f'<text x="0" y="{y(high) + 4:.1f}">{high:.3g}</text><text x="0" y="{y(low) + 4:.1f}">{low:.3g}</text>'
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="by window">{labels}{"".join(marks)}'
        f'<text x="{_EDGE}" y="{_HEIGHT - 2}">window {numbers[0]} to {numbers[-1]}</text></svg>'
    )


def _drift(document: Mapping[str, Any]) -> str:
    findings: Any = document["findings"]
    rows = "".join(
        f"<tr><td>{escape(each['name'])}</td><td>{escape(each['test'])}</td><td>{_bar(each)}</td>"
        f'<td class="n">{_number(each["effect"], ".3f")}</td><td class="n">{_number(each["p"], ".2g")}</td>'
        f'<td class="n">{_number(each["q"], ".2g")}</td>'
        f'<td class="{each["verdict"]}">{each["verdict"].replace("_", " ")}</td></tr>'
        for each in findings
    )
    heads = "".join(f"<th>{name}</th>" for name in ("feature", "test", "", "effect", "p", "corrected", "verdict"))
    return f"<table><tr>{heads}</tr>{rows}</table>" if rows else ""


def _bar(finding: Mapping[str, Any]) -> str:
    """The effect, up to 1."""
    width = min(1.0, max(0.0, finding["effect"] or 0.0)) * 100
    kind = "big" if finding["verdict"] == "drift" else "bar"
    return f'<svg width="100" height="10"><rect class="{kind}" width="{width:.1f}" height="10"/></svg>'


def _number(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)
