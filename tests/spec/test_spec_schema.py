from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from engine.kinds import KINDS
from engine.spec import schema
from engine.spec.format import format_text
from engine.spec.kinds import KindTable
from engine.spec.load import LoadedSpec, load_spec
from engine.spec.project import Project

ROOT = Path(__file__).parents[2]
SPECS = sorted((ROOT / "specs").glob("*.yaml"))


@pytest.fixture(scope="module")
def validator() -> Any:
    text = schema.spec_schema(KINDS)
    jsonschema.Draft7Validator.check_schema(text)
    return jsonschema.Draft7Validator(text)


def load_example(path: Path) -> LoadedSpec:
    exists = lambda name: (ROOT / name).exists()  # noqa: E731
    return load_spec(path.read_bytes(), path.name, project=Project(), kinds=KINDS, exists=exists)


def test_the_committed_schemas_are_in_step() -> None:
    assert schema.check(ROOT / "schemas", KINDS) == []


def test_a_schema_out_of_step_is_named(tmp_path: Path) -> None:
    schema.write(tmp_path, KINDS)
    assert schema.check(tmp_path, KINDS) == []
    (tmp_path / "engine.schema.json").write_text("{}")
    assert schema.check(tmp_path, KINDS) == ["engine.schema.json"]


@pytest.mark.parametrize("path", SPECS, ids=lambda path: path.stem)
def test_each_example_is_valid_and_in_canonical_layout(path: Path, validator: Any) -> None:
    assert load_example(path).warnings == ()
    assert list(validator.iter_errors(yaml.safe_load(path.read_text()))) == []
    assert format_text(path.read_text()) == path.read_text()


def test_every_supported_kind_has_an_example() -> None:
    documents = [load_example(path).document for path in SPECS]
    triggers = {
        trigger["type"]
        for document in documents
        for key in ("any_of", "all_of")
        for trigger in (document["retrain_trigger"] or {}).get(key, [])
    }
    assert triggers == {name for name, block in KINDS.triggers.items() if block.supported}
    strategies = {document["deployment"]["strategy"] for document in documents}
    assert strategies == {name for name, block in KINDS.strategies.items() if block.supported}
    gates = {key for document in documents for gate in document["validation"] for key in gate}
    assert {name for name, block in KINDS.gates.items() if block.supported} <= gates


def test_every_field_has_a_description() -> None:
    for text in schema.render(KINDS).values():
        for name, definition in json.loads(text)["definitions"].items():
            for key, field in definition.get("properties", {}).items():
                assert field.get("description"), f"{name}.{key}"


@pytest.mark.parametrize(
    "body",
    [
        "{}", "{name: Upper}", "{name: a, nope: 1}", "{name: a, data: {target: 3}}", "{name: a, data: {source: /abs}}",
        "{name: a, data: {source: {sql: x}}}", "{name: a, data: {split: {strategy: best}}}",
        "{name: a, data: {split: {holdout: 2}}}", "{name: a, training: {estimator: os.system}}",
        "{name: a, training: {resources: {timeout: 1x}}}", "{name: a, training: {resources: {memory: 4gb}}}",
        "{name: a, validation: {metric: nope, min: 1}}", "{name: a, validation: {metrik: f1}}",
        "{name: a, deployment: {strategy: nope}}", "{name: a, deployment: {strategy: canary, initial_traffic: ten}}",
        "{name: a, retrain_trigger: {type: scheduled}}", "{name: a, retrain_trigger: {type: nope}}",
        "{name: a, retrain_trigger: {any_of: []}}", "{name: a, retrain_trigger: {type: scheduled, cron: '* *'}}",
        "{name: a, steps: [{name: x}]}", "{name: a, steps: [{name: x, run: []}]}", "[]", "null",
    ],
)  # fmt: skip
def test_invalid_specs_are_invalid_by_the_schema(body: str, validator: Any) -> None:
    assert list(validator.iter_errors({"model_spec": yaml.safe_load(body)}))


def test_the_schema_of_the_project_file() -> None:
    text = schema.project_schema(KINDS)
    jsonschema.Draft7Validator.check_schema(text)
    validator = jsonschema.Draft7Validator(text)
    good = """
defaults: {data: {target: y}, deployment: {initial_traffic: 5%}}
models: {churn: {training: {seed: 1}}}
environments: {prod: {overrides: {owner: x}, stores: {state: "postgresql://h/d"}}}
stores: {mlflow: "http://localhost:5000"}
"""
    assert list(validator.iter_errors(yaml.safe_load(good))) == []
    for bad in ("default: {}", "stores: {nope: x}", "defaults: {name: a}", "environments: {prod: {nope: 1}}"):
        assert list(validator.iter_errors(yaml.safe_load(bad))), bad


def test_a_kind_from_elsewhere_is_part_of_the_schema() -> None:
    table = KindTable({"manual": "engine.triggers.manual:Block"})
    text = schema.spec_schema(type(KINDS)(triggers=table, gates=KINDS.gates, strategies=KINDS.strategies))
    assert text["definitions"]["Trigger"] == {"oneOf": [{"$ref": "#/definitions/trigger_manual"}]}
