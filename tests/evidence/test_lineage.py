"""What a release was made of: shown, told to OpenLineage, compared, and made again."""

from __future__ import annotations

import json
import os
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from command_line import Call
from tracked_data import git

from engine.adapters.openlineage import OpenLineage, Story
from engine.cli.lineage_picture import lineage_picture
from engine.core.records import Artifact, Run, RunStatus

pytest.importorskip("openlineage.client")


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
    picture = lineage_picture(record)
    assert ("dvc:data/churn.csv@v2", "snapshot") in picture.links and ("churn@1", "churn@2") in picture.links
    assert picture.kinds[f"code ({record['code']['commit'][:8]})"] == "outside" and picture.kinds["train"] == "here"
    if os.environ.get("ENGINE_SOAK") == "1":  # drawing takes as long as all the rest
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
    code = released / "model.py"
    code.write_text(code.read_text() + "\n\nNEW = 1\n")  # the commit still has what the release was made of
    before = sorted(file for file in released.rglob("*") if ".engine/cache" not in str(file))
    found = json.loads(call(released, "reproduce", "churn@1", "--json").out)
    assert found["agrees"] and found["same_model"] and found["same_metrics"]
    assert found["code"].startswith("commit ")
    assert {each["step"] for each in found["outputs"]} == {"snapshot", "check_data", "split", "train", "evaluate"}
    assert all(each["agrees"] for each in found["outputs"])
    assert sorted(file for file in released.rglob("*") if ".engine/cache" not in str(file)) == before


def test_code_that_no_commit_has_is_not_kept(released: Path, call: Call) -> None:
    (released / "model.py").write_text("def train(X, y, C):\n    return None\n")
    git(released, "checkout", "--quiet", "--orphan", "other")
    (released / ".git/refs/heads/main").unlink()
    git(released, "tag", "--delete", "v1", "v2")
    git(released, "reflog", "expire", "--expire=now", "--all")
    git(released, "gc", "--quiet", "--prune=now")
    refused = call(released, "reproduce", "churn@1")
    assert refused.code == 1 and "is not kept" in refused.err and "model.py" in refused.err


def test_an_endpoint_of_openlineage_gets_the_event(tmp_path: Path) -> None:
    taken: list[tuple[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            taken.append((self.path, json.loads(self.rfile.read(int(self.headers["Content-Length"])))))
            self.send_response(201)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Nothing: the tests' output is theirs."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    document = {"name": "m", "data": {"source": "s3://bucket/a/b.csv"}}
    run = Run("r1", "m", RunStatus.FAILED, "2026-11-24T00:00:00Z", "2026-11-24T00:01:00Z", "d", document, "no rows")
    story = Story(
        "lineage", run, finished=True, data=Artifact("blake3:1", 5, "b.csv"), columns={"a": "numeric"}, rows=2
    )
    OpenLineage(f"http://127.0.0.1:{server.server_address[1]}", tmp_path).emit(story)
    server.shutdown()
    server.server_close()
    thread.join()
    [(path, event)] = taken
    assert (path, event["eventType"], event["job"]["name"]) == ("/api/v1/lineage", "FAIL", "m")
    assert event["run"]["facets"]["errorMessage"]["message"] == "no rows"
    assert (event["inputs"][0]["namespace"], event["inputs"][0]["name"]) == ("s3://bucket", "a/b.csv")
