from __future__ import annotations

import json
from pathlib import Path

from cli_project import edit
from command_line import Call

PROJECT = """\
policies:
  - {name: owned, require: spec.owner, message: every model has an owner, remedy: Add an owner}
  - {name: known, require: 'like(spec.training.estimator, "sklearn.*")', message: only scikit-learn}
  - {name: weekdays, deny: 'now.weekday in ["saturday", "sunday"]', message: nothing on weekends}
  - {name: safe, deny: 'release.format == "pickle"', message: no file that runs code}
environments:
  prod:
    policies: [{name: fair, require: any(gate.kind == "fairness" for gate in gates), message: no model without it}]
"""
CASES = """\
cases:
  - {name: the file, spec: specs/churn.yaml, environment: prod, refused: [owned, fair]}
  - name: on Sunday
    model_spec: {name: a, owner: me, training: {estimator: xgboost.XGBClassifier}}
    now: "2026-11-29T12:00:00Z"
    release: {format: pickle}
    refused: [known, weekdays, safe]
  - name: on Monday
    model_spec: {name: a, owner: me, training: {estimator: sklearn.svm.SVC}}
    now: "2026-11-30T12:00:00Z"
    release: {format: skops}
    refused: []
"""


def with_policies(project: Path) -> Path:
    (project / "engine.yaml").write_text(PROJECT)
    (project / "policy_cases.yaml").write_text(CASES)
    return project


def test_validate_and_plan_refuse_what_breaks_a_policy_and_name_the_rule(project: Path, call: Call) -> None:
    with_policies(project)
    for command in ("validate", "plan"):
        refused = call(project, command)
        assert refused.code == 1
        assert "specs/churn.yaml:2:3: policy owned: every model has an owner (spec.owner is not set)." in refused.err
        assert "Add an owner (engine.yaml:2)." in refused.err
    edit(project / "specs/churn.yaml", "  name: churn\n", "  name: churn\n  owner: growth\n")
    assert call(project, "validate").code == 0
    prod = call(project, "validate", "--env", "prod")
    assert prod.code == 1 and 'policy fair: no model without it (gates is "metric")' in prod.err


def test_a_plan_that_was_kept_does_not_outlive_a_new_policy(applied: Path, call: Call) -> None:
    assert "Nothing to do" in call(applied, "plan").out
    (applied / "engine.yaml").write_text(PROJECT)
    assert "policy owned" in call(applied, "plan").err


def test_cases_hold_or_say_what_differs(project: Path, call: Call) -> None:
    with_policies(project)
    good = call(project, "policy", "test")
    assert good.code == 0 and "3 of 3 cases as they should be." in good.out
    edit(project / "engine.yaml", 'now.weekday in ["saturday", "sunday"]', 'now.weekday == "saturday"')
    bad = call(project, "policy", "test")
    assert bad.code == 1 and "policy_cases.yaml:3: not refused by weekdays" in bad.out
    assert "refuses in no case: weekdays" in bad.err
    edit(project / "policy_cases.yaml", "refused: [owned, fair]", "refused: [fair]")
    document = json.loads(call(project, "policy", "test", "--json").out)
    assert [case["passed"] for case in document["cases"]] == [False, False, True]
    assert "refused by owned too (spec.owner is not set)" in document["cases"][0]["wrong"]
    assert document["never_refusing"] == ["weekdays"]


def test_no_case_proves_nothing(project: Path, call: Call) -> None:
    with_policies(project)
    for text, said in (
        ("cases: []\n", "is empty"),
        ("", "there is no case"),
        ("cases: [{name: a, spec: specs/churn.yaml}]\n", 'needs "refused"'),
        ("cases: [{name: a, spec: nowhere.yaml, refused: []}]\n", "nowhere.yaml cannot be read"),
        ("cases: [{name: a, spec: specs/churn.yaml, now: Friday, refused: []}]\n", "is not a moment"),
    ):
        (project / "policy_cases.yaml").write_text(text)
        outcome = call(project, "policy", "test")
        assert outcome.code == 1 and said in outcome.err
    (project / "policy_cases.yaml").unlink()
    assert "engine policy test FILE" in call(project, "policy", "test").err


def test_the_list_says_when_each_rule_is_judged(project: Path, call: Call) -> None:
    with_policies(project)
    listed = json.loads(call(project, "policy", "list", "--env", "prod", "--json").out)["policies"]
    assert {each["name"]: each["judged"] for each in listed} == {
        "owned": "with the spec",
        "known": "with the spec",
        "fair": "with the spec",
        "weekdays": "at deploy",
        "safe": "at deploy",
    }
