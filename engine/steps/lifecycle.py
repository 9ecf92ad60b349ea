"""The life-cycle graph of a resolved spec document. Pure.

`snapshot → check_data → (the user's steps) → split → train → evaluate → validate → register → deploy`; with
`data.feedback` a step of that name stands before `split`, with gates that ask for more than metrics `examine` before
`validate`.

Each function below declares one step: the slice of the document that can change its result (nested as in the spec,
so that a difference is named by its field), the contents it reads, what it writes.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from engine.core.canonical import Json
from engine.core.graph import Against, FromStep, Graph, Input, Observed, Retry, Step, graph_of
from engine.gates.asking import asks_of, needs_of

TABLES = ("python", "numpy", "pandas", "pyarrow")
LEARNING = (*TABLES, "scikit-learn", "scipy")
DISTRIBUTION = {"sklearn": "scikit-learn"}  # import name → distribution, where they differ
BUILT_IN = frozenset(
    {"snapshot", "feedback", "check_data", "split", "train", "evaluate", "examine", "validate", "register", "deploy"}
)
READING = ("format", "missing", "ignore")
ROLES = ("target", "id", "timestamp", "group")

Document = Mapping[str, Any]


def build_graph(document: Document) -> Graph:
    """The graph of one model."""
    table = _table(document)
    steps = [
        snapshot(document),
        *((feedback(document),) if document["data"].get("feedback") else ()),
        check_data(document),
        *(command(block, document) for block in document["steps"]),
        split(document, table),
        train(document),
        evaluate(document),
        *examine(document),
        validate(document),
        register(document),
        deploy(document),
    ]
    return graph_of(_with_before(steps, document["steps"]))


def snapshot(document: Document) -> Step:
    """The data as it is now, into the store."""
    source = document["data"]["source"]
    elsewhere = isinstance(source, Mapping) or ":" in str(source)
    return Step(
        "snapshot",
        "snapshot",
        settings={"data": {"source": source}} if elsewhere else {},
        inputs={"data": Observed("data")},
        outputs={"data": "data"},
    )


def feedback(document: Document) -> Step:
    """The predictions whose actual value is known now, into the store; the newest alone where others are left out.

    Without `data.id` a window leaves so many of them at most. With it, which rows are the same shows in the table only.
    """
    data = document["data"]
    rows = None if data.get("id") is not None else (data.get("window") or {}).get("rows")
    return Step(
        "feedback",
        "feedback",
        settings={} if rows is None else {"data": {"window": {"rows": rows}}},
        inputs={"feedback": Observed("feedback")},
        outputs={"rows": "feedback.parquet"},
        packages=("pyarrow",),
    )


def check_data(document: Document) -> Step:
    """May this data be trained on at all?"""
    settings: dict[str, Json] = {
        "data": {**_slice(document["data"], (*READING, *ROLES)), "table": document["data"]["table"]},
        "training": {"task": document["training"]["task"]},
    }
    named = (document["data"].get("expect") or {}).get("suite")
    suite: dict[str, Input] = {"suite": Observed(f"file:{named}")} if named else {}
    for name in ("expect", "personal"):
        if document["data"].get(name):
            settings["data"] = {**settings["data"], name: document["data"][name]}  # type: ignore[dict-item]
    return Step(
        "check_data",
        "check_data",
        settings=settings,
        inputs={"data": FromStep("snapshot", "data"), **suite},
        outputs={"profile": "profile.json"},
        packages=(*TABLES, "great-expectations") if suite else TABLES,
    )


def command(block: Mapping[str, Any], document: Document) -> Step:
    """A step of the user's own."""
    inputs: dict[str, Input] = {role: _input(reference, document) for role, reference in block["inputs"].items()}
    after = list(block["after"])
    reads_data = any(source == FromStep("snapshot", "data") for source in inputs.values())
    if reads_data:
        after.append("check_data")
    return Step(
        block["name"],
        "command",
        settings={"steps": {block["name"]: _slice(block, ("run", "environment"))}},
        inputs={**inputs, "command": Observed(f"code:{block['name']}")},
        outputs=block["outputs"],
        after=tuple(after),
        gate=_contract_gate(document) if reads_data else None,
        packages=("python",),
    )


def split(document: Document, table: FromStep) -> Step:
    """Training rows and hold-out rows."""
    data = document["data"]
    window: dict[str, Json] = {} if data.get("window") is None else {"window": data["window"]}
    labelled: dict[str, Input] = {"feedback": FromStep("feedback", "rows")} if data.get("feedback") else {}
    return Step(
        "split",
        "split",
        settings={
            "data": {**_slice(data, (*READING, *ROLES, "positive", "split")), **window},
            "training": {"task": document["training"]["task"]},
        },
        inputs={"table": table, **labelled},
        outputs={"train": "train.parquet", "holdout": "holdout.parquet", "schema": "schema.json"},
        after=("check_data",),
        gate=_contract_gate(document),
        packages=(*TABLES, "scikit-learn"),
    )


def train(document: Document) -> Step:
    """A model from the training rows."""
    training = document["training"]
    inputs: dict[str, Input] = {"train": FromStep("split", "train"), "schema": FromStep("split", "schema")}
    for role, reference in training["inputs"].items():
        inputs[role] = _input(reference, document)
    packages = LEARNING
    if training["function"] or training["run"]:
        inputs["code"] = Observed("code:train")
    elif training["estimator"] != "auto":
        package = training["estimator"].partition(".")[0]
        packages = tuple(dict.fromkeys([*LEARNING, DISTRIBUTION.get(package, package)]))
    return Step(
        "train",
        "train",
        settings={
            "training": {name: value for name, value in training.items() if name not in ("resources", "predict")}
        },
        inputs=inputs,
        outputs={"model": "model", "report": "training.json"},
        packages=packages,
    )


def evaluate(document: Document) -> Step:
    """What the model is worth on rows that it never saw."""
    predict = document["training"]["predict"]
    code: dict[str, Input] = {"code": Observed("code:evaluate")} if predict else {}
    return Step(
        "evaluate",
        "evaluate",
        settings={"training": _slice(document["training"], ("predict", "environment"))} if predict else {},
        inputs={
            "model": FromStep("train", "model"),
            "holdout": FromStep("split", "holdout"),
            "schema": FromStep("split", "schema"),
            **code,
        },
        outputs={
            "report": "evaluation.json",
            "predictions": "predictions.parquet",
            "figures": "figures",
            "reference": "reference.profile",
        },
        packages=LEARNING,
    )


def examine(document: Document) -> list[Step]:
    """What the gates ask beyond metrics; no step where they ask nothing."""
    asks = asks_of(document["validation"])
    if not asks:
        return []
    needs = needs_of(asks)
    inputs: dict[str, Input] = {
        "report": FromStep("evaluate", "report"),
        "predictions": FromStep("evaluate", "predictions"),
        "holdout": FromStep("split", "holdout"),
        "schema": FromStep("split", "schema"),
    }
    if "model" in needs:
        inputs["model"] = FromStep("train", "model")
    if "train" in needs:
        inputs["train"] = FromStep("split", "train")
    if "champion" in needs:
        inputs["champion"] = Against(FromStep("train", "model"), FromStep("split", "holdout"))
    settings: dict[str, Json] = {"validation": asks}
    predict = document["training"]["predict"]
    if predict and needs & {"model", "champion"}:
        inputs["code"] = Observed("code:examine")
        settings["training"] = _slice(document["training"], ("predict", "environment"))
    for ask in asks:
        if "function" in ask:
            name = str(ask["function"])
            inputs[f"code_{name.replace(':', '_').replace('.', '_')}"] = Observed(f"code:{name}")
    return [Step("examine", "examine", settings, inputs, outputs={"report": "examination.json"}, packages=LEARNING)]


def validate(document: Document) -> Step:
    """May this candidate go on?"""
    gates = document["validation"]
    limit = max((gate["retries"] for gate in gates if gate["on_failure"] == "retrain"), default=0)
    return Step(
        "validate",
        "validate",
        settings={"validation": gates},
        inputs={"report": FromStep("evaluate", "report"), **_examination(document)},
        outputs={"verdict": "verdict.json"},
        retry=Retry("train", limit) if limit else None,
    )


def register(document: Document) -> Step:
    """A version in the registry. What a version is, is its model and the data it was made of."""
    labelled: dict[str, Input] = {"feedback": FromStep("feedback", "rows")} if document["data"].get("feedback") else {}
    return Step(
        "register",
        "register",
        inputs={"model": FromStep("train", "model"), "data": FromStep("snapshot", "data"), **labelled},
        carries={
            "evaluation": FromStep("evaluate", "report"),
            "predictions": FromStep("evaluate", "predictions"),
            "figures": FromStep("evaluate", "figures"),
            "reference": FromStep("evaluate", "reference"),
            "training": FromStep("train", "report"),
            "profile": FromStep("check_data", "profile"),
            "schema": FromStep("split", "schema"),
            "holdout": FromStep("split", "holdout"),
            "verdict": FromStep("validate", "verdict"),
            **_examination(document),
        },
        outputs={"release": "release.json"},
        gate="validate",
    )


def deploy(document: Document) -> Step:
    """The endpoint serves the release, or begins to."""
    return Step(
        "deploy",
        "deploy",
        settings={"deployment": document["deployment"]},
        inputs={"release": FromStep("register", "release")},
    )


def _contract_gate(document: Document) -> str | None:
    """Who must have passed the data, where there is a contract."""
    return "check_data" if document["data"].get("expect") else None


def _examination(document: Document) -> dict[str, FromStep]:
    return {"examination": FromStep("examine", "report")} if asks_of(document["validation"]) else {}


def _slice(block: Mapping[str, Any], names: Iterable[str]) -> dict[str, Json]:
    return {name: block[name] for name in names}


def _table(document: Document) -> FromStep:
    """Whose table is split: the one that a user's step makes, else the snapshot."""
    reference = document["data"]["table"]
    if reference is None:
        return FromStep("snapshot", "data")
    step, _, output = reference.partition(".")
    return FromStep(step, output)


def _input(reference: str, document: Document) -> Input:
    """`data`, `step.output`, a user's output by its bare name, or a path of the project."""
    if reference == "data":
        return FromStep("snapshot", "data")
    step, _, output = reference.partition(".")
    own = {block["name"]: block["outputs"] for block in document["steps"]}
    if step in BUILT_IN or output in own.get(step, ()):
        return FromStep(step, output)
    for name, outputs in own.items():
        if reference in outputs:
            return FromStep(name, reference)
    return Observed(f"{'code' if reference.endswith('.py') else 'file'}:{reference}")


def _with_before(steps: list[Step], blocks: Iterable[Mapping[str, Any]]) -> list[Step]:
    """Turn `before: [register]` of a user's step into `after` of that other step."""
    before: dict[str, list[str]] = {}
    for block in blocks:
        for name in block["before"]:
            before.setdefault(name, []).append(block["name"])
    return [
        Step(**{**step.__dict__, "after": (*step.after, *before[step.name])}) if step.name in before else step
        for step in steps
    ]
