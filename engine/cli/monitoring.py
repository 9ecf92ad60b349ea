"""What monitoring found, in words and as JSON. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from engine.app.inspecting import Triggers
from engine.app.monitoring import Monitored
from engine.app.showing import evaluation_document, event_document
from engine.cli.sections import Section, Table
from engine.cli.triggers_text import aftermath_text, trigger_rows
from engine.cli.words import count, one_line, percent, span, when
from engine.core.monitoring import FeatureQuality, Measure, WindowReport

_BARS = "▁▂▃▄▅▆▇█"
_NEW = "│"  # in a history: a new release
_SHOWN = 12  # features in a table
_HISTORY = 16  # windows in a history
_WIDE = 10  # characters of the longest bar

Column = tuple[str, str]  # its role and name


def monitored_document(found: Monitored) -> dict[str, Any]:
    """Plain values: every window as it is kept, newest first; what the triggers said last."""
    opened = found.looked.open if found.looked else None
    newest = next(iter(found.triggers.evaluations), None)
    return {
        "model": found.model,
        "version": found.version,
        "breaches": [dict(vars(breach)) for breach in found.breaches],
        "open": None if opened is None else dict(vars(opened)),
        "triggers": {
            "newest": None if newest is None else evaluation_document(newest),
            "waiting": [event_document(event) for event in found.triggers.waiting],
        },
        "windows": [report.to_json() for report in found.reports],
    }


def monitored_sections(found: Monitored) -> Iterator[Section]:
    """The newest window of the live release, what is breached, what the triggers say, and how it came to be."""
    own = [report for report in found.reports if report.version == found.version]
    opened = found.looked.open if found.looked else None
    waiting = "" if opened is None else f"; the next has {count(opened.rows, 'row')} so far"
    name = f"{found.model}@{found.version}"
    if not own:
        yield Section(name, f"no window has closed yet{waiting}")
        yield triggers_section(found.triggers)
        return
    newest = own[0]
    window = newest.window
    yield Section(
        name, f"window {window.number} of {count(window.rows, 'row')}, {span(window.since, window.until)}{waiting}"
    )
    yield _breaches(found)
    yield triggers_section(found.triggers)
    yield _performance(found, newest)
    if newest.figures:
        yield _figures(found, newest)
    for key, document in newest.drift.items():
        yield drift_section(document, _histories(found.reports, key, document))
    yield _quality(newest)
    yield _limits(newest)


def _breaches(found: Monitored) -> Section:
    if not found.breaches:
        return Section("Limits", "none is breached", "pass")
    rows = [("breached", f"{breach.text}{_others(breach.windows)}") for breach in found.breaches]
    said = f"{count(len(rows), 'limit')} breached"
    return Section("Limits", said, "breached", Table(("", "says"), rows, states=("",)))


def _others(windows: Sequence[int]) -> str:
    return "" if len(windows) == 1 else f" (windows {', '.join(map(str, windows))})"


def triggers_section(found: Triggers) -> Section:
    """What each trigger said when they were last looked at."""
    waiting = (f"{count(len(found.waiting), 'request')} waiting to be taken up",) if found.waiting else ()
    newest = next(iter(found.evaluations), None)
    if newest is None:
        return Section("Triggers", "not looked at yet: engine up does", below=waiting)
    rows = trigger_rows(newest)
    after = aftermath_text(newest)
    said = f"{newest.status.replace('_', ' ')}{', ' * bool(after)}{after}; looked at {when(newest.last_at)}"
    table = Table(("trigger", "says", "why"), rows, states=("says",))
    return Section("Triggers", said, newest.status.replace("_", " "), table, waiting)


def _performance(found: Monitored, newest: WindowReport) -> Section:
    answered = newest.window.rows - newest.failed
    state = "final" if newest.final else "provisional"
    rows = [
        (
            name,
            _measure(measure),
            _measure(newest.estimated.get(name)),
            _holdout(found.evaluation.get(name)),
            spark(found.reports, [report.performance.get(name) for report in found.reports]),
            one_line(measure.reason, 60),
        )
        for name, measure in newest.performance.items()
    ]
    return Section(
        "Performance",
        f"{newest.labelled:,} of {count(answered, 'label')} known ({percent(newest.coverage)}), {state}",
        table=Table(("metric", "live", "estimated", "hold-out", "history", ""), rows, spare=("hold-out",)),
        below=(f"not estimated: {newest.not_estimated}",) if newest.not_estimated else (),
    )


def _figures(found: Monitored, newest: WindowReport) -> Section:
    checks = {check.name: check for check in newest.checks if check.kind == "kpi"}
    rows = [
        (
            name,
            "" if measure.value is None else f"{measure.value:,.6g}",
            f"{measure.rows:,}",
            spark(found.reports, [report.figures.get(name) for report in found.reports]),
            checks[name].verdict.value if name in checks else "",
            one_line(measure.reason, 60),
        )
        for name, measure in newest.figures.items()
    ]
    return Section(
        "Business figures",
        table=Table(("figure", "value", "rows", "history", "limit", ""), rows, states=("limit",), spare=("rows",)),
    )


def drift_section(document: Mapping[str, Any], histories: Mapping[Column, str] | None = None) -> Section:
    """What one check found, each column with the test that says most, in a table; of a `DriftReport.to_json`."""
    worst = worst_findings(document)
    shown = worst[:_SHOWN]
    largest = max((each["effect"] or 0.0 for each in shown), default=0.0)
    past = histories or {}
    headings: tuple[str, ...] = ("feature", "test", "effect", "size", "p", "corrected", "history", "verdict")
    rows: list[tuple[str, ...]] = [
        (
            each["name"],
            each["test"],
            _number(each["effect"], "{:.3f}"),
            bar(each["effect"] or 0.0, largest),
            _number(each["p"], "{:.2g}"),
            _number(each["q"], "{:.2g}"),
            past.get((each["role"], each["name"]), ""),
            verdict_text(each, document["alpha"]),
        )
        for each in shown
    ]
    if not past:
        place = headings.index("history")
        headings, rows = (*headings[:place], *headings[place + 1 :]), [(*r[:place], *r[place + 1 :]) for r in rows]
    table = Table(headings, rows, states=("verdict",), spare=("size", "corrected"), drawn=("size",))
    verdict = document["verdict"].replace("_", " ")
    more = (f"and {len(worst) - len(shown)} more that moved less",) if len(worst) > len(shown) else ()
    return Section("Drift" if histories is not None else "", document["text"], verdict, table, more)


def worst_findings(document: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Of each column the finding that says most, those that moved most first."""
    worst: dict[Column, Mapping[str, Any]] = {}
    for finding in sorted(document["findings"], key=_severity):
        worst.setdefault((finding["role"], finding["name"]), finding)
    return list(worst.values())


def verdict_text(finding: Mapping[str, Any], alpha: float) -> str:
    """`no drift (below 0.05)` is significant and too small to matter."""
    verdict = str(finding["verdict"]).replace("_", " ")
    small = finding["verdict"] == "no_drift" and finding["q"] is not None and finding["q"] <= alpha
    return f"{verdict} (below {finding['min_effect']:g})" if small and finding["min_effect"] is not None else verdict


def _severity(finding: Mapping[str, Any]) -> tuple[bool, float, float]:
    effect = -1.0 if finding["effect"] is None else finding["effect"]
    return finding["verdict"] != "drift", 1.0 if finding["q"] is None else finding["q"], -effect


def effects(reports: Sequence[WindowReport], key: str) -> list[dict[Column, Measure]]:
    """How far each column had moved in each report, by the test that said most then."""
    found = [worst_findings(report.drift.get(key) or {"findings": ()}) for report in reports]
    return [{(each["role"], each["name"]): Measure(each["effect"]) for each in some} for some in found]


def _histories(reports: Sequence[WindowReport], key: str, document: Mapping[str, Any]) -> dict[Column, str]:
    """Sparklines of effects from 0, so that what is far too small to matter looks so."""
    recent = reports[:_HISTORY]
    past = effects(recent, key)
    return {
        column: spark(recent, [each.get(column) for each in past], 0.0, 2 * (finding["min_effect"] or 0.0))
        for finding in worst_findings(document)[:_SHOWN]
        if (column := (finding["role"], finding["name"]))
    }


def _quality(newest: WindowReport) -> Section:
    rows = [
        (
            name,
            percent(each.missing),
            percent(each.missing_before),
            "" if each.out_of_range is None else percent(each.out_of_range),
            "" if each.unseen is None else percent(each.unseen),
            remark(each),
        )
        for name, each in newest.features.items()
        if is_odd(each)
    ]
    well = len(newest.features) - len(rows)
    columns = [f"{kind}: {', '.join(names)}" for kind, names in newest.columns.items() if names]
    says = f"{count(well, 'feature')} as in the hold-out" + (f", {len(rows)} not quite" if rows else "")
    headings = ("feature", "missing", "before", "out of range", "unseen", "")
    return Section("Data quality", says, table=Table(headings, rows, spare=("before",)), below=tuple(columns))


def is_odd(quality: FeatureQuality) -> bool:
    """Whether anything about a feature is not as in the hold-out."""
    more = quality.missing > quality.missing_before
    return bool(more or quality.out_of_range or quality.unseen or quality.constant)


def remark(quality: FeatureQuality) -> str:
    """What else there is to say of a feature."""
    constant = ["one value only"] if quality.constant else []
    unseen = [f"new: {', '.join(quality.examples)}"] if quality.examples else []
    return "; ".join([*constant, *unseen])


def _limits(newest: WindowReport) -> Section:
    rows = [(check.verdict.value, check.kind, check.text) for check in newest.checks]
    return Section("Checks", service_text(newest), table=Table(("", "limit", "says"), rows, states=("",)))


def service_text(newest: WindowReport) -> str:
    """`latency p50 1.2 ms, p99 4.0 ms, 130 rows a second, 0 failed`."""
    latency = ", ".join(f"{name} {value * 1000:.1f} ms" for name, value in newest.latency.items())
    rate = "" if newest.per_second is None else f"{newest.per_second:,.3g} rows a second, "
    return f"latency {latency}{', ' * bool(latency)}{rate}{newest.failed:,} failed"


def bar(value: float, largest: float) -> str:
    """A bar, `_WIDE` characters long for the largest value."""
    return "█" * round(_WIDE * value / largest) if largest > 0 else ""


@dataclass(frozen=True)
class Trend:
    """One window in a history. height: 0–1 between the least and the largest value, None where there is no value."""

    value: float | None
    height: float | None
    new: bool  # the first window of another release than that before


def trends(
    reports: Sequence[WindowReport],
    measures: Sequence[Measure | None],
    least: float | None = None,
    most: float | None = None,
) -> list[Trend]:
    """The newest windows, oldest first; nothing where fewer than two have a value. Both sequences are newest first.

    Heights go from the least to the largest value, or to `least` and `most` where those are further apart.
    """
    pairs = list(zip(reports, measures, strict=True))[:_HISTORY][::-1]
    values = [None if measure is None else measure.value for _, measure in pairs]
    known = [value for value in values if value is not None]
    if len(known) < 2:
        return []
    low, high = min([*known, *([] if least is None else [least])]), max([*known, *([] if most is None else [most])])
    room = (high - low) or 1.0
    versions = [report.version for report, _ in pairs]
    return [
        Trend(value, None if value is None else (value - low) / room, version != before)
        for value, version, before in zip(values, versions, [versions[0], *versions], strict=False)
    ]


def spark(
    reports: Sequence[WindowReport],
    measures: Sequence[Measure | None],
    least: float | None = None,
    most: float | None = None,
) -> str:
    """`trends` as text: bars, a dot where there is no value, a stroke where a new release begins."""
    return "".join(
        (_NEW if each.new else "") + ("·" if each.height is None else _BARS[round(each.height * (len(_BARS) - 1))])
        for each in trends(reports, measures, least, most)
    )


def _measure(measure: Measure | None) -> str:
    if measure is None or measure.value is None:
        return ""
    interval = "" if measure.low is None or measure.high is None else f" [{measure.low:.3f}, {measure.high:.3f}]"
    return f"{measure.value:.3f}{interval}"


def _holdout(entry: Any) -> str:
    return _number(None if entry is None else entry.get("value"), "{:.3f}")


def _number(value: float | None, form: str) -> str:
    return "" if value is None else form.format(value)
