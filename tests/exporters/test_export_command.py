"""`engine export`: rules from specs' limits that promtool accepts and whose unit tests pass, byte for byte the same."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from dashboards import queries

from engine.cli.entry import run
from engine.testing.listening import installed

ROOT = Path(__file__).parents[2]
LIMITS = """\
model_spec:
  name: churn
  retrain_trigger:
    any_of:
      - {type: drift}
      - {type: freshness, max_age: 30d}
      - {type: performance, metric: accuracy, threshold: 0.8}
  deployment: {strategy: canary, initial_traffic: 10%, analysis: {guardrails: [errors, latency]}}
  monitoring:
    labels: {delay: 7d}
    metrics: [{metric: f1_score, threshold: 0.7}, {metric: log_loss, threshold: 0.6}]
    kpis: [{name: saved, value: 'sum(prediction == "yes") * 12.5', min: 100}]
    service: {error_rate: 1%, latency_p99: 50ms}
"""
ALERTS = {
    "ModelDown", "ModelErrorRateHigh", "ModelLatencyHigh", "CandidateErrorRateHigh", "ModelMetricLow",
    "ModelMetricHigh", "ModelKpiOutOfRange", "ModelLabelsMissing", "ModelDrift", "ModelStale",
}  # fmt: skip


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A spec that has every limit and one that has none, exported."""
    folder = tmp_path_factory.mktemp("exported")
    (folder / "specs").mkdir()
    shutil.copy(ROOT / "specs" / "customer_churn_v3.yaml", folder / "specs")
    (folder / "specs" / "churn.yaml").write_text(LIMITS, encoding="utf-8")
    assert run(["--chdir", str(folder), "export", "prometheus", "--output", "out"]) == 0
    return folder / "out"


def rules(folder: Path) -> dict[str, list[dict[str, Any]]]:
    document = yaml.safe_load((folder / "engine.rules.yml").read_text())
    return {group["name"]: group["rules"] for group in document["groups"]}


def test_each_limit_of_a_spec_is_a_rule(exported: Path) -> None:
    found = {rule["alert"]: rule for rule in rules(exported)["engine-churn"] if "alert" in rule}
    assert found.keys() == ALERTS
    assert found["ModelErrorRateHigh"]["expr"].endswith("> 0.01")
    assert found["ModelStale"]["expr"].endswith(f"> {30 * 86400}")
    assert found["ModelMetricHigh"]["labels"] == {"model": "churn", "severity": "critical", "metric": "log_loss"}
    bare = {rule["alert"] for rule in rules(exported)["engine-customer_churn_v3"] if "alert" in rule}
    assert "ModelErrorRateHigh" not in bare, "no limit, no rule"


@pytest.mark.skipif(not installed("promtool"), reason="Debian: apt-get install prometheus")
def test_promtool_accepts_the_rules_and_their_unit_tests_pass(exported: Path, tmp_path: Path) -> None:
    check = ["promtool", "check", "rules", "--lint-fatal", "engine.rules.yml"]
    subprocess.run(check, cwd=exported, check=True, capture_output=True)
    test = ["promtool", "test", "rules", "engine.rules.test.yml"]
    subprocess.run(test, cwd=exported, check=True, capture_output=True)
    for name in ("engine.rules.yml", "engine.rules.test.yml"):
        shutil.copy(exported / name, tmp_path)
    broken = (tmp_path / "engine.rules.yml").read_text().replace("> 0.01", "> 100")
    (tmp_path / "engine.rules.yml").write_text(broken)
    assert subprocess.run(test, cwd=tmp_path, check=False, capture_output=True).returncode != 0, "the tests can fail"


def test_the_same_specs_give_the_same_bytes(exported: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert run(["--chdir", str(exported.parent), "export", "prometheus"]) == 0
    assert capsys.readouterr().out == (exported / "engine.rules.yml").read_text()


def test_a_dashboard_is_made_by_grafanas_own_types(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("grafana_foundation_sdk")
    assert run(["--chdir", str(tmp_path), "export", "grafana", "--window", "2m"]) == 0
    text = capsys.readouterr().out
    board = json.loads(text)
    assert (board["uid"], board["schemaVersion"] > 30) == ("engine-models", True)
    assert {each["name"] for each in board["templating"]["list"]} == {"datasource", "model"}
    assert all("[2m]" in query for query in queries(text) if "rate(" in query)
    assert run(["--chdir", str(tmp_path), "export", "grafana", "--window", "5 minutes"]) == 1
    assert "write it like 5m" in capsys.readouterr().err
