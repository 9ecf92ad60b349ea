"""A dashboard for Grafana over the metrics of the gateway and the controller, by Grafana's own typed SDK. Pure → text.

It is for all models, chosen by a variable, with the limits of the specs as lines where there is one model.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from engine.errors import UsageError
from engine.exporters.prometheus import Options

_MODEL = 'model=~"$model"'


@dataclass(frozen=True)
class Graph:
    """A panel: a title, its unit in Grafana's words, and its queries with a legend each."""

    title: str
    unit: str
    queries: tuple[tuple[str, str], ...]


def graphs(options: Options) -> Mapping[str, Sequence[Graph]]:
    """The panels by row."""
    window = options.window
    by = "{{model}} {{release}} {{role}}"
    of = f"{{{_MODEL}}}[{window}]"
    return {
        "Traffic": (
            Graph("Requests", "reqps", ((f"sum by (model, release, role) (rate(model_requests_total{of}))", by),)),
            Graph(
                "Errors",
                "percentunit",
                (
                    (
                        f"sum by (model, release, role) (rate(model_errors_total{of}))"
                        f" / sum by (model, release, role) (rate(model_requests_total{of}))",
                        by,
                    ),
                ),
            ),
            Graph(
                "Latency",
                "s",
                tuple(
                    (
                        f"histogram_quantile({quantile}, sum by (model, release, role, le)"
                        f" (rate(model_prediction_latency_seconds_bucket{of})))",
                        f"p{quantile[2:]:0<2} {by}",
                    )
                    for quantile in ("0.5", "0.99")
                ),
            ),
            Graph("Share of traffic", "percentunit", ((f"model_traffic_weight{{{_MODEL}}}", by),)),
        ),
        "The model": (
            Graph(
                "Metrics with their 95 % intervals",
                "none",
                tuple(
                    (f"model_metric{end}{{{_MODEL}}}", f"{{{{model}}}} {{{{release}}}} {{{{metric}}}} {word}".strip())
                    for end, word in (("", ""), ("_low", "low"), ("_high", "high"))
                ),
            ),
            Graph(
                "Estimated without labels",
                "none",
                ((f"model_estimated_metric{{{_MODEL}}}", "{{model}} {{release}} {{metric}}"),),
            ),
            Graph("Drifted columns", "none", ((f"model_drift_findings{{{_MODEL}}}", "{{model}} {{release}}"),)),
            Graph("Label coverage", "percentunit", ((f"model_label_coverage{{{_MODEL}}}", "{{model}} {{release}}"),)),
            Graph("Business figures", "none", ((f"model_kpi{{{_MODEL}}}", "{{model}} {{release}} {{kpi}}"),)),
            Graph(
                "Age of the live release",
                "s",
                ((f"time() - model_release_timestamp_seconds{{{_MODEL}}}", "{{model}} {{release}}"),),
            ),
        ),
        "The engine": (
            Graph(
                "Alerts that fire",
                "none",
                ((f"sum by (model, alert) (engine_alerts_firing{{{_MODEL}}})", "{{model}} {{alert}}"),),
            ),
            Graph(
                "Passes",
                "ops",
                ((f"sum by (loop, outcome) (rate(engine_passes_total[{window}]))", "{{loop}} {{outcome}}"),),
            ),
            Graph("Models that wait for a worker", "none", (("engine_loop_waiting", "{{loop}}"),)),
            Graph(
                "What happened",
                "none",
                ((f"sum by (model, kind) (engine_events_total{{{_MODEL}}})", "{{model}} {{kind}}"),),
            ),
            Graph("Memory", "bytes", (("sum by (process) (engine_process_resident_memory_bytes)", "{{process}}"),)),
        ),
    }


def dashboard_text(options: Options) -> str:
    """The dashboard's JSON. Raises UsageError where the SDK is not installed."""
    try:
        from grafana_foundation_sdk.builders import dashboard as dashboards
        from grafana_foundation_sdk.cog.encoder import JSONEncoder
        from grafana_foundation_sdk.models.dashboard import DataSourceRef
    except ImportError:
        raise UsageError(
            "dashboards need the extra grafana, for Python 3.11 or later", remedy="pip install 'engine[grafana]'"
        ) from None
    source = DataSourceRef(type_val="prometheus", uid="$datasource")
    board = (
        dashboards.Dashboard("Models")
        .uid("engine-models")
        .tags(["engine"])
        .refresh("30s")
        .time("now-6h", "now")
        .timezone("browser")
        .editable()
        .with_variable(dashboards.DatasourceVariable("datasource").label("Data source").type("prometheus"))
        .with_variable(
            dashboards.QueryVariable("model")
            .label("Model")
            .query("label_values(model_release_ready, model)")
            .datasource(source)
            .multi(True)
            .include_all(True)
            .all_value(".+")
            .refresh(_on_load())
        )
    )
    for title, row in graphs(options).items():
        board = board.with_row(dashboards.Row(title))
        for graph in row:
            board = board.with_panel(_panel(graph, source))
    encoded = json.loads(JSONEncoder(sort_keys=True).encode(board.build()))
    return json.dumps(encoded, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def _on_load() -> Any:
    from grafana_foundation_sdk.models.dashboard import VariableRefresh

    return VariableRefresh.ON_TIME_RANGE_CHANGED


def _panel(graph: Graph, source: Any) -> Any:
    from grafana_foundation_sdk.builders import prometheus, timeseries

    panel = timeseries.Panel().title(graph.title).unit(graph.unit).datasource(source).span(8).height(8)
    for number, (expr, legend) in enumerate(graph.queries):
        target = prometheus.Dataquery().expr(expr).legend_format(legend).ref_id(chr(ord("A") + number))
        panel = panel.with_target(target)
    return panel
