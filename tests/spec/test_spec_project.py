from __future__ import annotations

from collections.abc import Callable

import pytest

from engine.errors import Diagnostic, SpecError, UsageError
from engine.spec.load import LoadedSpec
from engine.spec.project import Project, load_project
from engine.spec.references import check_unused_variables, list_references, resolve_reference

Load = Callable[..., LoadedSpec]
Mistakes = Callable[..., list[Diagnostic]]

SPEC = """\
model_spec:
  name: churn
  data: {source: data/a.csv}
  deployment: {strategy: canary}
"""
PROJECT = """\
defaults:
  owner: platform
  data: {target: y, id: row}
  deployment: {strategy: canary, initial_traffic: 20%}
models:
  churn:
    data: {target: churned}
environments:
  prod:
    overrides:
      deployment: {initial_traffic: 5%}
    models:
      churn:
        training: {seed: 3}
    stores: {state: "${env:STATE_URL}"}
stores:
  state: sqlite:///.engine/state.db
  mlflow: "http://${var:host}:5000"
"""


def test_layers_lie_over_each_other(load: Load) -> None:
    plain = load(SPEC, project=PROJECT).document
    assert plain["owner"] == "platform"
    assert plain["data"]["target"] == "churned" and plain["data"]["id"] == "row"
    assert plain["data"]["source"] == "data/a.csv"
    assert plain["deployment"]["initial_traffic"] == 0.2
    prod = load(SPEC, project=PROJECT, environment="prod").document
    assert prod["deployment"]["initial_traffic"] == 0.05
    assert prod["training"]["seed"] == 3


def test_another_strategy_or_way_of_training_replaces_the_block(load: Load) -> None:
    project = """
defaults:
  deployment: {strategy: canary, initial_traffic: 20%}
  training: {estimator: sklearn.svm.SVC, params: {C: 1}}
"""
    spec = "model_spec: {name: a, deployment: {strategy: recreate}, training: {run: python train.py}}"
    document = load(spec, project=project).document
    assert document["deployment"] == {"strategy": "recreate"}
    assert document["training"]["run"] == ["python", "train.py"] and document["training"]["params"] == {}


def test_gates_and_triggers_are_replaced_whole(load: Load) -> None:
    project = "defaults:\n  validation: {baseline: better}\n  retrain_trigger: {type: manual}\n"
    spec = "model_spec: {name: a, validation: {metric: f1, min: 0.1}, retrain_trigger: [{type: webhook}]}"
    document = load(spec, project=project).document
    assert [gate["metric"] for gate in document["validation"]] == ["f1_score"]
    assert [trigger["type"] for trigger in document["retrain_trigger"]["any_of"]] == ["webhook"]


def test_a_mistake_of_the_project_is_located_there(mistakes: Mistakes) -> None:
    found = mistakes(SPEC, project="defaults:\n  data:\n    split: {holdout: 120%}\n")
    assert [(d.file, d.line, d.column) for d in found] == [("engine.yaml", 3, 22)]


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("default: {}\n", 1, 'Did you mean "defaults"?'),
        ("policies: {}\n", 1, "policies must be a list"),
        ("defaults: {dat: {}}\n", 1, 'Did you mean "data"?'),
        ("defaults: {name: x}\n", 1, "cannot set a model's name"),
        ("stores: {stat: x}\n", 1, 'Did you mean "state"?'),
        ("stores: {state: 3}\n", 1, "is not a URL or path"),
        ("stores: {state: 'postgresql://u:pw@h/d'}\n", 1, "has a password"),
        ("stores: {state: '${foo}'}\n", 1, "refers to nothing"),
        ("environments:\n  prod: {override: {}}\n", 2, 'Did you mean "overrides"?'),
        ("models: []\n", 1, "must be a mapping"),
        ("- a\n", 1, "must be a mapping"),
        ("a: [\n", 2, "not YAML"),
        ("stores: {state: a}\nstores: {state: b}\n", 2, "is there twice"),
    ],
)
def test_what_is_said_of_a_bad_project_file(text: str, line: int, said: str) -> None:
    with pytest.raises(SpecError) as caught:
        load_project(text.encode())
    assert said in str(caught.value)
    assert caught.value.diagnostics[0].line == line and caught.value.diagnostics[0].remedy


def test_no_project_file() -> None:
    assert load_project(None) == load_project(b"") == load_project(b"# nothing yet\n") == Project()


def test_an_unknown_environment(load: Load) -> None:
    with pytest.raises(UsageError) as caught:
        load(SPEC, project=PROJECT, environment="prd")
    assert caught.value.remedy == 'Did you mean "prod"?'


def test_stores_of_an_environment() -> None:
    project = load_project(PROJECT.encode())
    used: set[str] = set()
    assert project.stores_of("prod", {"host": "tracking"}, used) == {
        "state": "${env:STATE_URL}", "mlflow": "http://tracking:5000",
    }  # fmt: skip
    assert used == {"host"}
    with pytest.raises(SpecError):
        project.stores_of(None, {})


# ── variables and references ─────────────────────────────────────────────────────────────────────────────────


def test_a_variable_alone_has_the_type_of_its_value(load: Load) -> None:
    spec = """
model_spec:
  name: a
  data: {source: "${var:dir}/x.csv", split: {seed: "${var:seed}", holdout: "${var:part}"}}
"""
    loaded = load(spec, variables={"dir": "data", "seed": "7", "part": "30%"})
    assert loaded.document["data"]["source"] == "data/x.csv"
    assert loaded.document["data"]["split"] == {"strategy": "auto", "seed": 7, "holdout": 0.3}
    assert loaded.variables_used == {"dir", "seed", "part"}


def test_a_variable_without_a_value(mistakes: Mistakes) -> None:
    (found,) = mistakes("model_spec: {name: a, owner: '${var:team}'}", variables={"teem": "x"})
    assert 'the variable "team" has no value' in found.message and 'Did you mean "teem"?' in found.remedy


def test_a_variable_is_checked_like_any_value(mistakes: Mistakes) -> None:
    assert mistakes("model_spec: {name: a, data: {source: '${var:x}'}}", variables={"x": "../../etc/passwd"})
    assert mistakes("model_spec: {name: a, training: {seed: '${var:x}'}}", variables={"x": ".nan"})
    assert mistakes("model_spec: {name: a, training: {run: 'python ${var:x}'}}", variables={"x": "a; rm -rf ."})


def test_an_unused_variable() -> None:
    check_unused_variables({"a": "1"}, {"a"})
    with pytest.raises(UsageError) as caught:
        check_unused_variables({"sede": "1"}, {"seed"})
    assert caught.value.remedy == 'Did you mean "seed"?'


def test_secrets_stay_references(load: Load) -> None:
    spec = """
model_spec:
  name: a
  data: {source: {sql: select 1, url: "postgresql://u:${env:PW}@h/d"}}
  training: {run: python train.py, environment: {TOKEN: "${file:/run/secrets/token}"}}
"""
    document = load(spec).document
    assert list_references(document) == ("${env:PW}", "${file:/run/secrets/token}")


def test_references_are_resolved_when_asked_for() -> None:
    def read(path: str) -> str:
        if path != "/token":
            raise FileNotFoundError(path)
        return "t0ken\n"

    assert resolve_reference("u:${env:PW}@${file:/token}", {"PW": "x"}, read) == "u:x@t0ken"
    with pytest.raises(UsageError, match="PW is not set"):
        resolve_reference("${env:PW}", {}, read)
    with pytest.raises(UsageError, match="cannot be read"):
        resolve_reference("${file:/none}", {}, read)


def test_webhooks_name_a_secret_and_an_environment_may_have_its_own() -> None:
    text = b"""
webhooks: {secret: "${env:HOOK_SECRET}"}
environments:
  prod:
    webhooks: {secret: "${file:/run/secrets/hook}"}
  test: {}
"""
    project = load_project(text)
    assert [project.webhooks_of(name) for name in (None, "test", "prod")] == [
        {"secret": "${env:HOOK_SECRET}"},
        {"secret": "${env:HOOK_SECRET}"},
        {"secret": "${file:/run/secrets/hook}"},
    ]
    assert load_project(None).webhooks_of(None) == {}


@pytest.mark.parametrize("value", ["written out", "7", "[]", "{}", "", "a${env:X}", "${env:X}${env:Y}", "${var:x}"])
def test_a_secret_that_is_written_out_is_refused(value: str) -> None:
    text = f"webhooks:\n  secret: {value if value in ('7', '[]', '{}', '') else repr(value)}\n"
    with pytest.raises(SpecError) as caught:
        load_project(text.encode())
    [mistake] = caught.value.diagnostics
    assert mistake.line == 2
    assert "write ${env:NAME}" in mistake.remedy
    with pytest.raises(SpecError, match='Did you mean "secret"'):
        load_project(b"webhooks: {secrt: '${env:X}'}\n")
