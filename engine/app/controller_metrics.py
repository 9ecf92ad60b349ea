"""The controller's metrics for Prometheus: its loops, what monitoring found last of each model, alerts and notices.

What is told was found by the last passes; a scrape reads memory alone. Labels are as the gateway's: model, release.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from engine.core.monitoring import Measure, WindowReport, moment
from engine.errors import UsageError

if TYPE_CHECKING:
    from engine.app.alerting import Known
    from engine.app.controller import Controller

_RELEASE = ("model", "release")


def serve_metrics(controller: Controller, port: int) -> Callable[[], None]:
    """Answer scrapes on loopback, by Prometheus' own server; gives what ends it. Raises UsageError for a used port."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(controller))
    try:
        server, thread = start_http_server(port, addr="127.0.0.1", registry=registry)
    except OSError as error:
        raise UsageError(
            f"metrics cannot be served at port {port}: {error.strerror}", remedy="Choose another --metrics-port."
        ) from None

    def end() -> None:
        server.shutdown()
        server.server_close()
        thread.join()

    return end


class _Collector:
    def __init__(self, controller: Controller) -> None:
        self._controller = controller

    def collect(self) -> Iterator[Any]:
        """Every family."""
        known = dict(self._controller.known)
        yield from self._of_loops()
        yield from self._of_alerts(known)
        yield from _of_windows(known)
        released = GaugeMetricFamily("model_release_timestamp_seconds", "When it went live.", labels=_RELEASE)
        for model, each in known.items():
            if each.live_since is not None and each.facts.endpoint is not None:
                released.add_metric((model, str(each.facts.endpoint.stable)), moment(each.live_since).timestamp())
        yield released

    def _of_loops(self) -> Iterator[Any]:
        words = ("names", "waiting", "working", "failing")
        families = [
            GaugeMetricFamily(f"engine_loop_{word}", f"Models of a work loop: {word}.", labels=("loop",))
            for word in words
        ]
        passes = CounterMetricFamily("engine_passes", "Passes over models.", labels=("loop", "outcome"))
        seconds = CounterMetricFamily("engine_pass_seconds", "Time that passes took.", labels=("loop",))
        for name, loop in self._controller.loops.items():
            for family, figure in zip(families, loop.figures(), strict=True):
                family.add_metric((name,), figure)
            done, failed, took = loop.counted()
            passes.add_metric((name, "done"), done)
            passes.add_metric((name, "failed"), failed)
            seconds.add_metric((name,), took)
        events = CounterMetricFamily("engine_events", "What happened to models.", labels=("model", "kind"))
        for (model, kind), count in dict(self._controller.events).items():
            events.add_metric((model, kind), count)
        yield from (*families, passes, seconds, events)

    def _of_alerts(self, known: Mapping[str, Known]) -> Iterator[Any]:
        labels = ("model", "alert", "severity")
        firing = GaugeMetricFamily("engine_alerts_firing", "Alerts that fire.", labels=labels)
        retrain = GaugeMetricFamily(
            "engine_last_retrain_timestamp_seconds", "When the last retrain was due.", labels=("model", "aftermath")
        )
        for model, each in known.items():
            counts: dict[tuple[str, str], int] = {}
            for record in each.alerts:
                if record.status == "firing":
                    key = (record.alert.name, record.alert.severity)
                    counts[key] = counts.get(key, 0) + 1
            for (name, severity), count in counts.items():
                firing.add_metric((model, name, severity), count)
            due = each.facts.evaluation
            if due is not None:
                word = due.aftermath.value if due.aftermath is not None else "open"
                retrain.add_metric((model, word), moment(due.first_at).timestamp())
        notices = CounterMetricFamily(
            "engine_notices", "Notices to receivers.", labels=("model", "receiver", "outcome")
        )
        for of, count in dict(self._controller.notices).items():
            notices.add_metric(of, count)
        yield from (firing, retrain, notices)


def _of_windows(known: Mapping[str, Known]) -> Iterator[Any]:
    """The newest window of each live release; of labels and metrics, the newest one that waits for none."""

    def gauge(name: str, text: str, *more: str) -> GaugeMetricFamily:
        return GaugeMetricFamily(f"model_{name}", text, labels=(*_RELEASE, *more))

    until = gauge("window_timestamp_seconds", "The end of the newest window.")
    rows = gauge("window_rows", "Predictions in it.")
    labelled = gauge("window_labelled", "Of the newest final window: predictions whose actual value is known.")
    coverage = gauge("label_coverage", "Of the newest final window: share of predictions with an actual value.")
    drift = gauge("drift", "Whether the newest window drifted: 1, else 0.")
    findings = gauge("drift_findings", "In how many columns, or jointly, the newest window drifted.")
    breach = gauge("breach", "Limits that are breached: 1.", "kind", "limit")
    measured = {
        "performance": _measures(gauge, "metric", "A metric of the newest final window", "metric"),
        "estimated": _measures(gauge, "estimated_metric", "A metric without actual values", "metric"),
        "figures": _measures(gauge, "kpi", "A business figure", "kpi"),
    }
    for model, each in known.items():
        for report in each.facts.reports[:1]:
            at = (model, str(report.version))
            until.add_metric(at, moment(report.window.until).timestamp())
            rows.add_metric(at, report.window.rows)
            if report.drift:
                said = report.drift.values()
                drift.add_metric(at, float(any(each["verdict"] == "drift" for each in said)))
                findings.add_metric(at, sum(_drifted(each) for each in said))
            _add(measured["estimated"], at, report.estimated)
            _add(measured["figures"], at, report.figures)
        final = next((report for report in each.facts.reports if report.final), None)
        if final is not None:
            at = (model, str(final.version))
            labelled.add_metric(at, final.labelled)
            coverage.add_metric(at, final.coverage)
            _add(measured["performance"], at, final.performance)
        for limit in each.facts.breaches:
            breach.add_metric((model, str(_version(each.facts.reports)), limit.kind, limit.name), 1)
    yield from (until, rows, labelled, coverage, drift, findings, breach)
    for families in measured.values():
        yield from families


def _drifted(report: Mapping[str, Any]) -> int:
    return sum(finding["verdict"] == "drift" for finding in report.get("findings") or ())


def _measures(make: Callable[..., GaugeMetricFamily], name: str, text: str, label: str) -> list[GaugeMetricFamily]:
    return [
        make(name, f"{text}.", label),
        make(f"{name}_low", f"{text}: the lower end of its 95 % interval.", label),
        make(f"{name}_high", f"{text}: the upper end of its 95 % interval.", label),
    ]


def _add(families: list[GaugeMetricFamily], at: tuple[str, str], found: Mapping[str, Measure]) -> None:
    for name, measure in found.items():
        for family, value in zip(families, (measure.value, measure.low, measure.high), strict=True):
            if value is not None:
                family.add_metric((*at, name), value)


def _version(reports: Any) -> int:
    report: WindowReport = reports[0]
    return report.version
