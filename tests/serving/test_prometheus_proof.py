"""What is exported works: a real Prometheus with the exported rules, a real Alertmanager, every query of the dashboard.

Everything is real: the gateway and a controller are scraped, the live release fails its floor, and the alert reaches a
web server by Prometheus and Alertmanager, and by the engine itself.
"""

from __future__ import annotations

import subprocess
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from cli_project import rows
from dashboards import queries
from served import PREDICT, Gateway

from engine.app.controller import Controller, Options
from engine.app.controller_metrics import serve_metrics
from engine.app.workspace import open_workspace
from engine.cli.entry import run
from engine.serving.prediction_log_files import read_log
from engine.testing.listening import Server, WebServer, alertmanager, free_port, installed, prometheus

PROGRAMS = ("prometheus", "promtool", "prometheus-alertmanager")
MONITORING = """\
  monitoring:
    labels: {{min: 50}}
    window: {{rows: 100}}
    metrics: [{{metric: accuracy, threshold: 60%}}]
    kpis: [{{name: calls, value: 'count(prediction == "yes")', min: 1}}]
    alerts: [{{webhook: "{url}", wait: 1s}}]
"""


def mislead(gateway: Gateway) -> None:
    """Send 200 rows whose actual values are mostly not what was predicted."""
    client = gateway.client()
    told = []
    for line in rows(200, seed=9).splitlines()[1:]:
        _, months, calls, plan, _ = line.split(",")
        row = {"months": float(months), "calls": float(calls), "plan": plan}
        said = client.ask("POST", PREDICT, {"instances": [row]}).json
        told.append({"id": said["ids"][0], "actual": {"yes": "no", "no": "yes"}[said["predictions"][0]]})
    assert client.ask("POST", "/v1/models/churn/feedback", {"feedback": told}).json["accepted"] == 200
    gateway.wait(lambda: sum(1 for _ in read_log(gateway.serving, "churn")) == 200)


@contextmanager
def controlled(project: Path, port: int) -> Iterator[Controller]:
    """A controller that watches, in threads of this process."""
    workspace = open_workspace(project)
    controller = Controller(workspace, Options(), note=lambda _: None, tell=lambda _: None)
    end, stop = serve_metrics(controller, port), threading.Event()
    thread = threading.Thread(target=controller.run, args=(stop,))
    thread.start()
    try:
        yield controller
    finally:
        stop.set()
        thread.join()
        end()
        workspace.close()


def asked(server: Server, query: str) -> list[Any]:
    """What an instant query gives."""
    found = server.get(f"/api/v1/query?{urllib.parse.urlencode({'query': query})}")
    assert found is not None and found["status"] == "success", query
    result: list[Any] = found["data"]["result"]
    return result


def named(web: WebServer) -> set[str]:
    """The alerts that came by Alertmanager while they fired."""
    return {
        each["labels"]["alertname"] for got in web.received for each in got.json["alerts"] if each["status"] == "firing"
    }


@pytest.mark.skipif(not installed(*PROGRAMS), reason="Debian: apt-get install prometheus prometheus-alertmanager")
def test_rules_fire_through_a_real_alertmanager_and_every_query_of_the_dashboard_has_data(
    serve: Callable[..., Gateway], project: Path, tmp_path: Path
) -> None:
    pytest.importorskip("grafana_foundation_sdk")  # not for Python 3.10
    own, by_alertmanager = WebServer(), WebServer()
    spec = project / "specs" / "churn.yaml"
    scheduled = 'retrain_trigger: {type: scheduled, cron: "0 0 * * 0"}'
    text = spec.read_text()
    assert scheduled in text
    spec.write_text(text.replace(scheduled, "retrain_trigger: {type: drift}") + MONITORING.format(url=own.url))
    out = tmp_path / "out"
    options = ["--output", str(out), "--window", "5s", "--for", "1s"]
    assert run(["--chdir", str(project), "export", "prometheus", *options]) == 0
    assert run(["--chdir", str(project), "export", "grafana", *options[:4]]) == 0
    check = ["promtool", "check", "rules", "--lint-fatal", "engine.rules.yml"]
    subprocess.run(check, cwd=out, check=True, capture_output=True)
    gateway = serve().ready()
    mislead(gateway)
    port, client = free_port(), gateway.client()
    with ExitStack() as stack:
        stack.callback(own.close)
        stack.callback(by_alertmanager.close)
        stack.enter_context(controlled(project, port))
        (tmp_path / "am").mkdir()
        manager = stack.enter_context(closing(alertmanager(tmp_path / "am", by_alertmanager.url)))
        ports = {"gateway": int(gateway.address.rpartition(":")[2]), "controller": port}
        server = stack.enter_context(closing(prometheus(tmp_path, ports, out / "engine.rules.yml", manager.url)))

        def happened() -> bool:
            client.predict()  # so that rates are of something
            return "ModelMetricLow" in named(by_alertmanager) and bool(own.received)

        server.wait(happened)
        assert "ModelDown" not in named(by_alertmanager), "it answers"
        [breach] = [each for each in own.received[0].json["alerts"] if each["alert"] == "MonitoringBreach"]
        assert breach["labels"] == {"kind": "metric", "limit": "accuracy", "release": "1"}
        wanted = queries((out / "engine.dashboard.json").read_text())
        assert len(wanted) > 15
        left = {query.replace("$model", ".+") for query in wanted}
        end = time.monotonic() + 20
        while left and time.monotonic() < end:
            client.predict()
            left = {query for query in left if not asked(server, query)}
        assert not left, "queries without data"
        groups = server.get("/api/v1/rules")["data"]["groups"]
        assert {rule["health"] for group in groups for rule in group["rules"]} == {"ok"}
