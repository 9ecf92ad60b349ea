"""The check of the data: what stops a run before training, and what is only said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from real_data import DATA, MakeContext

from engine.errors import StepError
from engine.ports import StepOutcome
from engine.steps import check_data


def check(make_context: MakeContext, path: Path, task: str = "auto", **data: Any) -> tuple[StepOutcome, dict[str, Any]]:
    context = make_context(data, {"data": path}, {"profile": "profile.json"}, task)
    outcome = check_data.run(context)
    return outcome, json.loads(context.outputs["profile"].read_text())


def csv(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "churn.csv"
    path.write_text(text)
    return path


def test_telco(make_context: MakeContext) -> None:
    outcome, profile = check(make_context, DATA / "telco_customer_churn.csv", target="Churn", id="customerID")
    assert outcome.summary == "7,043 rows, 21 columns"
    assert outcome.facts["target"] == {
        "name": "Churn",
        "task": "binary",
        "missing": 0,
        "classes": {"No": 5174, "Yes": 1869},
    }
    assert outcome.facts["notes"] == []
    assert profile["columns"]["TotalCharges"] == {
        "kind": "numeric",
        "missing": 0.001562,
        "distinct": 6530,
        "min": 18.8,
        "max": 8684.8,
        "mean": 2283.300441,
    }
    assert profile["columns"]["Contract"]["values"] == {"Month-to-month": 3875, "One year": 1473, "Two year": 1695}


def test_a_quantity(make_context: MakeContext) -> None:
    outcome, profile = check(make_context, DATA / "bike_sharing_hourly.csv", target="count", timestamp="date")
    assert outcome.facts["target"]["task"] == "regression"
    assert (outcome.facts["target"]["min"], outcome.facts["target"]["max"]) == (1, 977)
    assert profile["columns"]["date"]["max"] == "2012-12-31T00:00:00"


def test_the_profile_is_deterministic(make_context: MakeContext, tmp_path: Path) -> None:
    profiles = set()
    for _ in range(2):
        check(make_context, DATA / "elec2.csv", target="class")
        profiles.add((tmp_path / "out/profile.json").read_bytes())
    assert len(profiles) == 1


@pytest.mark.parametrize(
    ("text", "data", "says"),
    [
        ("target,a\n", {}, "no rows"),
        ("Target,a\n1,2\n0,1\n", {}, "data.target is target"),
        ("target,a\n,2\n,1\n", {}, "has no value at all"),
        ("target,a\nyes,2\nyes,1\n", {}, "one value yes in every row"),
        ("target,a\nyes,2\nyes,1\nno,1\n", {}, "a single row of class no"),
        ("target,a\n2024-01-01,2\n2024-01-02,1\n", {}, "is a date"),
        ("target,a\nx,1\nx,1\ny,1\ny,1\n", {"task": "regression"}, "training.task is regression"),
        ("target,a\n1.5,1\n1.5,1\n2.5,1\n2.5,1\n", {"task": "classification"}, "fractional values"),
        ("target,a\n0,1\n1,1\n0,2\n1,2\n", {"id": "b"}, "data.id is b"),
        ("target,a\n0,1\n1,1\n0,2\n1,2\n", {"ignore": ["b"]}, "data.ignore is b"),
    ],
)
def test_what_stops_a_run(
    make_context: MakeContext, tmp_path: Path, text: str, data: dict[str, Any], says: str
) -> None:
    with pytest.raises(StepError, match=says):
        check(make_context, csv(tmp_path, text), **data)


def test_all_objections_come_together_with_what_was_meant(make_context: MakeContext, tmp_path: Path) -> None:
    path = csv(tmp_path, "churned,customer_id,when\nyes,1,2024-01-01\n")
    with pytest.raises(StepError) as caught:
        check(make_context, path, target="churn", id="costumer_id", timestamp="when", group="region")
    lines = str(caught.value).splitlines()
    assert len(lines) == 3
    assert 'Did you mean "churned"?' in lines[0]
    assert 'Did you mean "customer_id"?' in lines[1]
    assert "data.group is region" in lines[2]


def test_what_is_only_said(make_context: MakeContext, tmp_path: Path) -> None:
    path = csv(tmp_path, "target,id,same,empty\nyes,1,x,\nno,1,x,\nyes,2,x,\nno,,x,\n,4,x,\nno,,x,\n")
    outcome, _ = check(make_context, path, id="id")
    assert outcome.facts["notes"] == [
        "1 rows have no target and will be left out",
        "the id id is not unique: 2 rows repeat one",
        "2 rows have no id id",
        "column same is constant",
        "column empty has no values",
        "1 rows are exact copies of another",
    ]


def test_copies_are_rows_that_agree_in_every_column(make_context: MakeContext, tmp_path: Path) -> None:
    rows = ["yes,1,", "no,1,", "yes,2,a", "no,3,b", "no,3,", "no,1,", "no,,", "no,,", "yes,2,c"]
    outcome, _ = check(make_context, csv(tmp_path, "target,x,y\n" + "\n".join(rows) + "\n"))
    assert "2 rows are exact copies of another" in outcome.facts["notes"]


def test_raw_material_of_a_users_step_needs_no_target(make_context: MakeContext, tmp_path: Path) -> None:
    outcome, profile = check(make_context, csv(tmp_path, "a\n1\n2\n"), table="features.table")
    assert outcome.facts["target"] is None
    assert profile["rows"] == 2


def test_many_classes_are_summed_up(make_context: MakeContext, tmp_path: Path) -> None:
    text = "target,a\n" + "".join(f"city{i % 50:02},{i}\n" for i in range(150))
    outcome, profile = check(make_context, csv(tmp_path, text))
    assert len(outcome.facts["target"]["classes"]) == 20
    assert outcome.facts["target"]["more_classes"] == 30
    assert "values" not in profile["columns"]["target"]
