"""What a release was made of: shown, told to OpenLineage, compared, and made again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from released import Call
from tracked_data import git


def test_lineage_answers_everything(made: Path, call: Call, tmp_path: Path) -> None:
    record = json.loads(call(made, "show", "churn@2", "--lineage", "--json").out)
    assert record["release"]["version"] == 2
    assert record["data"]["dvc"]["revision"] == "v2" and record["data"]["rows"] == 360
    assert (record["code"]["commit"], record["code"]["clean"]) == (git(made, "rev-parse", "HEAD"), True)
    assert record["environment"]["packages"]["scikit-learn"]
    assert record["spec"]["document"]["data"]["source"] == "dvc:data/churn.csv@v2"
    assert record["seed"] == {"training": 0, "split": 0, "attempt": 0}
    assert record["parents"] == [{"release": "churn@1", "as": "stable when it came"}]
    [run] = record["runs"]
    steps = ["snapshot", "check_data", "split", "train", "evaluate", "validate", "register"]
    assert run["steps"] == steps and [step["step"] for step in record["steps"]] == steps
    assert record["verdict"]["verdict"] == "pass" and record["service"]
    text = call(made, "show", "churn@2", "--lineage").out
    for told in (
        "at v2",
        "churn@1  stable when it came",
        "clean",
        "training 0, split 0",
        "split.holdout",
        "pass  accuracy",
    ):
        assert told in text
    assert "Drawn" in call(made, "show", "churn@2", "--lineage", "--out", str(tmp_path / "l.svg")).out
    assert "dvc:data/churn.csv@v2" in (tmp_path / "l.svg").read_text()
    assert call(made, "show", "churn@2", "--lineage", "--out", str(tmp_path / "l.gif")).code == 1


def test_openlineage_was_told_of_every_run(made: Path) -> None:
    events = [json.loads(line) for line in (made / "lineage.jsonl").read_text().splitlines()]
    assert [event["eventType"] for event in events] == ["START", "COMPLETE"] * 2
    assert len({event["run"]["runId"] for event in events}) == 2
    last = events[-1]
    [data] = last["inputs"]
    assert (data["namespace"], data["name"]) == ("dvc", "data/churn.csv@v2")
    assert data["inputFacets"]["dataQualityMetrics"]["rowCount"] == 360
    assert {field["name"] for field in data["facets"]["schema"]["fields"]} >= {"months", "churned"}
    [model] = last["outputs"]
    assert (model["name"], model["facets"]["version"]["datasetVersion"]) == ("models/churn", "2")
    assert last["job"]["facets"]["sourceCodeLocation"]["version"]


def test_lineage_that_is_not_taken_fails_no_run(released: Path, call: Call) -> None:
    (released / "engine.yaml").write_text("stores: {openlineage: 'http://127.0.0.1:1/'}\n")
    assert call(released, "apply", "--auto-approve", "--replace", "validate").code == 0
    assert "was not taken" in (released / ".engine/openlineage.log").read_text()


def test_two_releases_are_compared(made: Path, call: Call) -> None:
    found = json.loads(call(made, "diff", "churn@1", "churn@2", "--json").out)
    changes = {each["name"]: (each["before"], each["after"]) for each in found["data"]}
    assert changes["rows"] == (300, 360) and changes["dvc.revision"] == ("v1", "v2")
    assert not found["parameters"] and not found["environment"] and not found["same_holdout"]
    accuracy = next(each for each in found["metrics"] if each["name"] == "accuracy")
    assert accuracy["difference"] == pytest.approx(accuracy["after"]["value"] - accuracy["before"]["value"])
    text = call(made, "diff", "churn@1", "churn").out
    assert "churn@1 → churn@2" in text and "300 → 360" in text and "different rows" in text
    assert "has no release 9" in call(made, "diff", "churn@9", "churn").err


def test_a_release_is_made_again(released: Path, call: Call) -> None:
    before = sorted(file for file in released.rglob("*") if ".engine/cache" not in str(file))
    found = json.loads(call(released, "reproduce", "churn@1", "--json").out)
    assert found["agrees"] and found["same_model"] and found["same_metrics"]
    assert {each["step"] for each in found["outputs"]} == {"snapshot", "check_data", "split", "train", "evaluate"}
    assert all(each["agrees"] for each in found["outputs"])
    assert sorted(file for file in released.rglob("*") if ".engine/cache" not in str(file)) == before
