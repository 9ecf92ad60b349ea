"""The report of one closed window: from its rows, the release's reference and the settings. Acts on nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from math import isfinite, sqrt
from typing import TYPE_CHECKING, Any

from engine.core.canonical import utc
from engine.core.monitoring import (
    Check,
    FeatureQuality,
    FigureLimit,
    Kind,
    Measure,
    MetricLimit,
    Settings,
    Watch,
    Window,
    WindowReport,
    moment,
)
from engine.core.verdict import Verdict
from engine.ports import LoggedPrediction
from engine.runtime.reference import FeatureReference, Reference
from engine.runtime.window_drift import Against, asks_for, column, concept_drift_of, drift_of, errors_of
from engine.spec.expressions import check_expression
from engine.spec.metrics import METRICS
from engine.stats.estimate import Estimate

if TYPE_CHECKING:
    from engine.stats.drift import Column
    from engine.stats.drift.adwin import Chunk
    from engine.stats.estimated_performance import Calibration

SEED = 0  # of bootstraps: a report is a function of its rows
_Z = 2.576  # one-sided 99.5 %: what is surely more than a limit
_QUANTILES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
_NUMBERS = ("accuracy", "f1_score", "roc_auc")
_HEADLINES = {"binary": _NUMBERS, "multiclass": ("accuracy", "f1_score"), "regression": ("rmse", "mae", "r2")}
_EXAMPLES = 3
_SHOWN = 3  # features named in a line
_AT_LEAST = 100  # rows for a 99 % quantile


@dataclass(frozen=True)
class _Rows:
    """A window's rows, apart: `answered` have a prediction, `labelled` an actual value of the model's too."""

    all: Sequence[LoggedPrediction]
    answered: Sequence[LoggedPrediction]
    labelled: Sequence[LoggedPrediction]


def report_of(
    model: str,
    version: int,
    window: Window,
    rows: Sequence[LoggedPrediction],
    reference: Reference,
    settings: Settings,
    now: datetime,
    against: Against,
    before: WindowReport | None = None,
) -> WindowReport:
    """Judge a window. `before`: its earlier report, whose drift is kept where it does not depend on labels."""
    parts = _apart(rows, reference)
    final = is_final(window, len(parts.labelled), len(parts.answered), settings, now)
    names = measured(reference, settings)
    performance = _performance(parts, reference, names, settings)
    estimated, why_not = _estimated(parts, reference, names, settings)
    features = dict(_features(parts.answered, reference))
    drift = before.drift if before else dict(drift_of(parts.answered, window.number, reference, settings, against))
    errors: tuple[Chunk, ...] = ()
    if asks_for(settings, "detector", "adwin") and parts.labelled:
        errors = errors_of(parts.labelled, reference)
    drift = {**drift, **dict(concept_drift_of(errors, final, reference, settings, against))}
    figures = {each.name: _figure(each, parts.answered, reference) for each in settings.figures}
    own = WindowReport(
        model,
        version,
        window,
        utc(now),
        final,
        len(parts.labelled),
        len(rows) - len(parts.answered),
        _per_second(window),
        _latency(rows),
        performance,
        estimated,
        figures,
        features,
        _columns(parts.answered, reference),
        drift,
        (),
        why_not,
        errors=errors,
    )
    checked = _with_checks(own, rows, settings)
    contract = list(_contract_checks(parts.answered, reference, settings, now))
    return replace(checked, checks=(*checked.checks, *contract)) if contract else checked


def is_final(window: Window, labelled: int, answered: int, settings: Settings, now: datetime) -> bool:
    """Whether no label is waited for: all are there, or the delay has passed since the window's end."""
    if labelled >= answered:
        return True
    if settings.delay is None:
        return False
    return now >= moment(window.until) + timedelta(seconds=settings.delay)


def measured(reference: Reference, settings: Settings) -> tuple[str, ...]:
    """The metrics of the task that are asked for, or its usual ones."""
    asked = tuple(each.metric for each in settings.metrics if reference.task in METRICS[each.metric].tasks)
    return asked or _HEADLINES[reference.task]


def _apart(rows: Sequence[LoggedPrediction], reference: Reference) -> _Rows:
    answered = [row for row in rows if row.prediction is not None]
    usable = set(reference.classes)
    labelled = [row for row in answered if row.actual is not None and (not usable or row.actual in usable)]
    return _Rows(rows, answered, labelled)


# ── performance ──────────────────────────────────────────────────────────────────────────────────────────────


def _performance(parts: _Rows, reference: Reference, names: Sequence[str], settings: Settings) -> dict[str, Measure]:
    count = len(parts.labelled)
    if not count:
        return {name: Measure(None, reason="no actual value is known yet") for name in names}
    found = _regression(parts.labelled) if reference.task == "regression" else _classes(parts.labelled, reference)
    few = f"{count:,} labels, {settings.min_labels:,} needed" if count < settings.min_labels else ""
    return {name: _measure(found.get(name, Estimate(None)), count, few) for name in names}


def _measure(found: Estimate, rows: int, few: str) -> Measure:
    if found.value is None:
        return Measure(None, rows=rows, reason=few or "the labels that are known leave it undefined")
    return Measure(found.value, found.low, found.high, rows, few)


def _regression(rows: Sequence[LoggedPrediction]) -> dict[str, Estimate]:
    import numpy as np

    from engine.stats.regression import measure

    truth = np.array([row.actual for row in rows], dtype=np.float64)
    said = np.array([row.prediction for row in rows], dtype=np.float64)
    return {name: found for (name, _), found in measure(truth, said, SEED).items()}


def _classes(rows: Sequence[LoggedPrediction], reference: Reference) -> dict[str, Estimate]:
    """Metrics of probabilities are of the rows that have a score, and of two classes only."""
    scored = [row for row in rows if row.score is not None] if reference.positive is not None else []
    found = _measured_classes(rows, reference, scores=len(scored) == len(rows))
    if scored and len(scored) < len(rows):
        of_scored = _measured_classes(scored, reference, scores=True)
        found |= {name: value for name, value in of_scored.items() if METRICS[name].needs == "probabilities"}
    return found


def _measured_classes(rows: Sequence[LoggedPrediction], reference: Reference, *, scores: bool) -> dict[str, Estimate]:
    import numpy as np

    from engine.stats.classification import measure

    place = {name: number for number, name in enumerate(reference.classes)}
    truth = np.array([place[str(row.actual)] for row in rows], dtype=np.int64)
    said = np.array([place[str(row.prediction)] for row in rows], dtype=np.int64)
    positive = None if reference.positive is None else place[reference.positive]
    shares = None
    if scores and positive is not None:
        score = np.array([row.score for row in rows], dtype=np.float64)
        shares = np.column_stack((1 - score, score) if positive == 1 else (score, 1 - score))
    found = measure(truth, said, shares, len(place), positive, SEED)
    return {name: value for (name, average), value in found.items() if average is None}


def _estimated(
    parts: _Rows, reference: Reference, names: Sequence[str], settings: Settings
) -> tuple[dict[str, Measure], str]:
    """Estimates without labels, or why there are none."""
    if not settings.estimate:
        return {}, "monitoring.estimate is false"
    if isinstance(reference.calibration, str):
        return {}, reference.calibration
    scored = [row for row in parts.answered if row.score is not None]
    if not scored:
        return {}, "no prediction of the window has a score"
    found = _estimates(scored, reference, reference.calibration)
    wanted = [name for name in names if name in found]
    return {name: Measure(found[name].value, found[name].low, found[name].high, len(scored)) for name in wanted}, ""


def _estimates(rows: Sequence[LoggedPrediction], reference: Reference, calibration: Calibration) -> dict[str, Estimate]:
    import numpy as np

    from engine.stats.estimated_performance import estimate_accuracy, estimate_binary

    scores = np.array([row.score for row in rows], dtype=np.float64)
    if calibration.of == "correct":
        return estimate_accuracy(scores, calibration, SEED)
    positive = np.array([row.prediction == reference.positive for row in rows])
    return estimate_binary(scores, positive, calibration, SEED)


# ── features ─────────────────────────────────────────────────────────────────────────────────────────────────


def _features(rows: Sequence[LoggedPrediction], reference: Reference) -> Iterator[tuple[str, FeatureQuality]]:
    for feature in reference.features:
        values = column(feature, rows)
        measure = _numbers_quality if values.is_numeric else _categories_quality
        yield feature.name, measure(feature, values)


def _numbers_quality(feature: FeatureReference, values: Column) -> FeatureQuality:
    import numpy as np

    numbers = values.numbers()
    present = numbers[np.isfinite(numbers)]
    missing = 1 - present.size / max(1, values.rows)
    outside = None
    if feature.low is not None and feature.high is not None and present.size:
        outside = float(((present < feature.low) | (present > feature.high)).mean())
    constant = bool(present.size > 1 and present.min() == present.max() and not feature.constant)
    return FeatureQuality(feature.kind, missing, feature.missing, outside, constant=constant)


def _categories_quality(feature: FeatureReference, values: Column) -> FeatureQuality:
    from engine.stats.drift.columns import counted

    counts, gaps = counted(values.values)
    missing = gaps / max(1, values.rows)
    constant = len(counts) == 1 and values.rows - gaps > 1 and not feature.constant
    if feature.categories is None or not counts:
        return FeatureQuality(feature.kind, missing, feature.missing, constant=constant)
    new = {name: count for name, count in counts.items() if name not in feature.categories}
    examples = tuple(sorted(new, key=lambda name: (-new[name], name))[:_EXAMPLES])
    share = sum(new.values()) / sum(counts.values())
    return FeatureQuality(feature.kind, missing, feature.missing, None, share, examples, constant)


def _columns(rows: Sequence[LoggedPrediction], reference: Reference) -> dict[str, tuple[str, ...]]:
    known = {feature.name for feature in reference.features}
    seen = {name for row in rows for name in row.features or ()}
    return {"gone": tuple(sorted(known - seen)) if rows else (), "new": tuple(sorted(seen - known))}


# ── service and figures ──────────────────────────────────────────────────────────────────────────────────────


def _latency(rows: Sequence[LoggedPrediction]) -> dict[str, float]:
    import numpy as np

    found = np.quantile([row.latency for row in rows], list(_QUANTILES.values()))
    return dict(zip(_QUANTILES, map(float, found), strict=True))


def _per_second(window: Window) -> float | None:
    seconds = (moment(window.until) - moment(window.since)).total_seconds()
    return window.rows / seconds if seconds > 0 else None


def _figure(figure: FigureLimit, rows: Sequence[LoggedPrediction], reference: Reference) -> Measure:
    from engine.stats.expression import column_of, evaluate

    own: dict[str, Callable[[LoggedPrediction], Any]] = {
        "prediction": lambda row: row.prediction,
        "actual": lambda row: row.actual,
        "score": lambda row: row.score,
        "latency": lambda row: row.latency,
    }
    used = check_expression(figure.expression)
    named = {feature.name: feature for feature in reference.features}
    columns = {name: column_of([own[name](row) for row in rows]) for name in used if name in own}
    columns |= {name: column_of(column(named[name], rows).values) for name in used if name in named}
    if not columns:
        columns = {"": column_of([row.latency for row in rows])}  # how many rows there are
    found = evaluate(figure.expression, columns)
    return Measure(found.value, rows=found.rows, reason=found.reason)


# ── checks ───────────────────────────────────────────────────────────────────────────────────────────────────


def _with_checks(report: WindowReport, rows: Sequence[LoggedPrediction], settings: Settings) -> WindowReport:
    checks = [
        *_metric_checks(report, settings),
        *_figure_checks(report, settings),
        *_quality_checks(report, settings),
        *_service_checks(report, rows, settings),
    ]
    return replace(report, checks=tuple(checks))


def _check(kind: Kind, name: str, verdict: Verdict, text: str, watch: Watch, *numbers: float | None) -> Check:
    value, limit = (*numbers, None, None)[:2]
    return Check(kind, name, verdict, text, value, limit, watch.on_breach, watch.count, watch.windows)


def _metric_checks(report: WindowReport, settings: Settings) -> Iterator[Check]:
    for limit in settings.metrics:
        if limit.threshold is None or limit.metric not in report.performance:
            continue
        found = report.performance[limit.metric]
        verdict, why = _judged(limit, found)
        if found.rows < settings.min_labels:
            verdict, why = Verdict.INCONCLUSIVE, found.reason or "too few labels"
        elif settings.delay is not None and not report.final:
            verdict, why = Verdict.INCONCLUSIVE, "labels are still waited for"
        text = f"{limit.metric} {_shown(found)} {why}"
        yield _check("metric", limit.metric, verdict, text, limit, found.value, limit.threshold)
        if limit.metric in report.estimated:
            guessed = report.estimated[limit.metric]
            verdict, why = _judged(limit, guessed)
            text = f"{limit.metric} is estimated at {_shown(guessed)} {why}"
            yield _check("estimate", limit.metric, verdict, text, Watch(), guessed.value, limit.threshold)


def _judged(limit: MetricLimit, found: Measure) -> tuple[Verdict, str]:
    """A failure is sure: the whole interval is worse. A value that is only itself worse says nothing yet."""
    assert limit.threshold is not None
    if found.value is None or found.low is None or found.high is None:
        return Verdict.INCONCLUSIVE, found.reason or "has no interval"
    higher = METRICS[limit.metric].better == "higher"
    sign = ("<", "≥") if higher else (">", "≤")
    if (found.high < limit.threshold) if higher else (found.low > limit.threshold):
        return Verdict.FAIL, f"{sign[0]} {limit.threshold:g}"
    if (found.value >= limit.threshold) if higher else (found.value <= limit.threshold):
        return Verdict.PASS, f"{sign[1]} {limit.threshold:g}"
    return Verdict.INCONCLUSIVE, f"{sign[0]} {limit.threshold:g}, but not surely"


def _shown(found: Measure) -> str:
    if found.value is None:
        return "is undefined:"
    interval = "" if found.low is None or found.high is None else f" [{found.low:.3f}, {found.high:.3f}]"
    return f"{found.value:.3f}{interval}"


def _figure_checks(report: WindowReport, settings: Settings) -> Iterator[Check]:
    for limit in settings.figures:
        if limit.low is None and limit.high is None:
            continue
        found = report.figures[limit.name]
        needs_labels = "actual" in check_expression(limit.expression)
        if found.value is None:
            verdict, text = Verdict.INCONCLUSIVE, f"{limit.name} is undefined: {found.reason}"
        elif needs_labels and found.rows < settings.min_labels:
            verdict, text = Verdict.INCONCLUSIVE, f"{limit.name}: {found.rows:,} labels, {settings.min_labels:,} needed"
        elif needs_labels and settings.delay is not None and not report.final:
            verdict, text = Verdict.INCONCLUSIVE, f"{limit.name} {found.value:g}: labels are still waited for"
        elif limit.low is not None and found.value < limit.low:
            verdict, text = Verdict.FAIL, f"{limit.name} {found.value:g} < {limit.low:g}"
        elif limit.high is not None and found.value > limit.high:
            verdict, text = Verdict.FAIL, f"{limit.name} {found.value:g} > {limit.high:g}"
        else:
            verdict, text = Verdict.PASS, f"{limit.name} {found.value:g}"
        edge = limit.high if limit.high is not None and limit.low is None else limit.low
        yield _check("kpi", limit.name, verdict, text, limit, found.value, edge)


def _quality_checks(report: WindowReport, settings: Settings) -> Iterator[Check]:
    limits = settings.quality
    answered = report.window.rows - report.failed
    for name, limit in (("missing", limits.missing), ("out_of_range", limits.out_of_range), ("unseen", limits.unseen)):
        shares = {}
        for feature, found in report.features.items():
            share = getattr(found, name)
            known = answered if name == "missing" else round(answered * (1 - found.missing))
            if share is not None and known:
                shares[feature] = (share, known, limit + (found.missing_before if name == "missing" else 0.0))
        if not shares:
            continue
        sure = {f: s for f, (s, n, most) in shares.items() if surely_above(round(s * n), n, most)}
        over = [f for f, (s, _, most) in shares.items() if s > most]
        verdict = Verdict.FAIL if sure else Verdict.INCONCLUSIVE if over else Verdict.PASS
        worst = max(share for share, _, _ in shares.values())
        yield _check("quality", name, verdict, _quality_text(name, sure, worst), limits, worst, limit)


_QUALITY_WORDS = {
    "missing": "missing",
    "out_of_range": "outside the hold-out's range",
    "unseen": "not seen before",
}


def _quality_text(name: str, sure: Mapping[str, float], worst: float) -> str:
    words = _QUALITY_WORDS[name]
    if not sure:
        return f"at most {worst:.1%} of a feature {words}"
    ordered = sorted(sure, key=lambda feature: (-sure[feature], feature))
    shown = ", ".join(f"{feature} {sure[feature]:.1%}" for feature in ordered[:_SHOWN])
    more = f" and {len(ordered) - _SHOWN} more" if len(ordered) > _SHOWN else ""
    return f"{shown}{more} {words}"


def _contract_checks(
    rows: Sequence[LoggedPrediction], reference: Reference, settings: Settings, now: datetime
) -> Iterator[Check]:
    """The data contract as one check of quality, where it asks something of the features."""
    from engine.runtime.window_contract import held_against, line_of

    limits = settings.contract
    if limits is None:
        return
    found = held_against(limits, [feature.name for feature in reference.features], rows, now)
    if found is not None:
        yield _check("quality", "contract", found.verdict, line_of(found), limits, float(len(found.broken)), 0.0)


def _service_checks(report: WindowReport, rows: Sequence[LoggedPrediction], settings: Settings) -> Iterator[Check]:
    limits, count = settings.service, report.window.rows
    if limits.error_rate is not None:
        sure = surely_above(report.failed, count, limits.error_rate)
        over = report.error_rate > limits.error_rate
        verdict = Verdict.FAIL if sure else Verdict.INCONCLUSIVE if over else Verdict.PASS
        text = f"{report.failed:,} of {count:,} failed ({report.error_rate:.2%}), at most {limits.error_rate:.2%} may"
        yield _check("service", "error_rate", verdict, text, limits, report.error_rate, limits.error_rate)
    if limits.latency_p99 is not None:
        slow = sum(row.latency > limits.latency_p99 for row in rows)
        p99 = report.latency["p99"]
        inside = p99 <= limits.latency_p99 and count >= _AT_LEAST
        sure = surely_above(slow, count, 0.01)
        verdict = Verdict.FAIL if sure else Verdict.PASS if inside else Verdict.INCONCLUSIVE
        text = f"99 % within {p99 * 1000:.1f} ms, {limits.latency_p99 * 1000:.1f} allowed"
        yield _check("service", "latency_p99", verdict, text, limits, p99, limits.latency_p99)


def surely_above(hits: int, rows: int, limit: float) -> bool:
    """Whether a share is above a limit for sure: by the lower end of Wilson's interval (1927), one-sided 99.5 %."""
    if rows == 0:
        return False
    share, z2 = hits / rows, _Z * _Z
    centre = share + z2 / (2 * rows)
    spread = _Z * sqrt(share * (1 - share) / rows + z2 / (4 * rows * rows))
    low = (centre - spread) / (1 + z2 / rows)
    return isfinite(low) and low > limit
