"""The train step: training rows → a model folder and a report.

Inputs: `train`, `schema`, the project's code, and further roles for functions and commands. Settings:
`{"training": {...}, "attempt": k}`; k ≥ 1 is a retry after a failed gate: the seed is raised by k and a random search
draws more. Outputs: `model` (see `model_files`) and `report` (training.json). Whatever way the model is made, the
folder ends with the same meta.json. Times are facts, so that the same inputs give the same outputs.
"""

from __future__ import annotations

import importlib
import inspect
import json
import sys
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.core.canonical import canonical_json
from engine.errors import EngineError, StepError
from engine.ports import StepContext, StepOutcome
from engine.steps import estimators, model_files
from engine.steps.command import execute
from engine.steps.failures import failure
from engine.steps.model_files import Origin
from engine.steps.preprocess import columns_for
from engine.steps.schema import Schema, Table, class_numbers, read_rows
from engine.steps.tuning import Search, search


@dataclass(frozen=True)
class Trained:
    """A finished model folder, and what to report of it."""

    meta: Mapping[str, Any]
    params: Mapping[str, Any]
    details: Mapping[str, Any]


def run(context: StepContext) -> StepOutcome:
    """Train as the spec says. Raises StepError and its kin."""
    started = time.monotonic()
    training: Mapping[str, Any] = context.settings["training"]
    attempt = int(context.settings.get("attempt") or 0)
    seed = (int(training.get("seed") or 0) + attempt) % 2**32
    schema = Schema.read(context.inputs["schema"])
    table = read_rows(context.inputs["train"], schema)
    if not len(table.features):
        raise StepError("there are no training rows", remedy="Lower data.split.holdout, or get more data.")
    if training.get("run"):
        trained = _by_command(context, training, table, schema, seed)
    elif training.get("function"):
        trained = _by_function(context, training, table, schema, seed)
    else:
        trained = _by_estimator(context, training, table, schema, seed, attempt)
    report = _report(trained, schema, seed, attempt)
    context.outputs["report"].write_text(canonical_json(report) + "\n", encoding="utf-8")
    name = str(trained.meta["estimator"]).rpartition(".")[2]
    facts = {
        "estimator": trained.meta["estimator"],
        "format": trained.meta["format"],
        "params": report["params"],
        "positive": schema.positive,
        "rows": len(table.features),
        "features": len(schema.features),
        "seed": seed,
        "attempt": attempt,
        "seconds": round(time.monotonic() - started, 3),
    }
    trials = report["tuning"]["trials"] if report["tuning"] else []
    tuned = f", best of {len(trials)} trials" if trials else ""
    return StepOutcome(facts, f"{name} on {len(table.features):,} × {len(schema.features)}{tuned}")


def _report(trained: Trained, schema: Schema, seed: int, attempt: int) -> dict[str, Any]:
    return {
        "format_version": 1,
        "task": schema.task,
        "classes": list(schema.classes),
        "positive": schema.positive,
        "estimator": trained.meta["estimator"],
        "format": trained.meta["format"],
        "params": _plain(trained.params),
        "seed": seed,
        "attempt": attempt,
        "rows": trained.meta["rows"],
        "features": len(schema.features),
        "features_out": None,
        "tuning": None,
        **trained.details,
    }


def baseline_of(table: Table, schema: Schema) -> Mapping[str, Any]:
    """What a model that ignores the features knows: the share of each class, or the mean of the target."""
    import numpy as np

    if schema.is_regression:
        return {"mean": float(table.target.mean())}
    counts = np.bincount(class_numbers(table.target, schema.classes), minlength=len(schema.classes))
    return {"shares": [float(share) for share in counts / counts.sum()]}


# ── an estimator by name ─────────────────────────────────────────────────────────────────────────────────────


def _by_estimator(
    context: StepContext, training: Mapping[str, Any], table: Table, schema: Schema, seed: int, attempt: int
) -> Trained:
    name = estimators.chosen(training.get("estimator") or "auto", schema)
    cls = estimators.find(name, schema.task)
    given: Mapping[str, Any] = training.get("params") or {}
    prepared = training.get("preprocessing") != "none"

    def build(params: Mapping[str, Any]) -> Any:
        return model_of(cls, {**given, **params}, table, schema, seed, prepared=prepared)

    build({})  # a parameter that does not exist is said before any trial
    found: Search | None = None
    if block := training.get("tuning"):
        build(dict.fromkeys(block["space"]))
        found = search(block, build, table, schema, seed, attempt, context.progress)
    best = dict(found.best.params) if found else {}
    model = build(best)
    try:
        model.fit(table.features, table.target)
    except EngineError:
        raise
    except Exception as error:
        raise _unfittable(name, error) from error
    settle(model)
    origin = Origin(schema, name, seed, baseline_of(table, schema))
    meta = model_files.save(model, context.outputs["model"], origin, table.features, context.project)
    details: dict[str, Any] = {"features_out": _features_out(model, table, prepared)}
    if found:
        details["tuning"] = {
            "metric": found.metric,
            "folds": found.folds,
            "best": found.best.to_json(),
            "trials": [trial.to_json() for trial in found.trials],
        }
    return Trained(meta, {**given, **best}, details)


def model_of(
    cls: type[Any], params: Mapping[str, Any], table: Table, schema: Schema, seed: int, *, prepared: bool
) -> Any:
    """An unfitted pipeline: preparation of the features, then the estimator. Raises StepError."""
    from sklearn.pipeline import Pipeline

    estimator = estimators.make(cls, params, seed)
    steps: list[tuple[str, Any]] = []
    if prepared:
        family = estimators.family(cls)
        columns, native = columns_for(schema, table.features, family, sparse=estimators.takes_sparse(estimator))
        if native and "categorical_features" not in params:
            estimator.set_params(categorical_features=native)
        steps.append(("features", columns))
    if not schema.is_regression and estimators.needs_numbered_classes(cls):
        from sklearn.ensemble import VotingClassifier

        # A vote of one numbers the classes for an estimator that wants numbers, and gives labels back.
        estimator = VotingClassifier([("model", estimator)], voting="soft")
    return Pipeline([*steps, ("model", estimator)])


def settle(model: Any) -> None:
    """Forget how many processors this machine has: neither predictions nor bytes should depend on it."""
    for name, value in model.get_params(deep=True).items():
        if name.rpartition("__")[2] == "n_jobs" and value is not None:
            model.set_params(**{name: None})
    last = model.named_steps["model"]
    for inner in getattr(last, "estimators_", ()) if hasattr(last, "voting") else ():
        inner.set_params(n_jobs=None)


def _features_out(model: Any, table: Table, prepared: bool) -> int:
    if not prepared:
        return len(table.features.columns)
    return int(model.named_steps["features"].transform(table.features.head(1)).shape[1])


def _unfittable(name: str, error: Exception) -> StepError:
    traceback.print_exc()
    text = " ".join(str(error).split()) or type(error).__name__
    return StepError(f"{name} cannot be fitted: {text[:400]}", remedy="The whole message is in the log.")


# ── a function of the user's ─────────────────────────────────────────────────────────────────────────────────


def _by_function(context: StepContext, training: Mapping[str, Any], table: Table, schema: Schema, seed: int) -> Trained:
    name: str = training["function"]
    function = load_function(name, context.project)
    params: Mapping[str, Any] = training.get("params") or {}
    offered = {
        "X": table.features,
        "y": table.target,
        "data": table.frame,
        "schema": schema.document,
        "params": dict(params),
        "seed": seed,
        "inputs": {role: path for role, path in context.inputs.items() if role not in ("train", "schema")},
        "progress": context.progress,
    }
    with _environment(training, context):
        try:
            model = function(**arguments_for(function, name, offered, params))
        except EngineError:
            raise
        except Exception as error:
            raise failure(f"{name} raised", error) from error
    if not callable(getattr(model, "predict", None)):
        raise StepError(
            f"{name} returned {type(model).__name__}, which has no predict", remedy="Return the fitted model."
        )
    origin = Origin(schema, name, seed, baseline_of(table, schema))
    meta = model_files.save(model, context.outputs["model"], origin, table.features, context.project)
    return Trained(meta, params, {})


def load_function(name: str, project: Path) -> Any:
    """`package.module:function` of the project. Raises StepError when it is not there or its module fails."""
    module_name, _, attribute = name.partition(":")
    if str(project) not in sys.path:
        sys.path.insert(0, str(project))
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        hint = "Modules are looked for from the project's root." if error.name else ""
        raise StepError(f"{name}: there is no module {error.name}", remedy=hint) from None
    except Exception as error:
        traceback.print_exc()
        raise StepError(
            f"{module_name} cannot be imported: {type(error).__name__}: {error}", remedy="Mend that module."
        ) from error
    function = getattr(module, attribute, None)
    if not callable(function):
        raise StepError(f"{module_name} has no function {attribute}", remedy="Mend training.function.")
    return function


def arguments_for(function: Any, name: str, offered: Mapping[str, Any], params: Mapping[str, Any]) -> dict[str, Any]:
    """What a function's signature asks for: X, y, data, schema, params, seed, inputs, progress, or parameters by name.

    Raises StepError for an argument that nothing gives and for a parameter that it would not get.
    """
    wanted = inspect.signature(function).parameters.values()
    takes_all = any(p.kind is p.VAR_KEYWORD for p in wanted)
    names = [p.name for p in wanted if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)]
    by_name = {} if "params" in names else dict(params)
    given = {n: offered[n] for n in names if n in offered and n not in by_name}
    given |= {n: value for n, value in by_name.items() if n in names or takes_all}
    lacking = [
        p.name
        for p in wanted
        if p.default is p.empty and p.name not in given and p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
    ]
    if lacking:
        raise StepError(
            f"{name} wants an argument {lacking[0]}, which nothing gives",
            remedy=f"It may ask for {', '.join(offered)}, or for a name in training.params.",
        )
    unused = [n for n in by_name if n not in given]
    if unused:
        raise StepError(f"{name} takes no parameter {unused[0]}", remedy="Take it out of training.params, or add it.")
    return given


# ── a command of the user's ──────────────────────────────────────────────────────────────────────────────────


def _by_command(context: StepContext, training: Mapping[str, Any], table: Table, schema: Schema, seed: int) -> Trained:
    params: Mapping[str, Any] = training.get("params") or {}
    params_file = context.scratch / "engine_params.json"
    params_file.write_text(json.dumps(params, sort_keys=True), encoding="utf-8")
    rows_file = context.scratch / "engine_train.csv"
    table.frame.to_csv(rows_file, index=False, lineterminator="\n")
    folder = context.outputs["model"]
    folder.mkdir(parents=True, exist_ok=True)
    environment = {
        **_resolved(training, context),
        "ENGINE_PARAMS": str(params_file),
        "ENGINE_SEED": str(seed),
        "ENGINE_TASK": schema.task,
        "ENGINE_TARGET": schema.target,
    }
    inputs = {**context.inputs, "train_csv": rows_file}
    execute(training["run"], inputs, {"model": folder}, environment, context.scratch)
    name = model_files.found_in(folder)
    if not any(folder.iterdir()):
        raise StepError(
            f"{training['run'][0]} left nothing in its model folder",
            remedy=f"Write one of {', '.join(model_files.FILES)} there, or name a training.predict command.",
        )
    command = " ".join(training["run"])
    meta = model_files.describe(folder, name, Origin(schema, command, seed, baseline_of(table, schema)))
    return Trained(meta, params, {})


def _resolved(training: Mapping[str, Any], context: StepContext) -> dict[str, str]:
    return {name: context.resolve(str(value)) for name, value in (training.get("environment") or {}).items()}


def _environment(training: Mapping[str, Any], context: StepContext) -> Any:
    """The user's variables in this process, for as long as their function runs."""
    import os
    from contextlib import contextmanager

    @contextmanager
    def applied() -> Any:
        before = dict(os.environ)
        os.environ.update(_resolved(training, context))
        try:
            yield
        finally:
            os.environ.clear()
            os.environ.update(before)

    return applied()


def _plain(params: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters as JSON: what is not a plain value is shown as text."""
    return {name: json.loads(json.dumps(value, default=str)) for name, value in sorted(params.items())}
