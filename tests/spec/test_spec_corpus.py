"""Hundreds of bad specs: each gets located mistakes with remedies, and no traceback."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import yaml

from engine.errors import Diagnostic

Mistakes = Callable[..., list[Diagnostic]]

VALID = """\
model_spec:
  name: churn
  description: who leaves
  owner: growth
  labels: {tier: gold}
  data:
    source: data/churn.csv
    format: csv
    target: churned
    positive: left
    id: customer_id
    timestamp: signed_up_at
    group: household
    ignore: [notes]
    missing: [n/a]
    table: features.table
    split: {strategy: group, holdout: 20%, seed: 7}
  steps:
    - name: features
      run: python features.py --in ${inputs.data} --out ${outputs.table}
      inputs: {data: data, code: features.py}
      outputs: {table: features.parquet}
      after: [check_data]
      before: [split]
      environment: {OMP_NUM_THREADS: "1"}
      resources: {timeout: 10m, memory: 1GiB}
  training:
    estimator: sklearn.ensemble.RandomForestClassifier
    task: classification
    params: {n_estimators: 300}
    preprocessing: auto
    seed: 1
    tuning: {search: random, trials: 20, space: {max_depth: [4, 8]}, metric: roc_auc, folds: 3}
    inputs: {lookup: lib}
    environment: {LANG: C}
    resources: {timeout: 1h, memory: 4GiB}
  retrain_trigger:
    any_of:
      - {type: scheduled, cron: "0 0 * * 0", timezone: Europe/Berlin}
      - {type: drift, detector: ks, alpha: 0.01, persistence: 2 of 3, min_rows: 500, reference: holdout}
      - {type: performance, metric: accuracy, drop: 5%, min_labels: 100}
      - {type: data, min_new_rows: 1000}
      - {type: freshness, max_age: 30d}
      - {type: upstream, model: other, event: registered}
    cooldown: 24h
    budget: 3 per week
  validation:
    - {metric: f1_score, threshold: 0.85, on_failure: retrain, retries: 3}
    - {baseline: better, metric: roc_auc}
  deployment:
    strategy: canary
    initial_traffic: 10%
"""
DATA = yaml.safe_load(VALID)
FREE = ({"labels"}, {"params"}, {"space"}, {"missing"}, {"positive"})  # where any key or value may stand

Path = tuple[str | int, ...]


def walk(value: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    yield path, value
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in children:
        yield from walk(child, (*path, key))


def changed(path: Path, change: Callable[[Any, Any], None]) -> str:
    data = copy.deepcopy(DATA)
    parent = data
    for key in path[:-1]:
        parent = parent[key]
    change(parent, path[-1])
    return yaml.safe_dump(data, sort_keys=False)


def set_to(value: Any) -> Callable[[Any, Any], None]:
    def change(parent: Any, key: Any) -> None:
        parent[key] = value

    return change


def misspell(parent: Any, key: Any) -> None:
    parent[f"{key}_x"] = parent.pop(key)


def free(path: Path) -> bool:
    return any(names & set(map(str, path[:-1])) for names in FREE)


def mutations() -> Iterator[tuple[str, str]]:
    for path, value in walk(DATA):
        name = ".".join(map(str, path))
        if not path or free(path):
            continue
        if isinstance(path[-1], str) and path[-2:-1] not in (("inputs",), ("outputs",), ("environment",)):
            yield f"misspelled {name}", changed(path, misspell)
        if path[-1] not in ("positive", "params", "space"):
            yield f"mapping at {name}", changed(path, set_to({"zz": [1]}))
        if not isinstance(value, list) and path[-1] != "space":
            yield f"list at {name}", changed(path, set_to([[True]]))
        if path[-1] not in ("positive", "missing"):
            yield f"boolean at {name}", changed(path, set_to(True))
        if isinstance(value, int | float) or (
            isinstance(value, str) and value[0].isdigit() and path[-1] not in ("cron", "OMP_NUM_THREADS")
        ):
            yield f"negative {name}", changed(path, set_to(-1))
            yield f"text at {name}", changed(path, set_to("twelve"))
        if isinstance(value, str) and path[-1] not in ("sql", "positive"):
            yield f"control characters at {name}", changed(path, set_to("a\0b"))
        if isinstance(value, str) and path[-1] not in ("positive", "OMP_NUM_THREADS", "LANG", "source"):
            yield f"secret at {name}", changed(path, set_to("${env:SECRET}"))


def repeated_keys() -> Iterator[tuple[str, str]]:
    lines = VALID.splitlines()
    for number, line in enumerate(lines):
        body = line.strip()
        if body.endswith("}") and ":" in body and not body.startswith(("-", "run")):
            yield f"repeated line {number + 1}", "\n".join([*lines[: number + 1], line, *lines[number + 1 :]])


def spec(body: str) -> str:
    return "model_spec:\n  name: churn\n" + "".join(f"  {line}\n" for line in body.splitlines())


PATHS = [
    "/etc/passwd",
    "../x.csv",
    "a/../../x.csv",
    "~/x.csv",
    "C:/x.csv",
    "a\\b.csv",
    "",
    " a.csv",
    "file:///etc/passwd",
    "ftp://a/b.csv",
    "https://",
    "https:///x",
    "sklearn:",
    "sklearn:../x",
    "dvc:x",
    "data.dvc",
    "feast:x",
    "a${env:X}.csv",
    "https://me:pw@host/x.csv",
    "https://host/a b.csv",
]
COMMANDS = [
    "a | b",
    "a > b",
    "a < b",
    "a; b",
    "a && b",
    "a & b",
    "a `b`",
    "a $(b)",
    'a "$(b)"',
    "X=1 a",
    "a $HOME",
    "a ${HOME}",
    "a ${inputs.nothing}",
    "a ${outputs.nothing}",
    "a ${inputs}",
    "a 'b",
    "",
    "  ",
    "a ${env:X}",
    "a || b",
    "a 2>&1",
    "a ${inputs.data",
    "a\n  | b",
]
CRONS = [
    "",
    "* * * *",
    "* * * * * *",
    "* * * * * * *",
    "@daily",
    "@reboot",
    "60 * * * *",
    "* 24 * * *",
    "* * 0 * *",
    "* * 32 * *",
    "* * * 13 *",
    "* * * * 8",
    "0 0 31 2 *",
    "0 0 30 2 *",
    "0 0 31 4,6,9,11 *",
    "*/0 * * * *",
    "*/60 * * * *",
    "5/15 * * * *",
    "5-1 * * * *",
    "a * * * *",
    "* * * foo *",
    "0 0 L * *",
    "0 0 * * 5#2",
    "0 0 ? * *",
    "1,,2 * * * *",
    "-1 * * * *",
    "0 0 * * FRI-MON",
    "H * * * *",
    "1- * * * *",
    "٣ * * * *",
]
NAMES = [
    "Churn",
    "1churn",
    "churn model",
    "churn.model",
    "ch/urn",
    "-churn",
    "a" * 64,
    "",
    "ä",
    "../x",
    "churn\n",
    "$(x)",
]
ESTIMATORS = [
    "os.system",
    "sklearn",
    "sklearn.",
    ".sklearn.x",
    "subprocess.Popen",
    "builtins.eval",
    "__import__('os')",
    "sklearn.svm.SVC()",
    "sklearn..svm",
    "skleran.svm.SVC",
    "sklearn.svm:SVC",
    "Sklearn.svm.SVC",
    "sklearnx.a",
]
THRESHOLDS = [
    ".nan",
    ".inf",
    "-.inf",
    "NaN ",
    "1e999",
    "1.01",
    "-0.1",
    "abc",
    "[]",
    "{}",
    "true",
    "null",
    "101%",
    "-5%",
]
TRAFFIC = ["0", "0%", "100%", "1", "10", "-1%", "ten", "10 percent", "null", "true", "[10%]", "1e-400", "%", "10%%"]
DURATIONS = ["1 hour", "1x", "-1h", "0", "0s", "h", "1h 30m", "null", "true", "[]", "1e30", "PT1H", "100000d"]
SIZES = ["4gb", "4 G", "-1", "0", "1.5", "GiB", "null", "true", "1e3", "4GiBB", "9999999TiB"]
FUNCTIONS = ["train", "a.b.c", "a:b:c", ":train", "a:", "a-b:c", "a:b()", "../a:b", "os.system('x'):y"]
PERSISTENCE = ["3 of 2", "2/3", "0 of 3", "two of three", "2 of", "true", "2"]
BUDGETS = ["3", "3 per fortnight", "0 per week", "three per week", "per week"]


def hand_made() -> Iterator[tuple[str, str]]:
    def quoted(text: str) -> str:
        return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'

    for text in PATHS:
        yield f"source {text}", spec(f"data: {{source: {quoted(text)}}}")
    for text in PATHS[:8]:
        yield f"output {text}", spec(f"steps: [{{name: a, run: x, outputs: {{o: {quoted(text)}}}}}]")
        yield f"input {text}", spec(f"steps: [{{name: a, run: x, inputs: {{o: {quoted(text)}}}}}]")
    for key in ("inputs", "outputs"):
        yield f"long path in {key}", spec(f"steps: [{{name: a, run: x, {key}: {{o: {'x' * 300}}}}}]")
    for text in COMMANDS:
        yield f"command {text}", spec(f"training: {{run: {quoted(text)}}}")
        yield f"step command {text}", spec(f"steps: [{{name: a, run: {quoted(text)}}}]")
    for text in CRONS:
        yield f"cron {text}", spec(f"retrain_trigger: {{type: scheduled, cron: {quoted(text)}}}")
    for text in NAMES:
        yield f"name {text}", f"model_spec: {{name: {quoted(text)}}}"
        yield f"step name {text}", spec(f"steps: [{{name: {quoted(text)}, run: x}}]")
    for text in ESTIMATORS:
        yield f"estimator {text}", spec(f"training: {{estimator: {quoted(text)}}}")
    for text in FUNCTIONS:
        yield f"function {text}", spec(f"training: {{function: {quoted(text)}}}")
    for key, values, body in (
        ("threshold", THRESHOLDS, "validation: {metric: accuracy, threshold: %s}"),
        ("traffic", TRAFFIC, "deployment: {strategy: canary, initial_traffic: %s}"),
        ("duration", DURATIONS[:7] + DURATIONS[8:], "training: {resources: {timeout: %s}}"),
        ("age", DURATIONS, "retrain_trigger: {type: freshness, max_age: %s}"),
        ("size", SIZES[:6] + SIZES[7:], "training: {resources: {memory: %s}}"),
        ("persistence", PERSISTENCE, "retrain_trigger: {type: drift, persistence: %s}"),
        ("budget", BUDGETS, "retrain_trigger: {type: manual, budget: %s}"),
    ):
        for value in values:
            yield f"{key} {value}", spec(body % value)


CORPUS = dict([*mutations(), *repeated_keys(), *hand_made()])


def test_the_valid_spec_is_valid(load: Callable[..., object]) -> None:
    load(VALID)


def test_the_corpus_is_large() -> None:
    assert len(CORPUS) >= 500


@pytest.mark.parametrize("text", CORPUS.values(), ids=list(CORPUS))
def test_each_gets_located_mistakes_with_a_remedy(mistakes: Mistakes, text: str) -> None:
    lines = text.splitlines()
    for found in mistakes(text):
        assert found.file == "spec.yaml"
        assert 1 <= found.line <= len(lines) + 1 and found.column >= 1
        assert found.message.strip() and found.remedy.strip()
        assert "pydantic" not in str(found) and "Input should" not in str(found) and "\n" not in str(found)
