"""`/metrics`: the gateway's own counts, read when they are asked for, through Prometheus' client."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

from engine.serving.counting import BUCKETS, Totals

if TYPE_CHECKING:
    from engine.serving.children import Template
    from engine.serving.gateway import Gateway

_LABELS = ("model", "release", "role")
_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


def text(gateway: Gateway, template: Template) -> tuple[bytes, str]:
    """The metrics now, and their content type."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collector(gateway, template))
    return generate_latest(registry), CONTENT_TYPE_LATEST


class _Collector:
    def __init__(self, gateway: Gateway, template: Template) -> None:
        self._gateway = gateway
        self._template = template

    def collect(self) -> Iterator[Any]:
        """Every family."""
        yield from self._of_releases()
        gateway = self._gateway
        yield GaugeMetricFamily("model_requests_in_flight", "Predictions that wait or are made.", gateway.in_flight)
        yield GaugeMetricFamily("gateway_connections", "Open connections.", len(gateway.connections))
        yield CounterMetricFamily("gateway_turned_away", "Predictions answered with 429.", gateway.turned_away)
        yield from self._of_limits()
        yield from self._of_log()
        yield from self._of_weights()
        yield from self._of_processes()

    def _of_limits(self) -> Iterator[Any]:
        labels = ("model", "release")
        limits = GaugeMetricFamily("model_concurrency_limit", "Predictions that may be under way.", labels=labels)
        used = GaugeMetricFamily("model_concurrency", "Predictions that are under way.", labels=labels)
        refused = CounterMetricFamily("model_overload_refusals", "Refused: no room.", labels=labels)
        fleet = self._gateway.fleet
        for name, model in fleet.models.items() if fleet is not None else ():
            for version, loaded in model.releases.items():
                if loaded.pool is not None:
                    limit = loaded.pool.limit
                    limits.add_metric((name, str(version)), limit.limit)
                    used.add_metric((name, str(version)), limit.in_flight)
                    refused.add_metric((name, str(version)), limit.refused)
        yield from (limits, used, refused)

    def _of_releases(self) -> Iterator[Any]:
        counters = {
            "predictions": CounterMetricFamily("model_predictions", "Rows predicted.", labels=_LABELS),
            "requests": CounterMetricFamily("model_requests", "Requests answered or failed.", labels=_LABELS),
            "errors": CounterMetricFamily("model_errors", "Requests that a release failed.", labels=_LABELS),
            "fallbacks": CounterMetricFamily("model_fallbacks", "Of those, answered by stable.", labels=_LABELS),
            "refused": CounterMetricFamily("model_refused", "Requests that were the client's mistake.", labels=_LABELS),
        }
        latency = HistogramMetricFamily(
            "model_prediction_latency_seconds", "From the request's arrival to its answer.", labels=_LABELS
        )
        accuracy = GaugeMetricFamily("model_accuracy", "Share of right answers among labelled ones.", labels=_LABELS)
        for labels, totals in self._totals():
            for name, family in counters.items():
                family.add_metric(labels, getattr(totals, name))
            bounds = [*(str(bound) for bound in BUCKETS), "+Inf"]
            buckets = list(zip(bounds, accumulate(totals.buckets), strict=True))
            latency.add_metric(labels, buckets, totals.seconds)
            if totals.labelled:
                accuracy.add_metric(labels, totals.correct / totals.labelled)
        yield from counters.values()
        yield latency
        yield accuracy

    def _totals(self) -> Iterator[tuple[tuple[str, str, str], Totals]]:
        fleet = self._gateway.fleet
        for name, model in fleet.models.items() if fleet is not None else ():
            for (version, role), totals in sorted(model.totals.items()):
                yield (name, str(version), role), totals

    def _of_log(self) -> Iterator[Any]:
        families = {
            "records": CounterMetricFamily("prediction_log_records", "Requests logged.", labels=("model",)),
            "dropped": CounterMetricFamily("prediction_log_dropped", "Not logged: no room.", labels=("model",)),
            "lost": CounterMetricFamily("prediction_log_lost", "Not logged: the disk failed.", labels=("model",)),
        }
        for name, log in self._gateway.keeper.log.models.items():
            for field, family in families.items():
                family.add_metric((name,), getattr(log, field))
        yield from families.values()

    def _of_weights(self) -> Iterator[Any]:
        weights = GaugeMetricFamily("model_traffic_weight", "Share of traffic in effect.", labels=_LABELS)
        ready = GaugeMetricFamily("model_release_ready", "Whether a release can answer.", labels=("model", "release"))
        fleet = self._gateway.fleet
        for name, route in fleet.routes.items() if fleet is not None else ():
            weights.add_metric((name, str(route.stable.version), "stable"), 1 - route.weight)
            if route.candidate is not None:
                weights.add_metric((name, str(route.candidate.version), "candidate"), route.weight)
        for name, model in fleet.models.items() if fleet is not None else ():
            for version, loaded in model.releases.items():
                ready.add_metric((name, str(version)), float(loaded.state == "ready"))
        yield weights
        yield ready

    def _of_processes(self) -> Iterator[Any]:
        labels = ("process", "model", "release")
        cpu = CounterMetricFamily("engine_process_cpu_seconds", "Processor time.", labels=labels)
        memory = GaugeMetricFamily("engine_process_resident_memory_bytes", "Memory.", labels=labels)
        for values, pid in self._processes():
            try:
                cpu.add_metric(values, _cpu_seconds(pid))
                memory.add_metric(values, _resident_bytes(pid))
            except (OSError, ValueError, IndexError):
                continue  # it ended meanwhile
        yield cpu
        yield memory

    def _processes(self) -> Iterator[tuple[tuple[str, str, str], int]]:
        yield ("gateway", "", ""), os.getpid()
        fleet = self._gateway.fleet
        for name, model in fleet.models.items() if fleet is not None else ():
            for version, loaded in model.releases.items():
                for number, pid in enumerate(loaded.pool.pids if loaded.pool is not None else ()):
                    yield (f"model-{number}", name, str(version)), pid


def _cpu_seconds(pid: int) -> float:
    after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(after_name[11]) + int(after_name[12])) / _TICKS


def _resident_bytes(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE
