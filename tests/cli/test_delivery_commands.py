"""`engine rollout`, `rollback`, `releases`, `reconcile` and `apply --wait`, with a gateway's status written by hand."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path

import pytest
from cli_project import edit
from click.shell_completion import ShellComplete
from command_line import Call

from engine.cli.program import program
from engine.core.canonical import utc

BLUE_GREEN = ("{strategy: canary, initial_traffic: 10%}", "{strategy: blue_green}")


@contextmanager
def gateway(folder: Path, golden: str = "same") -> Iterator[None]:
    """A gateway's status, kept fresh: every release is ready."""
    serving = folder / ".engine/serving"
    serving.mkdir(exist_ok=True)
    over = threading.Event()
    releases = {str(version): {"state": "ready", "reason": "", "golden": golden} for version in (1, 2)}

    def write() -> None:
        while True:
            model = {"generation": 1_000, "releases": releases}
            document = {"format_version": 1, "at": utc(datetime.now(timezone.utc)), "models": {"churn": model}}
            (serving / "draft").write_text(json.dumps(document))
            (serving / "draft").replace(serving / "status.json")
            if over.wait(0.5):
                return

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def test_status_pause_and_resume(candidate: Path, call: Call) -> None:
    shown = call(candidate, "rollout", "status", "churn").out
    assert "churn: version 2, canary stage 1 of 1 (10%), progressing" in shown
    assert "candidate  unknown" in shown
    assert "0 of 500 requests in this stage" in shown
    assert "canary stage 1 of 1 (10%), progressing" in call(candidate, "status").out
    paused = json.loads(call(candidate, "rollout", "pause", "churn", "--json").out)
    assert (paused["rollout"]["phase"], paused["before"], paused["registry"]) == ("paused", paused["endpoint"], None)
    again = call(candidate, "rollout", "pause", "churn")
    assert (again.code, "engine rollout resume churn" in again.err) == (1, True)
    assert "engine rollout resume churn" in call(candidate, "rollout", "status", "churn").out
    assert "progressing" in call(candidate, "rollout", "resume", "churn").out
    document = json.loads(call(candidate, "rollout", "status", "churn", "--json").out)
    assert (document["format_version"], document["rollout"]["stage"], document["verdict"]) == (1, 1, "inconclusive")
    assert {each["name"] for each in document["evidence"]["guardrails"]} == {"errors", "latency", "split"}
    [model] = json.loads(call(candidate, "status", "--json").out)["models"]
    assert model["rollout"] == document["rollout"]


def test_reconcile(applied: Path, candidate: Path, call: Call) -> None:
    assert call(applied, "reconcile").out == "Nothing to carry on.\n"
    assert call(candidate, "reconcile").out == "churn: no gateway serves it (again in 1 s)\n"
    with gateway(candidate):
        assert "waits until it is ready" not in call(candidate, "reconcile", "churn").out
        [model] = json.loads(call(candidate, "reconcile", "--json").out)["models"]
    assert model == {
        "model": "churn",
        "done": False,
        "again_seconds": 1.0,
        "why": "0 of 500 requests in this stage",
        "error": None,
    }


@pytest.mark.slow
def test_promote_roll_back_retry(candidate: Path, call: Call) -> None:
    refused = call(candidate, "rollback", "churn")
    assert (refused.code, "engine abort churn" in refused.err) == (1, True)
    assert "version 2 is live" in call(candidate, "rollout", "promote", "churn").out
    came = call(candidate, "rollback", "churn", "--reason", "complaints since noon")
    assert (came.code, came.err) == (0, "")
    assert "version 1 is live" in came.out
    assert call(candidate, "plan", "--refresh", "--detailed-exitcode").code == 0, "aliases followed, and it is parked"
    rows = [line.split() for line in call(candidate, "releases", "churn").out.splitlines()[1:]]
    assert [(row[0], row[1], row[2]) for row in rows] == [
        ("churn@1", "stable", "100%"),
        ("churn@2", "candidate", "10%"),
        ("churn@1", "stable", "90%"),
        ("churn@2", "stable", "100%"),
        ("churn@1", "stable", "100%"),
    ]
    service = json.loads(call(candidate, "releases", "churn", "--json").out)["service"]
    assert [each["until"] is None for each in service] == [False] * 4 + [True]
    assert service[-1]["reason"] == "rolled back: complaints since noon"
    unknown = call(candidate, "rollback", "churn", "--to", "7")
    assert (unknown.code, "Releases: 1, 2." in unknown.err) == (1, True)
    retried = json.loads(call(candidate, "rollout", "retry", "churn", "--json").out)
    assert (retried["rollout"]["number"], retried["endpoint"]["candidate"]) == (2, 2)


@pytest.mark.slow
def test_an_apply_that_waits_until_it_is_live(candidate: Path, call: Call) -> None:
    edit(candidate / "specs/churn.yaml", *BLUE_GREEN)
    with gateway(candidate):
        came = call(candidate, "apply", "--auto-approve", "--wait")
    assert (came.code, came.err) == (0, "")
    assert "blue green stage 1 of 1 (no traffic), progressing" in came.out
    assert came.out.endswith("churn: version 2, blue green promoted: every stage is passed\n")
    assert call(candidate, "rollout", "watch", "churn").code == 0, "it has ended"
    assert call(candidate, "plan", "--detailed-exitcode").code == 0


@pytest.mark.slow
def test_an_apply_that_waits_until_it_is_sent_away(candidate: Path, call: Call) -> None:
    edit(candidate / "specs/churn.yaml", *BLUE_GREEN)
    with gateway(candidate, golden="different"):
        came = call(candidate, "apply", "--auto-approve", "--wait", "--json")
    document = json.loads(came.out)
    assert came.code == document["exit_code"] == 3
    [found] = document["rollouts"]
    assert (found["rollout"]["phase"], found["rollout"]["number"]) == ("aborted", 2)
    assert "does not predict" in found["rollout"]["reason"]
    assert found["endpoint"]["stable"] == 1
    assert call(candidate, "rollout", "watch", "churn").code == 3
    assert "engine rollout retry churn" in call(candidate, "rollout", "status", "churn").out
    numbers = [(each["number"], each["phase"]) for each in rollouts(candidate)]
    assert numbers == [(2, "aborted"), (1, "superseded")]


def rollouts(folder: Path) -> list[dict[str, object]]:
    from engine.app.showing import rollout_document
    from engine.app.workspace import open_workspace

    reader = open_workspace(folder).reader
    found = [rollout_document(rollout) for rollout in reader.rollouts("churn")]
    reader.close()
    return found


WORDS = [["rollout", verb, "chrun"] for verb in ("status", "watch", "promote", "pause", "resume", "abort", "retry")] + [
    ["promote", "chrun"],
    ["abort", "chrun"],
    ["rollback", "chrun"],
    ["releases", "chrun"],
    ["reconcile", "chrun"],
]


def test_a_model_that_is_not_there(applied: Path, call: Call) -> None:
    for words in WORDS:
        came = call(applied, *words)
        assert (came.code, came.out) == (1, ""), words
        assert "Did you mean churn?" in came.err
    for verb in ("promote", "pause", "resume", "abort", "retry"):
        came = call(applied, "rollout", verb, "churn")
        assert came.code == 1
        assert "engine" in came.err.splitlines()[-1], "a remedy"
    assert call(applied, "rollout", "watch", "churn").code == 0, "there is nothing to wait for"


def test_names_are_completed(applied: Path, call: Call) -> None:
    call(applied, "status")  # works in this folder
    shell = ShellComplete(program(), {}, "engine", "_ENGINE_COMPLETE")
    for words in (["promote"], ["rollout", "watch"], ["rollback"], ["releases"], ["reconcile"], ["status"]):
        assert [item.value for item in shell.get_completions(words, "ch")] == ["churn"]
        assert shell.get_completions(words, "x") == []
