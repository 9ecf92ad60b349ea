"""`engine plan`: golden files of what the real command prints, its exit codes, its JSON contract, saved plans."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli_project import check_golden, edit, make_project, rows
from command_line import Call


def test_a_first_plan(project: Path, call: Call) -> None:
    came = call(project, "plan")
    assert (came.code, came.err) == (0, "")
    check_golden("plan_new.txt", came.out)


def test_nothing_to_do(applied: Path, call: Call) -> None:
    came = call(applied, "plan", "--detailed-exitcode")
    assert came.code == 0
    check_golden("plan_up_to_date.txt", came.out)


def test_a_changed_parameter(applied: Path, call: Call) -> None:
    edit(applied / "specs/churn.yaml", "C: 1.0", "C: 0.5")
    came = call(applied, "plan", "--detailed-exitcode")
    assert came.code == 2
    check_golden("plan_parameter.txt", came.out)


def test_a_changed_threshold_trains_nothing(applied: Path, call: Call) -> None:
    edit(applied / "specs/churn.yaml", "threshold: 0.6", "threshold: 0.65")
    check_golden("plan_threshold.txt", call(applied, "plan").out)


def test_the_schedule_is_that_of_the_spec_as_it_is_now(applied: Path, call: Call) -> None:
    def schedule() -> str:
        [line] = (line for line in call(applied, "plan").out.splitlines() if line.startswith("    retrain "))
        return line

    weekly = schedule()
    edit(applied / "specs/churn.yaml", "threshold: 0.6", "threshold: 0.65")
    assert schedule() == weekly
    edit(applied / "specs/churn.yaml", "0 0 * * 0", "30 1 * * 0")
    assert "30 1 * * 0" in schedule()
    edit(applied / "specs/churn.yaml", '"30 1 * * 0"', '"0 0 * * 0", timezone: Asia/Tokyo')
    assert schedule() != weekly, "midnight in Tokyo is another moment"


def test_changed_data(applied: Path, call: Call) -> None:
    (applied / "data/churn.csv").write_text(rows(301))
    check_golden("plan_data.txt", call(applied, "plan").out)


def test_replace_and_target(applied: Path, call: Call) -> None:
    check_golden("plan_replace.txt", call(applied, "plan", "--replace", "split").out)
    check_golden("plan_target.txt", call(applied, "plan", "--target", "train", "--replace", "train").out)


def test_a_tainted_step(applied: Path, call: Call) -> None:
    assert call(applied, "state", "taint", "churn", "evaluate").code == 0
    check_golden("plan_tainted.txt", call(applied, "plan").out)


def test_several_models(applied: Path, call: Call) -> None:
    text = (applied / "specs/churn.yaml").read_text()
    (applied / "specs/other.yaml").write_text(text.replace("name: churn", "name: other"))
    check_golden("plan_several.txt", call(applied, "plan").out)
    check_golden("plan_several.md", call(applied, "plan", "--format", "markdown").out)


def test_json_is_the_contract(applied: Path, call: Call) -> None:
    edit(applied / "specs/churn.yaml", "C: 1.0", "C: 0.5")
    document = json.loads(call(applied, "plan", "--json").out)
    assert list(document) == ["format_version", "lineage", "serial", "created_at", "models", "summary"]
    assert document["format_version"] == 1
    assert document["summary"] == {"run": 3, "conditional": 2, "reuse": 3, "wait": 0}
    [model] = document["models"]
    assert list(model) == ["name", "spec_digest", "actions"]
    actions = {action["step"]: action for action in model["actions"]}
    assert actions["snapshot"] == {"step": "snapshot", "action": "reuse", "reason": None, "estimate_seconds": None}
    assert actions["train"]["action"] == "run"
    assert actions["train"]["reason"] == {
        "code": "spec_changed",
        "field": "training.params.C",
        "before": 1.0,
        "after": 0.5,
        "cause": None,
    }
    assert actions["train"]["estimate_seconds"] > 0
    assert actions["evaluate"]["reason"]["cause"] == "train"
    assert actions["deploy"]["action"] == "conditional"


def test_two_formats_are_one(applied: Path, call: Call) -> None:
    first, second = (json.loads(call(applied, "plan", *how).out) for how in (["--json"], ["--format", "json"]))
    assert first | {"created_at": ""} == second | {"created_at": ""}


def test_a_saved_plan_is_used_once(applied: Path, call: Call) -> None:
    edit(applied / "specs/churn.yaml", "threshold: 0.6", "threshold: 0.65")
    assert "engine apply next.plan" in call(applied, "plan", "--out", "next.plan").out
    came = call(applied, "apply", "next.plan")
    assert came.code == 0, came
    again = call(applied, "apply", "next.plan")
    assert again.code == 1
    assert again.err.startswith("error: ")
    assert "stale" in again.err or "used before" in again.err


def test_a_stale_plan_says_what_moved(applied: Path, call: Call) -> None:
    edit(applied / "specs/churn.yaml", "threshold: 0.6", "threshold: 0.65")
    call(applied, "plan", "--out", "next.plan")
    edit(applied / "specs/churn.yaml", "C: 1.0", "C: 0.5")
    came = call(applied, "apply", "next.plan")
    assert came.code == 1
    assert "is stale" in came.err
    mixed = call(applied, "apply", "next.plan", "--replace", "train")
    assert mixed.code == 1
    assert "Leave out --replace" in mixed.err


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--target", "trian"], "no model here has a step trian"),
        (["--var", "threshold"], "has no value"),
        (["--var", "a=1", "--var", "a=2"], "is given twice"),
        (["missing.yaml"], "missing.yaml does not exist"),
        (["--env", "nowhere"], "nowhere"),
        (["-C", "nowhere"], "is not a folder"),
    ],
)
def test_wrong_requests(project: Path, call: Call, argv: list[str], message: str) -> None:
    came = call(project, "plan", *argv)
    assert came.code == 1
    assert message in came.err
    assert len(came.err.strip().splitlines()) == 2, "an error and its remedy"


def test_global_options_stand_on_either_side(tmp_path: Path, call: Call) -> None:
    make_project(tmp_path / "there")
    before = call(tmp_path, "-C", "there", "plan", "--json")
    after = call(tmp_path, "plan", "--json", "-C", "there")
    assert before.code == after.code == 0
    assert json.loads(before.out)["models"] == json.loads(after.out)["models"]
