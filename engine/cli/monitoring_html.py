"""What monitoring found as one page that needs nothing else: tables, and plots as inline SVG. Pure.

No script, no style sheet and no font from elsewhere; every text is escaped.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

from engine.app.inspecting import Triggers
from engine.app.monitoring import Monitored
from engine.cli.monitoring import (
    effects,
    is_odd,
    remark,
    service_text,
    trends,
    verdict_text,
)
from engine.cli.triggers_text import aftermath_text, trigger_rows
from engine.cli.words import count, percent, span, when
from engine.core.monitoring import Measure, WindowReport

_WIDTH, _HEIGHT, _EDGE = 640, 132, 44
_SPARK_WIDTH, _SPARK_HEIGHT = 120, 22
_STYLE = """:root{color-scheme:light dark;--text:#1f2328;--dim:#626a73;--line:#d8dde3;--back:#fff;--card:#f6f8fa;
--blue:#3b6fb6;--band:#3b6fb633;--red:#b3261e;--amber:#8a6d00;--green:#1a7f37}
@media(prefers-color-scheme:dark){:root{--text:#e6edf3;--dim:#9aa4af;--line:#30363d;--back:#0d1117;--card:#161b22;
--blue:#79a8e8;--band:#79a8e833;--red:#ff7b72;--amber:#d9b54a;--green:#56d364}}
body{font:15px/1.5 system-ui,sans-serif;max-width:64rem;margin:2rem auto;padding:0 1rem;color:var(--text);
background:var(--back)}
h1{font-size:1.5rem;margin-bottom:.25rem}h2{font-size:1.1rem;margin:2.25rem 0 .5rem}p{margin:.25rem 0}
h3{font-size:.95rem;margin:0}.dim{color:var(--dim)}
.wide{overflow-x:auto}table{border-collapse:collapse;width:100%}
td,th{text-align:left;padding:.3rem .9rem .3rem 0;border-bottom:1px solid var(--line);vertical-align:top}
th{font-weight:500;color:var(--dim);font-size:.85rem}td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}
.drift,.fail,.error,.breached{color:var(--red);font-weight:600}.inconclusive,.held,.unknown{color:var(--amber)}
.pass,.no_drift,.not_due{color:var(--green)}.due{color:var(--blue);font-weight:600}
.due,.not_due,.no_drift{white-space:nowrap}.size{margin-top:.4rem}
.plots{display:grid;grid-template-columns:repeat(auto-fit,minmax(22rem,1fr));gap:1rem}
.plot{background:var(--card);border-radius:8px;padding:.75rem 1rem}
.band{fill:var(--band)}.path{fill:none;stroke:var(--blue);stroke-width:1.5}.dot,.bar{fill:var(--blue)}
.big{fill:var(--red)}.floor{stroke:var(--red);stroke-dasharray:4 3}.release{stroke:var(--line);stroke-width:1.5}
svg text{font-size:11px;fill:var(--dim)}svg{display:block;max-width:100%}"""


def monitored_html(found: Monitored) -> str:
    """A page: what is breached, what triggers say, metrics over time, drift by feature, data quality, limits."""
    own = [report for report in found.reports if report.version == found.version]
    title = escape(f"{found.model}@{found.version}")
    sections = ["<p>No window has closed yet.</p>", _triggers(found.triggers)] if not own else _sections(found, own)
    body = "\n".join(sections)
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f"<style>{_STYLE}</style></head><body><h1>{title}</h1>\n{body}\n</body></html>\n"
    )


def _sections(found: Monitored, own: Sequence[WindowReport]) -> Iterator[str]:
    newest, window = own[0], own[0].window
    known = (
        f"{newest.labelled:,} labels known ({percent(newest.coverage)}), {'final' if newest.final else 'provisional'}"
    )
    yield (
        f'<p class="dim">Window {window.number} of {count(window.rows, "row")}, '
        f"{escape(span(window.since, window.until))}; {known}; {escape(service_text(newest))}.</p>"
    )
    for breach in found.breaches:
        yield f'<p class="breached">breached: {escape(breach.text)}</p>'
    if not found.breaches:
        yield '<p class="pass">No limit is breached.</p>'
    yield _triggers(found.triggers)
    yield f"<h2>Performance</h2>{_performance(found, newest)}"
    if newest.figures:
        yield f"<h2>Business figures</h2>{_figures(found, newest)}"
    for key, document in newest.drift.items():
        yield (
            f'<h2>Drift</h2><p class="{escape(str(document["verdict"]))}">{escape(str(document["text"]))}</p>'
            f"{_drift(document, found.reports, key)}"
        )
    yield f"<h2>Data quality</h2>{_quality(newest)}"
    rows = [(_state(check.verdict.value), escape(check.kind), escape(check.text)) for check in newest.checks]
    yield f"<h2>Limits</h2>{_table(('', 'limit', 'says'), rows)}"


def _triggers(found: Triggers) -> str:
    newest = next(iter(found.evaluations), None)
    waiting = f"<p>{count(len(found.waiting), 'request')} waiting to be taken up.</p>" if found.waiting else ""
    if newest is None:
        return f'<h2>Triggers</h2><p class="dim">Not looked at yet: engine up does.</p>{waiting}'
    after = aftermath_text(newest)
    rows = [
        (escape(name).replace("  ", "&#160;&#160;&#160;"), _state(said), escape(why))
        for name, said, why in trigger_rows(newest)
    ]
    came = f"<p>{escape(after)}</p>" if after else ""
    return (
        f'<h2>Triggers</h2><p class="dim">Looked at {when(newest.last_at)}.</p>{came}{waiting}'
        f"{_table(('trigger', 'says', 'why'), rows)}"
    )


# ── performance and figures ──────────────────────────────────────────────────────────────────────────────────


def _performance(found: Monitored, newest: WindowReport) -> str:
    oldest_first = list(reversed(found.reports))
    limits = {check.name: check.limit for check in newest.checks if check.kind == "metric"}
    rows = [
        (
            escape(name),
            _interval(measure),
            _interval(newest.estimated.get(name)),
            _number((found.evaluation.get(name) or {}).get("value"), ".3f"),
            escape(measure.reason),
        )
        for name, measure in newest.performance.items()
    ]
    table = _table(("metric", "live", "estimated", "hold-out", ""), rows, numbers=(1, 2, 3))
    plots = "".join(
        f'<div class="plot"><h3>{escape(name)}</h3>'
        f"{_plot(oldest_first, [report.performance.get(name) for report in oldest_first], limits.get(name))}</div>"
        for name in newest.performance
    )
    why = f'<p class="dim">Not estimated: {escape(newest.not_estimated)}</p>' if newest.not_estimated else ""
    return f'{table}{why}<div class="plots">{plots}</div>'


def _figures(found: Monitored, newest: WindowReport) -> str:
    verdicts = {check.name: check.verdict.value for check in newest.checks if check.kind == "kpi"}
    rows = [
        (
            escape(name),
            _number(measure.value, ",.6g"),
            f"{measure.rows:,}",
            _spark(found.reports, [report.figures.get(name) for report in found.reports]),
            _state(verdicts.get(name, "")),
            escape(measure.reason),
        )
        for name, measure in newest.figures.items()
    ]
    return _table(("figure", "value", "rows", "history", "limit", ""), rows, numbers=(1, 2))


def _plot(reports: Sequence[WindowReport], measures: Sequence[Measure | None], limit: float | None) -> str:
    """A value and its interval for each window, oldest first; nothing where there is no value."""
    ends = [
        each for m in measures if m and m.value is not None for each in (m.value, m.low, m.high) if each is not None
    ]
    if not ends:
        return '<p class="dim">No actual value is known yet.</p>'
    low, high = min([*ends, *([] if limit is None else [limit])]), max([*ends, *([] if limit is None else [limit])])
    room = (high - low) or 1.0

    def y(value: float) -> float:
        return _HEIGHT - 26 - (value - low) / room * (_HEIGHT - 40)

    step = (_WIDTH - 2 * _EDGE) / max(1, len(measures) - 1)
    places = [
        (_EDGE + place * step, report, m) for place, (report, m) in enumerate(zip(reports, measures, strict=True))
    ]
    known = [(x, report, m) for x, report, m in places if m is not None and m.value is not None]
    marks = [_releases(places)]
    bounded = [(x, m.low, m.high) for x, _, m in known if m.low is not None and m.high is not None]
    if len(bounded) > 1:
        edge = [f"{x:.1f},{y(top):.1f}" for x, _, top in bounded]
        edge += [f"{x:.1f},{y(bottom):.1f}" for x, bottom, _ in reversed(bounded)]
        marks.append(f'<polygon class="band" points="{" ".join(edge)}"/>')
    points = " ".join(f"{x:.1f},{y(m.value or 0.0):.1f}" for x, _, m in known)
    marks.append(f'<polyline class="path" points="{points}"/>')
    if limit is not None:
        marks.append(
            f'<line class="floor" x1="{_EDGE}" x2="{_WIDTH - _EDGE}" y1="{y(limit):.1f}" y2="{y(limit):.1f}"/>'
        )
    for x, report, measure in known:
        said = f"version {report.version}, window {report.window.number}: {_interval(measure)}"
        marks.append(
            f'<circle cx="{x:.1f}" cy="{y(measure.value or 0.0):.1f}" r="3" class="dot"><title>{said}</title></circle>'
        )
    labels = f'<text x="0" y="{y(high) + 4:.1f}">{high:.3g}</text><text x="0" y="{y(low) + 4:.1f}">{low:.3g}</text>'
    return f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="by window">{labels}{"".join(marks)}</svg>'


def _releases(places: Sequence[tuple[float, WindowReport, Any]]) -> str:
    """A stroke where a new release begins, and its version below."""
    marks, last = [], None
    for x, report, _ in places:
        if report.version != last:
            line = f'<line class="release" x1="{x:.1f}" x2="{x:.1f}" y1="6" y2="{_HEIGHT - 18}"/>' if last else ""
            end = ' text-anchor="end"' if x > _WIDTH - 2 * _EDGE else ""
            marks.append(f'{line}<text x="{x:.1f}" y="{_HEIGHT - 3}"{end}>version {report.version}</text>')
        last = report.version
    return "".join(marks)


def _spark(
    reports: Sequence[WindowReport],
    measures: Sequence[Measure | None],
    least: float | None = None,
    most: float | None = None,
) -> str:
    """A small bar for each window, oldest first, a gap where there is no value; both sequences newest first."""
    found = trends(reports, measures, least, most)
    if not found:
        return ""
    step = _SPARK_WIDTH / len(found)
    bars = []
    for place, trend in enumerate(found):
        if trend.new:
            bars.append(f'<rect class="release" x="{place * step:.1f}" width=".5" height="{_SPARK_HEIGHT}"/>')
        if trend.height is not None and trend.value is not None:
            tall = 2 + trend.height * (_SPARK_HEIGHT - 2)
            bars.append(
                f'<rect class="bar" x="{place * step + 1:.1f}" width="{max(1.0, step - 2):.1f}" '
                f'y="{_SPARK_HEIGHT - tall:.1f}" height="{tall:.1f}"><title>{trend.value:.4g}</title></rect>'
            )
    return f'<svg class="spark" width="{_SPARK_WIDTH}" height="{_SPARK_HEIGHT}" role="img">{"".join(bars)}</svg>'


# ── drift and data ───────────────────────────────────────────────────────────────────────────────────────────


def _drift(document: Mapping[str, Any], reports: Sequence[WindowReport], key: str) -> str:
    past = effects(reports, key)
    largest = max((each["effect"] or 0.0 for each in document["findings"]), default=0.0)
    rows = []
    drawn: set[tuple[str, str]] = set()
    for each in document["findings"]:
        column = (each["role"], each["name"])
        history = [one.get(column) for one in past] if column not in drawn else []
        drawn.add(column)
        rows.append(
            (
                escape(each["name"]),
                escape(each["test"]),
                _bar(each, largest),
                _number(each["effect"], ".3f"),
                _number(each["p"], ".2g"),
                _number(each["q"], ".2g"),
                _spark(reports, history, 0.0, 2 * (each["min_effect"] or 0.0)) if history else "",
                f'<span class="{each["verdict"]}">{escape(verdict_text(each, document["alpha"]))}</span>',
            )
        )
    heads = ("feature", "test", "", "effect", "p", "corrected", "history", "verdict")
    return _table(heads, rows, numbers=(3, 4, 5))


def _bar(finding: Mapping[str, Any], largest: float) -> str:
    """The effect, beside the largest of them."""
    width = (finding["effect"] or 0.0) / largest * 100 if largest > 0 else 0.0
    kind = "big" if finding["verdict"] == "drift" else "bar"
    bar = f'<rect class="{kind}" width="{max(0.0, width):.1f}" height="10"/>'
    return f'<svg class="size" width="100" height="10">{bar}</svg>'


def _quality(newest: WindowReport) -> str:
    odd = {name: each for name, each in newest.features.items() if is_odd(each)}
    rows = [
        (
            escape(name),
            percent(each.missing),
            percent(each.missing_before),
            "" if each.out_of_range is None else percent(each.out_of_range),
            "" if each.unseen is None else percent(each.unseen),
            escape(remark(each)),
        )
        for name, each in odd.items()
    ]
    columns = [f"<p>{escape(kind)}: {escape(', '.join(names))}</p>" for kind, names in newest.columns.items() if names]
    said = f'<p class="dim">{count(len(newest.features) - len(odd), "feature")} as in the hold-out.</p>'
    table = _table(("feature", "missing", "before", "out of range", "unseen", ""), rows, numbers=(1, 2, 3, 4))
    return f"{said}{table}{''.join(columns)}"


# ── cells ────────────────────────────────────────────────────────────────────────────────────────────────────


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]], numbers: Sequence[int] = ()) -> str:
    """Of cells that are HTML; `numbers`: places of columns that are set flush right. Nothing without rows."""
    if not rows:
        return ""

    def line(cells: Sequence[str], kind: str) -> str:
        flush = [' class="n"' if place in numbers else "" for place in range(len(cells))]
        return "".join(f"<{kind}{each}>{cell}</{kind}>" for each, cell in zip(flush, cells, strict=True))

    body = "".join(f"<tr>{line(row, 'td')}</tr>" for row in rows)
    return f'<div class="wide"><table><tr>{line(headings, "th")}</tr>{body}</table></div>'


def _state(words: str) -> str:
    """A verdict in its colour."""
    kind = "not_due" if words.startswith("not due") else words.partition(" ")[0]
    return f'<span class="{escape(kind)}">{escape(words)}</span>' if words else ""


def _interval(measure: Measure | None) -> str:
    if measure is None or measure.value is None:
        return ""
    interval = "" if measure.low is None or measure.high is None else f" [{measure.low:.3f}, {measure.high:.3f}]"
    return f"{measure.value:.3f}{interval}"


def _number(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)
