from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from typing import Any

import pytest

from engine.errors import Diagnostic, SpecError
from engine.kinds import KINDS
from engine.spec.expressions import ExpressionError
from engine.spec.load import LoadedSpec
from engine.spec.policies import Policy, facts_of, judge
from engine.spec.project import load_project
from engine.spec.rules import RuleError, parse

Load = Callable[..., LoadedSpec]
Mistakes = Callable[..., list[Diagnostic]]

PROJECT = """\
policies:
  - name: owner-and-licence
    require: spec.owner and spec.labels.licence
    message: every model names who answers for it, and its licence
    remedy: Add owner, and labels.licence
  - name: fairness-in-production
    when: environment == "prod"
    require: any(gate.kind == "fairness" and gate.binding for gate in gates)
    message: nothing reaches production without a fairness gate
  - name: known-estimators
    require: spec.training.estimator in ["auto"] or like(spec.training.estimator, "sklearn.*")
    message: only these estimators
  - name: two-for-personal-data
    when: spec.labels.data == "personal"
    require: approval.required and approval.count >= 2
    message: personal data takes two approvals
  - name: described
    require: spec.description
    message: a description helps
    severity: warning
  - name: no-friday-afternoons
    deny: now.weekday == "friday" and now.hour >= 14
    message: no deploys on Friday after 14:00
    timezone: Europe/Berlin
  - name: safe-files
    deny: release.format in ["pickle", "joblib"]
    message: no model file that runs code
environments:
  prod:
    policies:
      - name: known-estimators
        require: spec.training.estimator == "auto"
        message: only the usual one
"""
GOOD = """\
model_spec:
  name: churn
  owner: growth
  labels: {licence: mit}
  training: {estimator: sklearn.svm.SVC}
  validation: {metric: f1_score, threshold: 0.5}
"""


def test_a_spec_that_keeps_every_rule_is_loaded_and_warned_of_the_soft_one(load: Load) -> None:
    [warning] = load(GOOD, project=PROJECT).warnings
    assert "policy described: a description helps (spec.description is not set)" in warning.message
    assert "engine.yaml:17" in warning.remedy


def test_what_a_spec_breaks_is_said_at_its_place_with_the_rule_the_cause_and_the_remedy(mistakes: Mistakes) -> None:
    text = GOOD.replace("  owner: growth\n", "").replace("sklearn.svm.SVC", "xgboost.XGBClassifier")
    text = text.replace("mit", "mit, data: personal")
    found = mistakes(text, project=PROJECT)
    estimator, owner, personal = sorted(found, key=lambda each: each.message)
    assert owner.message.endswith("(spec.owner is not set)")
    assert owner.remedy == "Add owner, and labels.licence (engine.yaml:2)."
    assert "approval.required is false, approval.count is 0" in personal.message
    assert (estimator.line, estimator.column) == (4, 25)
    assert 'spec.training.estimator is "xgboost.XGBClassifier"' in estimator.message


def test_an_environment_adds_rules_and_replaces_those_of_the_same_name(load: Load, mistakes: Mistakes) -> None:
    load(GOOD, project=PROJECT)
    found = {each.message.split(":")[0]: each for each in mistakes(GOOD, project=PROJECT, environment="prod")}
    assert set(found) == {"policy fairness-in-production", "policy known-estimators"}
    assert 'gates is "metric"' in found["policy fairness-in-production"].message
    assert found["policy fairness-in-production"].line == 6
    assert "only the usual one" in found["policy known-estimators"].message


def test_a_gate_that_only_alerts_does_not_bind(load: Load) -> None:
    rules = policies("{name: a, require: any(gate.binding and gate.kind == 'baseline' for gate in gates), message: m}")
    document = load(
        "model_spec: {name: a, validation: [{metric: f1_score, threshold: 0.5}, {baseline: better}]}"
    ).document
    assert not judge(rules, facts_of(document, None, KINDS.gates))
    document["validation"][1]["on_failure"] = "alert"
    assert judge(rules, facts_of(document, None, KINDS.gates))


@pytest.mark.parametrize(
    ("moment", "refused"),
    [
        ("2026-11-27T12:59:59", False),  # Friday, 13:59:59 in Berlin
        ("2026-11-27T13:00:00", True),
        ("2026-11-27T22:59:59", True),
        ("2026-11-27T23:00:00", False),  # Saturday there
        ("2026-07-31T11:59:00", False),  # summer time
        ("2026-07-31T12:00:00", True),
    ],
)
def test_a_time_is_that_of_the_rules_own_zone(moment: str, refused: bool) -> None:
    [rule] = [each for each in load_project(PROJECT.encode()).policies if each.name == "no-friday-afternoons"]
    assert rule.at_deploy and rule.timed
    found = judge([rule], {}, datetime.fromisoformat(moment).replace(tzinfo=timezone.utc))
    assert bool(found) is refused


def test_rules_of_a_release_are_not_judged_before_there_is_one(load: Load) -> None:
    rules = {each.name: each for each in load_project(PROJECT.encode()).policies}
    safe = rules["safe-files"]
    assert safe.at_deploy and not safe.timed and not rules["two-for-personal-data"].at_deploy
    [found] = judge([safe], {"release": {"format": "pickle"}})
    assert found.message == 'policy safe-files: no model file that runs code (release.format is "pickle")'
    assert "It is denied where release.format in ['pickle', 'joblib']".replace("'", '"') in found.remedy
    assert not judge([safe], {"release": {"format": "skops"}})


@pytest.mark.parametrize("rule", ["deny: spec.labels.risk > 3", "require: spec.labels.risk > 3"])
def test_what_cannot_be_judged_is_denied(load: Load, rule: str) -> None:
    document = load(GOOD).document
    for facts in (document, document | {"labels": {"risk": "high"}}):
        [found] = judge(policies(f"{{name: a, {rule}, message: m}}"), facts_of(facts, None, KINDS.gates))
        assert "cannot be judged" in found.why


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{name: a, require: 'spec.onwer', message: m}", 'Did you mean "owner"?'),
        ("{name: a, require: spec.training.estimater, message: m}", 'Did you mean "estimator"?'),
        ("{name: a, require: sepc.owner, message: m}", "Did you mean"),
        ("{name: a, require: now.day_of_week == 1, message: m}", "now.day_of_week, which is not there"),
        ("{name: a, require: gates.fairness, message: m}", "Go through the gates"),
        ("{name: a, require: 'spec.owner and', message: m}", "cannot be read"),
        ("{name: a, require: spec.owner, deny: spec.owner, message: m}", "either requires or denies"),
        ("{name: a, message: m}", "either requires or denies"),
        ("{name: a, require: spec.owner}", 'needs "message"'),
        ("{name: a, require: spec.owner, message: m, severity: loud}", "severity"),
        ("{name: a, require: spec.owner, message: m, timezone: Mars/Olympus}", "timezone"),
        ("{name: a, requires: spec.owner, message: m}", 'Did you mean "require"?'),
        ("{name: a, require: spec.owner, message: m}, {name: a, deny: spec.owner, message: m}", "has a twice"),
    ],
)
def test_a_bad_rule_is_refused_at_its_place(text: str, said: str) -> None:
    with pytest.raises(SpecError) as caught:
        policies(text)
    assert said in str(caught.value) and "engine.yaml:1:" in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "open('x')", "spec.owner.upper()", "9 ** 9", "[x for x in gates]", "lambda: 1",
        "f'{spec}'", "any(a for a in gates for b in gates)", "spec[0]", "spec['a':]", "x := 1", "any(gates, gates)",
        "spec.owner if spec.owner else 1", "1 << 9", "b'x'", "any(*gates)", "__import__('os')", "...",
        "().__class__.__mro__", "'a'.__class__", "spec.owner.__class__()",
    ],
)  # fmt: skip
def test_nothing_else_is_in_the_language(text: str) -> None:
    with pytest.raises(ExpressionError):
        parse(text, ("spec", "gates"))


@pytest.mark.parametrize("text", ["'a' * 99999999 == spec.x", "spec.x * 'a' * 9999999 > 'b'", "spec.x % 0 == 1"])
def test_what_would_take_long_or_fail_is_never_a_yes(text: str) -> None:
    with pytest.raises(RuleError):
        parse(text, ("spec",)).holds({"spec": {"x": 3}})


def test_fields_are_data_whatever_they_are_called() -> None:
    facts: Mapping[str, Any] = {"spec": {"items": 3, "get": {"keys": "a"}}}
    assert parse("spec.items == 3 and spec.get.keys == 'a' and not spec.values", ("spec",)).holds(facts)
    assert not parse("spec.pop", ("spec",)).holds(facts)


def test_all_of_nothing_is_no_yes() -> None:
    assert not parse("all(gate.binding for gate in gates)", ("gates",)).holds({"gates": []})


def policies(text: str) -> tuple[Policy, ...]:
    return load_project(f"policies: [{text}]".encode()).policies
