"""Hundreds of bad specs: a valid one changed in every place, mistakes people make, and files at or beyond every limit.

`CORPUS` maps what is wrong to the file. Also run by `python -m bench corpus`, each as a process of its own.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Iterator
from typing import Any

import yaml

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
    personal: [customer_id]
    expect:
      rows: {min: 100}
      keys: [[customer_id]]
      checks: [{name: adds_up, expression: total >= monthly, tolerance: 0.1}]
      freshness: {column: signed_up_at, max_age: 30d}
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
    return yaml.dump(data, Dumper=yaml.CSafeDumper, sort_keys=False)  # the other takes seconds for all


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
    "dvc:",
    "dvc:/x",
    "dvc:x@--upload-pack=evil",
    "dvc:x@a b",
    "dvc:data.dvc",
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


def bombs() -> Iterator[tuple[str, bytes]]:
    """Files that are refused before they are a spec."""
    head = b"model_spec: {name: churn}\n"
    doubled = "".join(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]\n" for i in range(1, 30))
    merged = "".join(f"a{i}: &a{i} {{<<: [*a{i - 1}, *a{i - 1}], k{i}: 1}}\n" for i in range(1, 30))
    yield "alias bomb", f"a0: &a0 [x]\n{doubled}".encode()
    yield "merge bomb", f"a0: &a0 {{k: 1}}\n{merged}".encode()
    yield "alias to itself", b"a: &a [*a]\n"
    yield "10 MB of lines", head + b"# a comment\n" * 900_000
    yield "10 MB in one line", head + b"x: " + b"y" * 10_000_000
    yield "10 MB of nothing", b"\0" * 10_000_000
    for opening, closing in ((b"[", b"]"), (b"{a: ", b"}"), (b"- ", b""), (b"? ", b"")):
        yield f"200 KiB of {opening.decode()}", opening * (200_000 // len(opening))
        yield f"33 levels of {opening.decode()}", b"model_spec: " + opening * 33 + b"x" + closing * 33
    for encoding in ("utf-16", "utf-16-le", "utf-32", "latin-1", "cp037"):
        yield f"in {encoding}", VALID.replace("who leaves", "wér leaves").encode(encoding)
    yield "half a character", head + b"# \xc3"
    yield "control characters", head + bytes(range(32))
    yield "random bytes", random.Random(1).randbytes(250_000)
    yield "nothing", b""


def extremes() -> Iterator[tuple[str, str]]:
    """As much of one mistake as the limits allow."""

    def many(count: int, each: str, between: str = ", ") -> str:
        return between.join(each.replace("%", str(number)) for number in range(count))

    def step(each: str, count: int) -> str:
        return spec("steps: [" + many(count, "{name: s%, run: x, " + each + "}") + "]")

    every_name = many(4_990, "threshhold%: 1")
    yield "one flow list of 256 KiB", spec(f"data: {{ignore: [{'x,' * 120_000}]}}")
    yield "9,900 values in a flow list", spec(f"data: {{ignore: [{many(9_900, '[x]')[:49_000]}]}}")
    yield "9,900 numbers for a path", spec(f"data: [{many(9_900, '%')}]")
    yield "4,990 keys unknown", spec(every_name)
    yield "4,990 keys unknown in the middle", spec(f"validation: {{{every_name}}}")
    yield "4,990 keys unknown at the top", f"model_spec: {{name: churn}}\n{many(4_990, 'model_spek%: 1', chr(10))}\n"
    yield "long keys unknown", spec(many(900, "t" * 250 + "%: 1"))
    yield "long keys like one that is known", spec(many(4_000, "retrain_trigger_retrain_triger%: 1"))
    yield "10,000 equal keys", "model_spec:\n" + "  name: churn\n" * 10_000
    yield "4,900 equal keys", "model_spec:\n" + "  name: churn\n" * 4_900
    yield "4,900 equal keys in a flow", f"model_spec: {{{many(4_900, 'name: churn')}}}"
    yield "1,200 steps with an unknown input", step("inputs: {data: ${steps.tarin.outputs.o}}", 1_200)
    yield "1,200 steps with an unknown name", step("inputs: {data: s%x}", 1_200)
    yield "1,600 steps after an unknown one", step("after: [t%]", 1_600)
    yield "1,600 steps in a ring", step("after: [s%0]", 1_600)
    itself = many(2_400, "{name: s%, run: x, after: [s%]}")
    yield "2,400 steps after themselves", spec(f"steps: [{itself}]")
    chain = ", ".join(f"{{name: s{i}, run: x, after: [s{(i + 1) % 1500}]}}" for i in range(1_500))
    yield "1,500 steps in one long ring", spec(f"steps: [{chain}]")
    everyone = ", ".join(f"s{i}" for i in range(90))
    mesh = ", ".join(f"{{name: s{i}, run: x, after: [{everyone}]}}" for i in range(90))
    yield "90 steps after all of them", spec(f"steps: [{mesh}]")
    yield "2,400 steps of one name", spec(f"steps: [{many(2_400, '{name: same, run: x}')}]")
    yield "2,400 steps with one output", step("outputs: {o: same.csv}", 1_200)
    yield "1,600 nearly equal step names", step(f"after: [{'s' * 60}]", 1_600)
    yield "one step with 4,900 inputs", spec(f"steps: [{{name: a, run: x, inputs: {{{many(4_900, 'i%: b%')}}}}}]")
    listed = many(9_900, "'${inputs.i%}'")
    yield "9,900 references in a list of arguments", spec(f"steps: [{{name: a, run: [{listed}]}}]")
    references = "".join(f"${{inputs.i{i}}} " for i in range(15_000))
    yield "15,000 references in a command", spec(f'steps: [{{name: a, run: "x {references}"}}]')
    yield "100,000 openings of a reference", spec(f"steps: [{{name: a, run: '{'${' * 100_000}'}}]")
    yield "a reference 100,000 deep", spec(f"steps: [{{name: a, run: 'x ${{{'a.' * 100_000}b}}'}}]")
    yield "200,000 quotes in a command", spec(f"""steps: [{{name: a, run: "{"'" * 199_999}"}}]""")
    yield "200,000 backslashes in a command", spec(f"steps: [{{name: a, run: '{chr(92) * 200_001}'}}]")
    for key, body in (
        ("name", "steps: [{name: %, run: x}]"),
        ("source", "data: {source: %}"),
        ("estimator", "training: {estimator: %}"),
        ("function", "training: {function: %}"),
        ("threshold", "validation: {metric: accuracy, threshold: %}"),
        ("duration", "training: {resources: {timeout: %}}"),
        ("size", "training: {resources: {memory: %}}"),
        ("metric", "validation: {metric: %, threshold: 1}"),
        ("budget", "retrain_trigger: {type: manual, budget: %}"),
        ("persistence", "retrain_trigger: {type: drift, persistence: %}"),
        ("cron", "retrain_trigger: {type: scheduled, cron: %}"),
        ("timezone", 'retrain_trigger: {type: scheduled, cron: "0 0 * * *", timezone: %}'),
    ):
        for what, text in (
            ("digits", "9" * 200_000),
            ("letters", "a" * 200_000 + "!"),
            ("dots", "a." * 100_000 + "!"),
            ("spaces", '"1' + " " * 200_000 + '!"'),
            ("slashes", "../" * 66_000),
            ("exponent", "1e999999999"),
        ):
            yield f"{key} of {what}", spec(body.replace("%", text))
    for what, cron in (
        ("numbers", many(40_000, "%", ",")[:200_000] + " * * * *"),
        ("minutes", "0," * 100_000 + "0 * * * x"),
        ("ranges", "0-59," * 40_000 + "0 0 30 2 *"),
        ("fields", "* " * 100_000),
        ("days that never come", "0 0 30,31 2 *"),
    ):
        yield f"cron list of {what}", spec(f'retrain_trigger: {{type: scheduled, cron: "{cron}"}}')
    triggers = many(1_600, '{type: scheduled, cron: "0 0 * * %"}')
    yield "1,600 triggers", spec(f"retrain_trigger: {{any_of: [{triggers}]}}")
    yield "2,400 gates of unknown metrics", spec(f"validation: [{many(2_400, '{metric: acuracy%, threshold: 1}')}]")
    yield "4,900 labels of lists", spec(f"labels: {{{many(4_900, 'k%: []')}}}")
    yield "9,900 aliases", "a: &a x\n" + spec(f"data: {{ignore: [{', '.join(['*a'] * 9_900)}]}}")
    wide = many(90, "k%: 1")
    yield "100 aliases of 90 keys", f"a: &a {{{wide}}}\n" + spec(f"params: [{', '.join(['*a'] * 50)}]")
    yield "50 merges of 90 keys", f"a: &a {{{wide}}}\n" + spec(f"params: [{', '.join(['{<<: *a}'] * 50)}]")
    yield "one merge of 2,000 anchors", "a: &a {x: 1}\n" + spec(f"params: {{<<: [{', '.join(['*a'] * 2_000)}]}}")
    yield "3,000 anchors", "\n".join(f"a{i}: &a{i} {{x: 1}}" for i in range(3_000)) + "\n" + spec("z: 1")
    yield "2,400 tags", spec(f"ignore: [{', '.join(['!!python/object:os.system x'] * 2_400)}]")


CORPUS: dict[str, bytes] = {
    name: text if isinstance(text, bytes) else text.encode()
    for name, text in (*mutations(), *repeated_keys(), *hand_made(), *bombs(), *extremes())
}
