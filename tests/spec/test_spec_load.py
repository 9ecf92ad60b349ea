from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from engine.core.canonical import digest
from engine.errors import Diagnostic, SpecError
from engine.kinds import KINDS
from engine.spec.load import LoadedSpec, load_spec
from engine.spec.project import Project
from engine.steps.lifecycle import build_graph

ROOT = Path(__file__).parents[2]
SEED = (ROOT / "specs" / "customer_churn_v3.yaml").read_text(encoding="utf-8")
Load = Callable[..., LoadedSpec]
Mistakes = Callable[..., list[Diagnostic]]

FULL = """\
model_spec:
  name: customer_churn
  owner: growth
  data:
    source: data/churn.csv
    target: churned
    id: customer_id
    timestamp: signed_up_at
    expect:
      rows: {min: 1000}
      columns:
        user_age: {type: integer, between: [18, 100], missing: {max: 1%}}
        plan: {in: [basic, pro, team]}
    split: {strategy: stratified, holdout: 20%, seed: 7}
  steps:
    - name: features
      run: python features.py --in ${inputs.data} --out ${outputs.table}
      inputs: {data: data, code: features.py}
      outputs: {table: features.parquet}
  training:
    estimator: sklearn.ensemble.RandomForestClassifier
    params: {n_estimators: 300}
    tuning: {search: random, trials: 20, space: {max_depth: [4, 8, 16]}, metric: roc_auc}
    resources: {timeout: 1h, memory: 4GiB}
  retrain_trigger:
    any_of:
      - {type: scheduled, cron: "0 0 * * 0", timezone: Europe/Berlin}
      - {type: drift, detector: ks, alpha: 0.01, persistence: 2 of 3}
      - {type: performance, metric: accuracy, drop: 5%}
      - {type: data, min_new_rows: 1000}
      - {type: webhook}
    cooldown: 24h
  validation:
    - {metric: f1_score, threshold: 0.85}
    - {champion: non_inferior, metric: roc_auc, margin: 0.005}
    - {fairness: equal_opportunity, by: gender, max_difference: 0.1}
    - {slices: {by: plan, metric: f1_score, threshold: 0.75}}
    - {latency_p99: 20ms}
  deployment:
    strategy: canary
    initial_traffic: 10%
    steps: [10%, 25%, 50%, 100%]
    step_duration: 10m
    analysis: {guardrails: [errors, latency, prediction_shift, accuracy], min_requests: 500}
    approval: required
  monitoring:
    labels: {delay: 7d}
    alerts: [{webhook: "${env:ALERT_URL}"}]
"""


def spec(body: str = "", name: str = "churn") -> str:
    indented = "".join(f"  {line}\n" for line in body.splitlines())
    return f"model_spec:\n  name: {name}\n{indented}"


def texts(found: list[Diagnostic]) -> str:
    return "\n".join(map(str, found))


# ── what is valid ────────────────────────────────────────────────────────────────────────────────────────────


def test_the_shortest_example(load: Load) -> None:
    loaded = load(SEED)
    document = loaded.document
    assert loaded.warnings == ()
    assert loaded.name == "customer_churn_v3"
    assert document["retrain_trigger"]["any_of"][0]["cron"] == "0 0 * * 0"
    assert document["validation"][0] | {"metric": "f1_score", "threshold": 0.85} == document["validation"][0]
    assert document["deployment"] | {"strategy": "canary", "initial_traffic": 0.1} == document["deployment"]
    assert document["deployment"]["steps"] is None, "it stays there until somebody promotes it"
    assert document["training"]["estimator"] == "auto"
    assert document["data"]["split"] == {"strategy": "auto", "holdout": 0.2, "seed": 0}


def test_the_digest_is_that_of_the_canonical_document(load: Load) -> None:
    loaded = load(SEED)
    assert loaded.digest == digest(loaded.document)


def test_defaults_of_an_almost_empty_spec(load: Load) -> None:
    document = load(spec()).document
    assert document["deployment"] == {"strategy": "recreate"}
    assert [gate["baseline"] for gate in document["validation"]] == ["better"]
    assert document["retrain_trigger"] is None and document["monitoring"] is None
    assert document["data"]["source"] is None and document["data"]["target"] == "target"


def test_every_field_of_the_long_example_is_honoured(load: Load) -> None:
    document = load(FULL).document
    assert document["data"]["table"] == "features.table"
    assert [gate["on_failure"] for gate in document["validation"]] == ["stop"] * 5
    assert document["steps"][0]["inputs"] == {"data": "data", "code": "features.py"}
    assert document["steps"][0]["run"][:2] == ["python", "features.py"]
    assert document["training"]["resources"] == {"timeout": 3600, "memory": 4 * 2**30}
    trigger = document["retrain_trigger"]
    assert trigger["cooldown"] == 86400 and len(trigger["any_of"]) == 5
    assert trigger["any_of"][1]["persistence"] == {"count": 2, "windows": 3}
    assert trigger["any_of"][2]["drop"] == 0.05


@pytest.mark.parametrize(
    ("body", "path", "value"),
    [
        ("data: {split: {holdout: 0.1}}", "data.split.holdout", 0.1),
        ("data: {split: {holdout: 12.5%}}", "data.split.holdout", 0.125),
        ("training: {resources: {timeout: 1h30m}}", "training.resources.timeout", 5400),
        ("training: {resources: {timeout: 90}}", "training.resources.timeout", 90),
        ("training: {run: python train.py 'a b'}", "training.run", ["python", "train.py", "a b"]),
        ("training: {run: [python, train.py, 'a | b']}", "training.run", ["python", "train.py", "a | b"]),
        ("training: {run: python train.py}", "training.estimator", None),
        ("training: {function: 'a.b:train'}", "training.function", "a.b:train"),
        ("data: {source: 'sklearn:breast_cancer'}", "data.source", "sklearn:breast_cancer"),
        ("data: {source: 's3://bucket/x/'}", "data.source", "s3://bucket/x/"),
        ("data: {source: '${env:DATA}'}", "data.source", "${env:DATA}"),
        ("data: {source: 'data/*.csv'}", "data.source", "data/*.csv"),
        ("data: {source: {sql: select 1, url: '${env:DB}'}}", "data.source", {"sql": "select 1", "url": "${env:DB}"}),
        ("data: {positive: yes}", "data.positive", "yes"),
        ("data: {positive: 1}", "data.positive", 1),
        ("retrain_trigger: {type: manual}", "retrain_trigger.any_of.0.type", "manual"),
        ("retrain_trigger: [{type: manual}, {type: webhook}]", "retrain_trigger.any_of.1.type", "webhook"),
        ("retrain_trigger: {all_of: [{type: webhook}, {any_of: [{type: manual}]}]}",
         "retrain_trigger.all_of.1.any_of.0.type", "manual"),
        ("retrain_trigger: {type: freshness, max_age: 30d, budget: 3 per week}",
         "retrain_trigger.any_of.0.budget", {"count": 3, "period": 604800}),
        ("retrain_trigger: {type: upstream, model: embeddings}", "retrain_trigger.any_of.0.event", "deployed"),
        ("validation: {metric: f1, threshold: 0.5}", "validation.0.metric", "f1_score"),
        ("validation: {metric: f1, threshold: 0.5, on_failure: retrain}", "validation.0.retries", 2),
        ("validation: {metric: rmse, max: 40}", "validation.0.max", 40),
        ("training: {tuning: {space: {a: [1]}}}", "training.tuning.trials", 20),
        ("training: {tuning: {space: {a: {low: 1, high: 9}}}}", "training.tuning.space.a",
         {"low": 1, "high": 9, "log": False}),
    ],
)  # fmt: skip
def test_what_is_written_and_what_is_resolved(load: Load, body: str, path: str, value: Any) -> None:
    found: Any = load(spec(body)).document
    for part in path.split("."):
        found = found[int(part)] if isinstance(found, list) else found[part]
    assert found == value


def test_places_are_kept(load: Load) -> None:
    places = load(SEED).places
    assert places["/validation/threshold"] == ("spec.yaml", 8, 16)


def test_a_schedule_of_days_and_weekdays_is_a_warning(load: Load) -> None:
    loaded = load(spec('retrain_trigger: {type: scheduled, cron: "0 0 13 * 5"}'))
    assert [(w.line, w.column) for w in loaded.warnings] == [(3, 44)]
    assert loaded.warnings[0].remedy


# ── what is refused ──────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("validation: {metric: f1_score, threshhold: 0.8}", 'Did you mean "threshold"?'),
        ("trainning: {}", 'Did you mean "training"?'),
        ("validation: {metric: f1_scor, threshold: 0.8}", 'Did you mean "f1_score"?'),
        ("deployment: {strategy: cannary}", 'Did you mean "canary"?'),
        ("training: {estimator: skleran.svm.SVC}", 'Did you mean "sklearn.svm.SVC"?'),
        ("data: {source: htps://a/b.csv}", 'Did you mean "https"?'),
        ("data: {source: /etc/passwd}", "is not inside the project"),
        ("data: {source: a/../../b}", "leads out of the project"),
        ("data: {source: data.csv.dvc}", "Write dvc:data.csv."),
        ("data: {source: 'feast:view'}", "Feast sources are not supported yet"),
        ("data: {source: {sql: s, url: 'postgresql://me:secret@db/x'}}", "has a password in it"),
        ("training: {run: python train.py | tee log}", "There is no shell"),
        ("training: {run: python train.py && rm x}", "There is no shell"),
        ("training: {run: 'python train.py `date`'}", "There is no shell"),
        ('training: {run: "python train.py \\"$(date)\\""}', "There is no shell"),
        ("training: {run: A=1 python train.py}", "under environment"),
        ("training: {run: 'python train.py ${inputs.trian}'}", 'Did you mean "train"?'),
        ("training: {run: 'python train.py ${env:TOKEN}'}", "under environment"),
        ("training: {run: python a.py, estimator: auto}", "training has both estimator and run"),
        ("training: {predict: python a.py}", "predict has no effect without run"),
        ("description: '${env:SECRET}'", "cannot be used here"),
        ("description: '${foo}'", "refers to nothing"),
        ("validation: []", "validation is empty"),
        ("validation: {metric: f1_score}", "has no limit"),
        ("validation: {metric: f1_score, threshold: .nan}", "not a finite number"),
        ("validation: {metric: f1_score, threshold: 1.5}", "outside the range"),
        ("validation: {metric: f1_score, threshold: 0.5, on_failure: alert}", "every gate only alerts"),
        ("validation: {metric: f1_score, threshold: 0.5, on_failure: retrain, retries: 11}", "at most 10"),
        ("validation: [{metric: rmse, max: 1}, {metric: f1_score, min: 0.1}]", "is a metric of a"),
        ("retrain_trigger: {type: scheduled, cron: '0 0 31 2 *'}", "never fires"),
        ("retrain_trigger: {type: scheduled, cron: '0 0 * * 0 *'}", "6 fields, not five"),
        ("retrain_trigger: {type: scheduled, cron: '0 0 * * 0', timezone: Europe/Berln}", "no time zone"),
        ("retrain_trigger: {any_of: [], all_of: []}", "has both any_of and all_of"),
        ("retrain_trigger: {any_of: []}", "at least one trigger"),
        ("deployment: {strategy: canary, initial_traffic: 10}", "10%"),
        ("data: {id: target}", "are the same column"),
        ("data: {ignore: [target]}", "data.ignore names the target"),
        ("data: {split: {strategy: group}}", "needs data.group"),
        ("data: {group: g, split: {strategy: random}}", "has no effect"),
        ("training:", "training has no value"),
        ("data: {target: 3}", 'Put it in quotes: "3"'),
        ("data: {split: {seed: '3'}}", "Remove the quotes: 3"),
        ("steps: [{name: split, run: python a.py}]", "built-in step"),
        ("steps: [{name: a, run: x}, {name: a, run: y}]", 'two steps are called "a"'),
        ("steps: [{name: a, run: x, inputs: {f: nofile.txt}}]", "neither an output nor a file"),
        ("steps: [{name: a, run: x, inputs: {f: split.trian}}]", 'Did you mean "split.train"?'),
        ("steps: [{name: a, run: x, inputs: {b: b.o}, outputs: {o: o}}, "
         "{name: b, run: x, inputs: {a: a.o}, outputs: {o: o}}]",
         "the steps form a cycle"),
        ("steps: [{name: a, run: x, inputs: {d: data}, outputs: {table: t}}, "
         "{name: b, run: x, inputs: {d: data}, outputs: {table: t}}]",
         "several steps offer a table"),
        ("steps: [{name: a, run: x, outputs: {o: f, p: f}}]", "are the same file"),
        ("steps: [{name: a, run: x, outputs: {o: o}}, {name: b, run: x, outputs: {o: o}}, "
         "{name: c, run: x, inputs: {o: o}}]",
         "Write a.o or b.o."),
        ("steps: [{name: a, run: x, after: [trian]}]", 'Did you mean "train"?'),
        ("steps: [{name: a, run: x, after: [deploy], before: [split]}]", "cycle"),
        ("steps: [{name: a, run: x, inputs: {m: train.model}, outputs: {o: o}}]\ntraining: {inputs: {x: a.o}}",
         "cycle"),
        ("data: {table: nope}", "no step of yours has the output"),
        ("training: {tuning: {search: grid, trials: 3, space: {a: [1]}}}", "no effect on a grid"),
        ("training: {params: {a: 1}, tuning: {space: {a: [1]}}}", "both fixed"),
        ("training: {task: regression}\nvalidation: {metric: f1_score, min: 0.1}", "not a metric of a regression"),
    ],
)  # fmt: skip
def test_what_is_said_of_a_mistake(mistakes: Mistakes, body: str, said: str) -> None:
    found = mistakes(spec(body))
    assert said in texts(found)
    assert all(d.line >= 1 and d.column >= 1 and d.remedy for d in found)


def test_all_mistakes_are_reported_together(mistakes: Mistakes) -> None:
    text = spec(
        "data: {sorce: a}\ntraining: {seed: x}\nvalidation: {metric: f1}\nlabels: {a: 1}\nlabels: {a: b}\nx: .nan"
    )
    assert {d.line for d in mistakes(text)} == {3, 4, 5, 7, 8}


def test_an_upper_case_name(mistakes: Mistakes) -> None:
    assert 'Did you mean "churn_model"?' in texts(mistakes(spec(name="Churn-Model".replace("-", " "))))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name: x\n", "model_spec is missing"),
        ("model_spek: {name: x}\n", 'Did you mean "model_spec"?'),
        ("model_spec:\n", "model_spec is empty"),
        ("model_spec: 3\n", "must be a mapping"),
        ("- model_spec\n", "a spec is a mapping"),
        ("model_spec: {name: x}\ndata: {}\n", "Indent it under model_spec"),
        ("model_spec: {}\n", 'needs "name"'),
        ("on: [push]\n", 'unknown key "on"'),
    ],
)
def test_the_head_of_a_spec(mistakes: Mistakes, text: str, said: str) -> None:
    assert said in texts(mistakes(text))


# ── what does not matter ─────────────────────────────────────────────────────────────────────────────────────


def shuffled(value: Any, order: random.Random) -> Any:
    if isinstance(value, dict):
        keys = list(value)
        order.shuffle(keys)
        return {key: shuffled(value[key], order) for key in keys}
    return [shuffled(item, order) for item in value] if isinstance(value, list) else value


@given(seed=st.integers(0, 10**6), flow=st.booleans(), indent=st.integers(2, 8))
def test_layout_order_and_comments_never_change_the_digest(seed: int, flow: bool, indent: int) -> None:
    def load_plain(text: str) -> LoadedSpec:
        return load_spec(text.encode(), "f", project=Project(), kinds=KINDS, exists=lambda path: True)

    rich = "\n".join(
        line for n, line in enumerate(FULL.splitlines(), 1) if n not in (*range(9, 14), *range(35, 39)) and n < 42
    )
    order = random.Random(seed)
    mixed = shuffled(yaml.safe_load(rich), order)
    text = yaml.safe_dump(mixed, sort_keys=False, default_flow_style=flow, indent=indent, width=10**6)
    if not flow:
        lines = [line for raw in text.splitlines() for line in ([raw] + ["", "# a comment"] * order.randint(0, 1))]
        text = "\n".join(line + " " * order.randint(0, 3) for line in lines) + "\n# the end"
    assert load_plain(text).digest == load_plain(rich).digest


def test_loading_imports_only_what_it_needs() -> None:
    code = (
        "import sys; from engine.kinds import KINDS; from engine.spec.load import load_spec\n"
        "from engine.spec.project import Project\n"
        f"load_spec({SEED.encode()!r}, 'f', project=Project(), kinds=KINDS, exists=lambda p: True)\n"
        "heavy = {'croniter', 'networkx', 'pandas', 'numpy', 'sqlalchemy', 'sklearn', 'mlflow', 'scipy'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# ── anything at all ──────────────────────────────────────────────────────────────────────────────────────────


def refused_or_loaded(content: bytes) -> None:
    try:
        load_spec(content, "f", project=Project(), kinds=KINDS, exists=lambda path: False)
    except SpecError as error:
        assert error.diagnostics
        assert all(d.line >= 1 and d.column >= 1 and d.message and d.remedy for d in error.diagnostics)


@given(
    st.binary(max_size=200) | st.text(st.sampled_from("abc:-{}[]&*!|>'\"#%@` \n\t<~?,0.$"), max_size=80).map(str.encode)
)
def test_any_bytes_are_loaded_or_refused_with_located_mistakes(content: bytes) -> None:
    refused_or_loaded(content)
    refused_or_loaded(b"model_spec:\n  name: a\n  data: " + content)


@given(
    at=st.integers(0, len(FULL)),
    length=st.integers(0, 40),
    insert=st.text(st.characters(codec="utf-8"), max_size=5)
    | st.sampled_from(["\n", ": ", "- ", "  ", "{", "]", "${"]),
)
def test_a_damaged_spec_is_loaded_or_refused_with_located_mistakes(at: int, length: int, insert: str) -> None:
    refused_or_loaded((FULL[:at] + insert + FULL[at + length :]).encode())


# ── metadata ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_description_owner_and_labels_belong_to_no_step(load: Load) -> None:
    plain = load(spec("validation: {baseline: better}")).document
    body = "validation: {baseline: better}\ndescription: d\nowner: o\nlabels: {a: b}"
    described = load(spec(body)).document
    assert plain != described
    assert build_graph(plain) == build_graph(described)
