"""Recording and alert rules for Prometheus from specs' own limits, with unit tests for `promtool`. Pure → text.

Every rule is over metrics that the gateway or the controller exports, and every alert brings series under which it
fires and series under which it does not, from which `unit_tests` are made. The same specs give the same bytes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml

from engine.core.alerts import CRITICAL, WARNING
from engine.core.monitoring import leaves
from engine.spec.metrics import METRICS


@dataclass(frozen=True)
class Series:
    """A series in promtool's notation: a selector and values like `0+10x20`, one for each minute."""

    series: str
    values: str


@dataclass(frozen=True)
class Record:
    """A recording rule."""

    record: str
    expr: str
    labels: Mapping[str, str]


@dataclass(frozen=True)
class AlertRule:
    """An alert rule. `bad` are series under which it fires, with `found` as the labels of the alert; `good` the rest.

    `lasts`: how long it must hold before it fires, in Prometheus' notation.
    """

    alert: str
    expr: str
    severity: str
    summary: str
    model: str
    bad: tuple[Series, ...]
    good: tuple[Series, ...]
    found: Mapping[str, str] = field(default_factory=dict)
    lasts: str = "0s"
    remedy: str = ""


@dataclass(frozen=True)
class Options:
    """`window`: over which rates are taken; `lasts`: how long a gateway may miss its limits before somebody hears."""

    window: str = "5m"
    lasts: str = "1m"
    interval: str | None = None


def rules_text(documents: Sequence[Mapping[str, Any]], options: Options) -> str:
    """A rule file for resolved specs."""
    groups = [_common(options)] + [_group(document, options) for document in _sorted(documents)]
    return _yaml({"groups": groups})


def unit_tests_text(documents: Sequence[Mapping[str, Any]], options: Options, rule_file: str) -> str:
    """A file for `promtool test rules`: of each alert that it fires, and that it does not."""
    tests = []
    for document in _sorted(documents):
        others = tuple(
            Series(f'model_release_ready{{model="{other["name"]}",release="1"}}', "1x30")
            for other in _sorted(documents)
            if other["name"] != document["name"]
        )
        for rule in alert_rules(document, options):
            for series, fires in ((rule.bad, True), (rule.good, False)):
                tests.append(_unit_test(rule, (*series, *others), fires=fires))
    return _yaml({"rule_files": [rule_file], "evaluation_interval": "1m", "tests": tests})


# ── rules ────────────────────────────────────────────────────────────────────────────────────────────────────


def records(document: Mapping[str, Any], options: Options) -> Sequence[Record]:
    """The recording rules of a model: requests, errors and latency, by release and role."""
    model, window = document["name"], options.window
    of = f'{{model="{model}"}}[{window}]'
    by = "sum by (release, role)"
    labels = {"model": model}
    return (
        Record("model:requests:rate", f"{by} (rate(model_requests_total{of}))", labels),
        Record(
            "model:error_ratio:rate",
            f"{by} (rate(model_errors_total{of})) / {by} (rate(model_requests_total{of}))",
            labels,
        ),
        Record(
            "model:latency_p99:rate",
            f"histogram_quantile(0.99, sum by (release, role, le) (rate(model_prediction_latency_seconds_bucket{of})))",
            labels,
        ),
    )


def alert_rules(document: Mapping[str, Any], options: Options) -> Sequence[AlertRule]:
    """The alert rules of a model, in the order of its spec."""
    found = [
        _down(document, options),
        *_service(document, options),
        *_candidate(document, options),
        *_metrics(document),
        *_kpis(document),
        *_labels(document),
        *_triggers(document),
    ]
    return tuple(found)


def _down(document: Mapping[str, Any], options: Options) -> AlertRule:
    model = document["name"]
    ready = f'model_release_ready{{model="{model}"}}'
    return AlertRule(
        "ModelDown",
        f"max by (model) ({ready}) < 1 or absent({ready})",
        CRITICAL,
        f"{model}: no release of it can answer",
        model,
        (Series(f'model_release_ready{{model="{model}",release="1"}}', "0x30"),),
        (
            Series(f'model_release_ready{{model="{model}",release="1"}}', "1x30"),
            Series(f'model_release_ready{{model="{model}",release="2"}}', "0x30"),
        ),
        lasts=options.lasts,
        remedy="engine status; the log of engine serve",
    )


def _service(document: Mapping[str, Any], options: Options) -> Iterable[AlertRule]:
    limits, model = (document.get("monitoring") or {}).get("service") or {}, document["name"]
    found = {"release": "1", "role": "stable"}
    if (rate := limits.get("error_rate")) is not None:
        yield AlertRule(
            "ModelErrorRateHigh",
            f'model:error_ratio:rate{{model="{model}",role="stable"}} > {_number(rate)}',
            CRITICAL,
            f"{model}: the live release fails more than {rate:.4g} of its requests",
            model,
            _traffic(model, "stable", errors=1.0),
            _traffic(model, "stable", errors=0.0),
            found,
            options.lasts,
            f"engine releases {model}; engine rollback {model}",
        )
    if (seconds := limits.get("latency_p99")) is not None:
        yield AlertRule(
            "ModelLatencyHigh",
            f'model:latency_p99:rate{{model="{model}",role="stable"}} > {_number(seconds)}',
            WARNING,
            f"{model}: the slowest 1 % of answers take longer than {seconds:.4g} s",
            model,
            _latency(model, seconds * 2),
            _latency(model, seconds / 4),
            found,
            options.lasts,
            f"engine monitor {model}",
        )


def _candidate(document: Mapping[str, Any], options: Options) -> Iterable[AlertRule]:
    """What the guardrail on errors allows, seen from outside: a second pair of eyes on a rollout."""
    analysis, model = (document.get("deployment") or {}).get("analysis") or {}, document["name"]
    if "errors" not in (analysis.get("guardrails") or ()) or analysis.get("max_error_rate") is None:
        return
    ratio, rate = analysis["max_error_ratio"], analysis["max_error_rate"]
    candidate = f'model:error_ratio:rate{{model="{model}",role="candidate"}}'
    stable = f'model:error_ratio:rate{{model="{model}",role="stable"}}'
    yield AlertRule(
        "CandidateErrorRateHigh",
        f"max by (model) ({candidate}) > {_number(rate)}"
        f" and max by (model) ({candidate}) > {_number(ratio)} * max by (model) ({stable})",
        WARNING,
        f"{model}: the candidate fails more than {rate:.4g} of its requests, and {ratio:g} times the live release's",
        model,
        (*_traffic(model, "stable", errors=0.0), *_traffic(model, "candidate", errors=1.0)),
        (*_traffic(model, "stable", errors=0.0), *_traffic(model, "candidate", errors=0.0)),
        lasts=options.lasts,
        remedy=f"engine rollout status {model}; engine abort {model}",
    )


def _metrics(document: Mapping[str, Any]) -> Iterable[AlertRule]:
    """Floors of `monitoring.metrics` and of performance triggers: missed when the whole interval is worse."""
    model = document["name"]
    watched = [*((document.get("monitoring") or {}).get("metrics") or ())]
    watched += [each for each in leaves(document.get("retrain_trigger")) if each["type"] == "performance"]
    limits = {each["metric"]: each["threshold"] for each in reversed(watched) if each["threshold"] is not None}
    for metric in dict.fromkeys(each["metric"] for each in watched if each["metric"] in limits):
        limit, higher = limits[metric], METRICS[metric].better == "higher"
        side, sign, step = ("high", "<", -1) if higher else ("low", ">", 1)
        series = f'model_metric_{side}{{model="{model}",release="1",metric="{metric}"}}'
        yield AlertRule(
            "ModelMetricLow" if higher else "ModelMetricHigh",
            f'model_metric_{side}{{model="{model}",metric="{metric}"}} {sign} {_number(limit)}',
            CRITICAL,
            f"{model}: {metric} is surely worse than {limit:.6g}",
            model,
            (Series(series, f"{_number(limit + step)}x30"),),
            (Series(series, f"{_number(limit)}x30"),),
            {"release": "1", "metric": metric},
            remedy=f"engine monitor {model}",
        )


def _kpis(document: Mapping[str, Any]) -> Iterable[AlertRule]:
    model = document["name"]
    for kpi in (document.get("monitoring") or {}).get("kpis") or ():
        name, low, high = kpi["name"], kpi["min"], kpi["max"]
        of = f'model_kpi{{model="{model}",kpi="{name}"}}'
        series = f'model_kpi{{model="{model}",release="1",kpi="{name}"}}'
        limits = [*([f"{of} < {_number(low)}"] if low is not None else [])]
        limits += [f"{of} > {_number(high)}"] if high is not None else []
        if limits:
            beyond, within = (low - 1, low) if low is not None else (high + 1, high)
            yield AlertRule(
                "ModelKpiOutOfRange",
                " or ".join(limits),
                WARNING,
                f"{model}: {name} is beyond its limits",
                model,
                (Series(series, f"{_number(beyond)}x30"),),
                (Series(series, f"{_number(within)}x30"),),
                {"release": "1", "kpi": name},
                remedy=f"engine monitor {model}",
            )


def _labels(document: Mapping[str, Any]) -> Iterable[AlertRule]:
    """Too few actual values become known to say anything of performance."""
    labels, model = (document.get("monitoring") or {}).get("labels") or {}, document["name"]
    if not labels or labels.get("delay") is None:
        return
    series = f'model_window_labelled{{model="{model}",release="1"}}'
    yield AlertRule(
        "ModelLabelsMissing",
        f'model_window_labelled{{model="{model}"}} < {labels["min"]}',
        WARNING,
        f"{model}: of a window whose labels should be known, fewer than {labels['min']} are",
        model,
        (Series(series, f"{labels['min'] - 1}x30"),),
        (Series(series, f"{labels['min']}x30"),),
        {"release": "1"},
        remedy=f"engine feedback import {model} FILE",
    )


def _triggers(document: Mapping[str, Any]) -> Iterable[AlertRule]:
    model, triggers = document["name"], list(leaves(document.get("retrain_trigger")))
    if any(each["type"] == "drift" for each in triggers):
        series = f'model_drift{{model="{model}",release="1"}}'
        yield AlertRule(
            "ModelDrift",
            f'model_drift{{model="{model}"}} == 1',
            WARNING,
            f"{model}: what it is asked, or answers, has moved away from its hold-out",
            model,
            (Series(series, "1x30"),),
            (Series(series, "0x30"),),
            {"release": "1"},
            remedy=f"engine monitor {model}; engine triggers {model}",
        )
    for age in sorted({each["max_age"] for each in triggers if each["type"] == "freshness"})[:1]:
        series = f'model_release_timestamp_seconds{{model="{model}",release="1"}}'
        yield AlertRule(
            "ModelStale",
            f'time() - model_release_timestamp_seconds{{model="{model}"}} > {_number(age)}',
            WARNING,
            f"{model}: the live release is older than {age:g} s",
            model,
            (Series(series, f"{_number(-2 * age)}x30"),),
            (Series(series, "0+60x30"),),
            {"release": "1"},
            remedy=f"engine triggers {model}",
        )


# ── series for the unit tests ────────────────────────────────────────────────────────────────────────────────


def _traffic(model: str, role: str, *, errors: float) -> tuple[Series, ...]:
    """A hundred requests a minute, of which a share fails."""
    release = "1" if role == "stable" else "2"
    of = f'{{model="{model}",release="{release}",role="{role}"}}'
    return (
        Series(f"model_requests_total{of}", "0+100x30"),
        Series(f"model_errors_total{of}", f"0+{int(100 * errors)}x30"),
    )


def _latency(model: str, seconds: float) -> tuple[Series, ...]:
    """A hundred requests a minute, all of them about so slow."""
    of = f'model="{model}",release="1",role="stable"'
    bounds = (f"{seconds / 2:.9g}", f"{seconds:.9g}", "+Inf")
    counts = ("0x30", "0+100x30", "0+100x30")
    return tuple(
        Series(f'model_prediction_latency_seconds_bucket{{{of},le="{bound}"}}', count)
        for bound, count in zip(bounds, counts, strict=True)
    )


def _unit_test(rule: AlertRule, series: Sequence[Series], *, fires: bool) -> dict[str, Any]:
    labels = {**rule.found, "model": rule.model, "severity": rule.severity}
    expected = [{"exp_labels": labels, "exp_annotations": _annotations(rule)}] if fires else []
    return {
        "name": f"{rule.model}: {rule.alert} {'fires' if fires else 'is quiet'}",
        "interval": "1m",
        "input_series": [vars(each) for each in series],
        "alert_rule_test": [{"eval_time": "25m", "alertname": rule.alert, "exp_alerts": expected}],
    }


# ── text ─────────────────────────────────────────────────────────────────────────────────────────────────────


def _common(options: Options) -> dict[str, Any]:
    """What concerns no model alone."""
    down = {
        "alert": "EngineControllerDown",
        "expr": "absent(engine_loop_names)",
        "for": options.lasts,
        "labels": {"severity": CRITICAL},
        "annotations": {
            "summary": "No controller answers: nothing is watched, retrained or rolled back",
            "remedy": "engine up --metrics-port N; engine controller --metrics-port N",
        },
    }
    return {"name": "engine", **_interval(options), "rules": [down]}


def _group(document: Mapping[str, Any], options: Options) -> dict[str, Any]:
    recording = [
        {"record": each.record, "expr": each.expr, "labels": {**each.labels}} for each in records(document, options)
    ]
    alerting = [
        {
            "alert": rule.alert,
            "expr": rule.expr,
            **({"for": rule.lasts} if rule.lasts != "0s" else {}),
            "labels": {"model": rule.model, "severity": rule.severity, **_limit(rule)},
            "annotations": _annotations(rule),
        }
        for rule in alert_rules(document, options)
    ]
    return {"name": f"engine-{document['name']}", **_interval(options), "rules": [*recording, *alerting]}


def _limit(rule: AlertRule) -> dict[str, str]:
    """What tells rules of one name apart, which Prometheus wants in the rule itself."""
    return {name: value for name, value in rule.found.items() if name in ("metric", "kpi")}


def _interval(options: Options) -> dict[str, str]:
    return {"interval": options.interval} if options.interval else {}


def _annotations(rule: AlertRule) -> dict[str, str]:
    # Prometheus takes {{ for a template of its own.
    texts = {"summary": rule.summary, "remedy": rule.remedy}
    return {name: re.sub(r"\{\{", "{ {", text) for name, text in texts.items() if text}


def _sorted(documents: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
    return sorted(documents, key=lambda document: str(document["name"]))


def _number(value: float) -> str:
    return f"{value:.15g}"


def _yaml(document: Mapping[str, Any]) -> str:
    head = "# Made by engine export prometheus; make it again instead of editing it.\n"
    return head + yaml.safe_dump(dict(document), sort_keys=False, allow_unicode=True, width=10_000)
