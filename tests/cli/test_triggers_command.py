"""`engine triggers` and a plan tell what the triggers said when the controller looked."""

from __future__ import annotations

import json
from pathlib import Path

from cli_project import edit, rows
from command_line import Call

TRIGGER = 'retrain_trigger: {type: scheduled, cron: "0 0 * * 0"}'
SEVERAL = 'retrain_trigger: [{type: scheduled, cron: "0 0 * * 0"}, {type: data, min_new_rows: 100}, {type: drift}]'


def test_what_was_said_and_what_came_of_it(applied: Path, call: Call) -> None:
    assert "were not looked at yet" in call(applied, "triggers", "churn").out
    edit(applied / "specs/churn.yaml", TRIGGER, SEVERAL)
    call(applied, "controller", "--once")
    (applied / "data/churn.csv").write_text(rows(340))
    call(applied, "controller", "--once")
    quiet = call(applied, "triggers", "churn")
    assert quiet.code == 0
    lines = [line.split() for line in quiet.out.splitlines()]
    assert ["data", "not", "due"] in [line[:3] for line in lines]
    assert ["drift", "unknown"] in [line[:2] for line in lines]
    (applied / "data/churn.csv").write_text(rows(420))
    call(applied, "controller", "--once")
    told = call(applied, "triggers", "churn").out
    assert "data: 120 new rows, 100 wanted" in told
    assert "retrained, released, run " in told
    document = json.loads(call(applied, "triggers", "churn", "--json").out)
    due = [each for each in document["evaluations"] if each["status"] == "due"]
    assert [(each["aftermath"], each["count"]) for each in due] == [("released", 1)]
    members = due[0]["document"]["judged"]["members"]
    assert [member["outcome"]["status"] for member in members] == ["not_due", "due", "unknown"]
    assert document["waiting"] == []


def test_a_plan_tells_what_only_the_controller_looks_at(applied: Path, call: Call) -> None:
    edit(applied / "specs/churn.yaml", TRIGGER, SEVERAL)
    assert "retrain   data" in call(applied, "plan").out
    call(applied, "controller", "--once")
    for _ in range(2):  # planned anew, and from the memo
        told = call(applied, "plan").out
        assert "retrain   data  not due: " in told
        assert "retrain   drift  unknown: no window has closed" in told
        assert "next: Sun" in told
    edit(applied / "specs/churn.yaml", SEVERAL, "retrain_trigger: {type: freshness, max_age: 30d}")
    assert "not due" not in call(applied, "plan").out, "what was said of other triggers is not told"


def test_an_unknown_model(applied: Path, call: Call) -> None:
    told = call(applied, "triggers", "chrun")
    assert told.code == 1
    assert "Did you mean churn?" in told.err


def test_requests_that_wait_are_shown(applied: Path, call: Call) -> None:
    call(applied, "trigger", "churn", "--reason", "new prices")
    assert "1 request waiting to be taken up" in call(applied, "triggers", "churn").out
