"""The commands that look at what happened, change an endpoint, look after the state, and begin a project."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from cli_project import edit
from command_line import Call

from engine.app.starting import create_project


def last_run(folder: Path, call: Call) -> str:
    return str(json.loads(call(folder, "history", "--json").out)["runs"][0]["run_id"])


def test_status_of_nothing(project: Path, call: Call) -> None:
    assert "Nothing was applied here yet" in call(project, "status").out
    assert json.loads(call(project, "status", "--json").out) == {"format_version": 1, "models": []}
    assert not (project / ".engine/state.db").exists(), "looking makes no state"


def test_status(applied: Path, call: Call) -> None:
    out = call(applied, "status").out
    assert "version 1 is live" in out
    [model] = json.loads(call(applied, "status", "churn", "--json").out)["models"]
    assert model["endpoint"]["stable"] == 1
    assert model["release"]["version"] == 1
    assert model["last_run"]["status"] == "done"
    missing = call(applied, "status", "chrun")
    assert missing.code == 1
    assert "Did you mean churn?" in missing.err


def test_history_and_show(applied: Path, call: Call) -> None:
    run = last_run(applied, call)
    assert run in call(applied, "history", "churn").out
    shown = call(applied, "show", run[:20]).out
    for text in ("status", "train", "LogisticRegression on 240 × 3", "releases  churn@1", "Gates"):
        assert text in shown
    release = call(applied, "show", "churn").out
    assert release == call(applied, "show", "churn@1").out
    for text in (
        "churn@1 (stable)",
        "data/churn.csv",
        "240 to train, 60 held out",
        "C=1.0",
        "accuracy",
        "Verdict pass",
    ):
        assert text in release
    assert "stable" in release.partition("SERVED")[2]
    document = json.loads(call(applied, "show", "churn@1", "--json").out)
    assert document["role"] == "stable"
    assert set(document["lineage"]) >= {"snapshot", "check_data", "split", "train", "evaluate", "validate"}
    assert json.loads(call(applied, "show", run, "--json").out)["run"]["status"] == "done"


@pytest.mark.parametrize("what", ["nothing", "churn@7", "chrun@1", "2"])
def test_show_what_is_not_there(applied: Path, call: Call, what: str) -> None:
    came = call(applied, "show", what)
    if what == "2":  # the beginning of the only run's id
        assert came.code == 0
        return
    assert came.code == 1
    assert len(came.err.strip().splitlines()) == 2
    assert call(applied, "show", "churn", "--log", "train").code == 1
    assert "no log of nothing" in call(applied, "show", last_run(applied, call), "--log", "nothing").err


def test_abort(candidate: Path, call: Call) -> None:
    aborted = call(candidate, "abort", "churn", "--reason", "errors since noon")
    assert aborted.code == 0
    assert "version 1 is live (the last candidate was aborted: errors since noon)" in aborted.out
    assert call(candidate, "plan", "--detailed-exitcode").code == 0, "what was aborted stays parked"
    assert "candidate, 10%" in call(candidate, "show", "churn@2").out
    assert "aborted: errors since noon" in call(candidate, "audit", "list").out


def test_promote(applied: Path, candidate: Path, call: Call) -> None:
    assert call(applied, "promote", "churn").code == 1, "there is no candidate"
    promoted = json.loads(call(candidate, "promote", "churn", "--json").out)
    assert promoted["before"]["candidate"] == promoted["endpoint"]["stable"] == 2
    assert promoted["registry"] is None
    assert call(candidate, "plan", "--refresh", "--detailed-exitcode").code == 0, "the aliases followed"
    assert "rollout 1 promoted: promoted by" in call(candidate, "audit", "list").out


def test_state_commands(applied: Path, call: Call) -> None:
    assert "churn" in call(applied, "state", "list").out
    assert json.loads(call(applied, "state", "list", "--json").out)["models"][0]["steps"]
    assert "LogisticRegression" in call(applied, "state", "show", "churn").out
    steps = json.loads(call(applied, "state", "show", "churn", "--json").out)["steps"]
    assert {step["step"] for step in steps} >= {"train", "deploy"}
    assert call(applied, "state", "taint", "churn", "nothing").code == 1
    assert call(applied, "state", "backup", "copy.db").code == 0
    with sqlite3.connect(applied / "copy.db") as connection:
        assert connection.execute("SELECT count(*) FROM models").fetchone() == (1,)
    connection.close()
    assert call(applied, "state", "backup", "copy.db").code == 1
    refused = call(applied, "state", "rm", "churn")
    assert (refused.code, "--auto-approve" in refused.err) == (1, True)
    assert call(applied, "state", "rm", "churn", "--auto-approve").code == 0
    assert call(applied, "state", "list").out == "The state is empty.\n"


def test_garbage(applied: Path, call: Call) -> None:
    edit(applied / "specs/churn.yaml", "    id: customer\n", "    id: customer\n    split: {seed: 1}\n")
    assert call(applied, "apply", "--auto-approve", "--target", "split").code == 0
    edit(applied / "specs/churn.yaml", "seed: 1", "seed: 2")
    assert call(applied, "apply", "--auto-approve", "--target", "split").code == 0
    dry = json.loads(call(applied, "state", "gc", "--dry-run", "--json").out)
    assert dry["bytes"] > 0
    again = json.loads(call(applied, "state", "gc", "--dry-run", "--json").out)
    assert again == dry, "a dry run removes nothing"
    assert json.loads(call(applied, "state", "gc", "--json").out)["bytes"] == dry["bytes"]
    assert json.loads(call(applied, "state", "gc", "--json").out)["bytes"] == 0
    assert call(applied, "plan").code == 0
    edit(applied / "specs/churn.yaml", "    split: {seed: 2}\n", "")
    assert "Nothing to do" in call(applied, "plan").out, "what a release was made of stays"


@pytest.mark.slow
def test_garbage_of_one_environment_spares_the_others(applied: Path, call: Call) -> None:
    (applied / "engine.yaml").write_text("environments:\n  prod: {}\n")
    to_check = ["--env", "prod", "--target", "check_data"]
    assert call(applied, "apply", "--auto-approve", *to_check).code == 0
    assert call(applied, "state", "rm", "churn", "--auto-approve").code == 0
    call(applied, "state", "gc")
    assert "Nothing to do" in call(applied, "plan", *to_check).out


def test_looking_after_a_state_makes_none(project: Path, call: Call) -> None:
    for words in (["taint", "churn", "train"], ["backup", "x.db"]):
        came = call(project, "state", *words)
        assert (came.code, "no state here yet" in came.err) == (1, True)
    assert not (project / ".engine/state.db").exists()


def test_audit(applied: Path, call: Call) -> None:
    head = json.loads(call(applied, "audit", "verify", "--json").out)["head"]
    assert call(applied, "audit", "verify", "--head", head).code == 0
    assert call(applied, "audit", "verify", "--head", "nonsense").code == 1
    assert (
        len(json.loads(call(applied, "audit", "list", "--after", "1", "--json").out)["events"])
        == int(head.partition(":")[0]) - 1
    )
    connection = sqlite3.connect(applied / ".engine/state.db")
    connection.execute("DROP TRIGGER IF EXISTS audit_is_final")
    for (trigger,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
        connection.execute(f"DROP TRIGGER {trigger}")
    connection.execute("UPDATE audit SET actor = 'nobody' WHERE sequence = 1")
    connection.commit()
    connection.close()
    came = call(applied, "audit", "verify")
    assert came.code == 1
    assert "event 1 was altered" in came.err
    assert call(applied, "doctor").code == 1


def test_doctor(applied: Path, call: Call) -> None:
    findings = json.loads(call(applied, "doctor", "--json").out)["findings"]
    assert {finding["check"] for finding in findings} >= {"python", "packages", "specs", "folder", "state", "disk"}
    assert all(finding["remedy"] for finding in findings if finding["level"] != "ok")
    edit(applied / "specs/churn.yaml", "threshold", "treshold")
    came = call(applied, "doctor")
    assert came.code == 1
    assert "treshold" in came.out


def test_graph(applied: Path, call: Call) -> None:
    assert "← train.model, split.holdout, split.schema" in call(applied, "graph").out
    assert call(applied, "graph", "--format", "mermaid").out.startswith("flowchart LR\n")
    assert call(applied, "graph", "--out", "g.svg").code == 0
    first = (applied / "g.svg").read_bytes()
    assert b"<svg" in first
    assert b"evaluate" in first
    call(applied, "graph", "--out", "g.svg")
    assert (applied / "g.svg").read_bytes() == first
    assert call(applied, "graph", "--out", "g.png").code == 0
    assert (applied / "g.png").read_bytes().startswith(b"\x89PNG")
    assert call(applied, "graph", "--out", "g.mmd").code == 0
    assert (applied / "g.mmd").read_text().startswith("flowchart LR\n")
    assert call(applied, "graph", "--format", "svg").code == 1
    assert call(applied, "graph", "--out", "nowhere/g.svg").code == 1


def test_fmt(project: Path, call: Call) -> None:
    spec = project / "specs/churn.yaml"
    assert call(project, "fmt", "--check").code == 0
    text = spec.read_text()
    spec.write_text(
        text.replace("    source:", "        source:")
        .replace("    target:", "        target:")
        .replace("    positive:", "        positive:")
        .replace("    id:", "        id:")
        + "\n\n"
    )
    came = call(project, "fmt", "--check")
    assert (came.code, came.out) == (1, "specs/churn.yaml\n")
    assert call(project, "fmt").code == 0
    assert spec.read_text() == text
    spec.write_bytes(b"\xff\xfe")
    assert "not UTF-8" in call(project, "fmt").err


def test_schema(tmp_path: Path, call: Call) -> None:
    assert json.loads(call(tmp_path, "schema").out)["title"] == "model_spec"
    assert "stores" in call(tmp_path, "schema", "--project").out
    assert call(tmp_path, "schema", "--write", "schemas").code == 0
    assert call(tmp_path, "schema", "--check", "schemas").code == 0
    (tmp_path / "schemas/model_spec.schema.json").write_text("{}")
    assert call(tmp_path, "schema", "--check", "schemas").code == 1


def test_init_makes_a_project_that_plans(tmp_path: Path, call: Call) -> None:
    came = call(tmp_path, "init", "shop", "--name", "loyalty")
    assert came.code == 0
    assert "cd shop && engine plan" in came.out
    shop = tmp_path / "shop"
    assert call(shop, "validate").out == ""
    assert call(shop, "fmt", "--check").code == 0
    assert "loyalty" in call(shop, "plan").out
    assert (shop / "README.md").read_text().startswith("# loyalty\n")
    before = {path: path.read_bytes() for path in shop.rglob("*") if path.is_file() and ".engine" not in path.parts}
    again = call(tmp_path, "init", "shop", "--name", "loyalty")
    assert again.code == 0
    assert "Everything is there already." in again.out
    assert before == {path: path.read_bytes() for path in before}


def test_init_overwrites_nothing(tmp_path: Path, call: Call) -> None:
    (tmp_path / "README.md").write_text("mine")
    assert call(tmp_path, "init").code == 0, "a repository's own README is no obstacle"
    assert (tmp_path / "README.md").read_text() == "mine"
    edit(tmp_path / "specs/customer_churn.yaml", "0.75", "0.8")
    came = call(tmp_path, "init")
    assert came.code == 1
    assert "specs/customer_churn.yaml would be overwritten" in came.err
    assert call(tmp_path, "init", "--name", "Not A Name").code == 1
    assert call(tmp_path, "init", "README.md").code == 1


@pytest.mark.slow
def test_the_new_project_reaches_its_gates(tmp_path: Path, call: Call) -> None:
    create_project(tmp_path / "churn")
    assert call(tmp_path / "churn", "apply", "--auto-approve").code == 0


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion(tmp_path: Path, call: Call, shell: str) -> None:
    assert "_ENGINE_COMPLETE" in call(tmp_path, "completion", shell).out


def test_the_shell_completes_commands(tmp_path: Path) -> None:
    environment = {**os.environ, "_ENGINE_COMPLETE": "bash_complete", "COMP_WORDS": "engine pl", "COMP_CWORD": "1"}
    source = "from engine.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", source], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.stdout.split() == ["plain,plan"], done.stderr


def test_environments_have_states_of_their_own(applied: Path, call: Call) -> None:
    (applied / "engine.yaml").write_text("environments:\n  prod:\n    overrides: {}\n")
    prod = call(applied, "status", "--env", "prod")
    assert prod.code == 0
    assert "Nothing was applied here yet" in prod.out
