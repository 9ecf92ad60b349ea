"""`engine monitor` on what a real gateway answered: a spec's limits, labels, drift."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from cli_project import rows
from served import PREDICT, Gateway

from engine.cli.entry import run
from engine.serving.prediction_log_files import read_log

MONITORING = """\
  monitoring:
    labels: {min: 50}
    window: {rows: 100}
    metrics: [{metric: accuracy, threshold: 60%}]
    kpis: [{name: calls, value: 'count(prediction == "yes" and calls > 3)', min: 1}]
"""


def test_the_command_judges_what_was_served(
    serve: Callable[..., Gateway], project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gateway = serve().ready()
    client = gateway.client()
    sent = []
    for number, line in enumerate(rows(230, seed=9).splitlines()[1:]):
        _, months, calls, plan, truth = line.split(",")
        late = number >= 100  # from then on nothing is as it was
        row = {"months": float(months) + 500 * late, "calls": float(calls), "plan": "new" if late else plan}
        said = client.ask("POST", PREDICT, {"instances": [row]}).json
        wrong = {"yes": "no", "no": "yes"}[said["predictions"][0]]
        sent.append({"id": said["ids"][0], "actual": wrong if late and number % 4 else truth})
    labels = sent[:200]
    assert client.ask("POST", "/v1/models/churn/feedback", {"feedback": labels}).json["accepted"] == 200
    gateway.wait(lambda: sum(1 for _ in read_log(gateway.serving, "churn")) == 230)
    spec = project / "specs" / "churn.yaml"
    spec.write_text(spec.read_text() + MONITORING)
    assert run(["--chdir", str(project), "monitor", "churn", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    second, first = document["windows"]
    assert (document["version"], document["open"]["rows"], first["labelled"], first["final"]) == (1, 30, 100, True)
    verdicts = [{c["kind"] + " " + c["name"]: c["verdict"] for c in each["checks"]} for each in (first, second)]
    assert verdicts[0]["metric accuracy"] == verdicts[0]["kpi calls"] == "pass"
    assert [verdicts[1][f"quality {name}"] for name in ("missing", "out_of_range", "unseen")] == [
        "pass",
        "fail",
        "fail",
    ]
    assert verdicts[1]["metric accuracy"] == "fail"
    assert {breach["name"] for breach in document["breaches"]} >= {"accuracy", "out_of_range", "unseen"}
    assert second["features"]["plan"]["examples"] == ["new"]
    assert run(["--chdir", str(project), "monitor", "churn"]) == 0  # judged once, shown again
    shown = capsys.readouterr().out
    assert "churn@1: window 2 of 100 rows" in shown
    assert "breached  accuracy" in shown
    assert run(["--chdir", str(project), "monitor", "chrun"]) == 1
    assert "Did you mean churn?" in capsys.readouterr().err
