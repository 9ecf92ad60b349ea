"""One row and a batch through compiled models, beside scikit-learn's own `predict_proba` of the same rows.

Made-up tables: 20 numbers, and 20 columns of mixed kinds with gaps. In this process, in turns, by processor time
(other work on the machine moves it less than the clock), without threads.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

from bench.options import Options
from bench.report import Report

ROWS, TRAINED, BATCH = 3000, 2000, 256
LINEAR = "sklearn.linear_model.LogisticRegression"
FOREST = "sklearn.ensemble.RandomForestClassifier"
MODELS = (
    ("logistic regression, 20 numbers", LINEAR, "numbers", 30.0),
    ("forest of 100 trees, 20 numbers", FOREST, "numbers", 300.0),
    ("auto (boosting), 20 mixed columns", "auto", "mixed", 150.0),
    ("logistic regression, 20 mixed columns", LINEAR, "mixed", None),
    ("forest of 100 trees, 20 mixed columns", FOREST, "mixed", None),
)


def run(options: Options, rows: int = ROWS) -> Report:
    """All models: microseconds per row, and how many times faster than scikit-learn."""
    from threadpoolctl import threadpool_limits

    report = Report("compiled")
    with threadpool_limits(1):
        for label, estimator, kind, most in MODELS:
            _compare(report, label, fitted(estimator, kind, rows), most, options.runs)
    report.notes.append(f"a batch has {BATCH} rows; the time includes reading values as they come from JSON")
    return report


def _compare(report: Report, label: str, made: tuple[Any, Any], most: float | None, runs: int) -> None:
    from engine.serving.compiled import Compiled, columns_of, compile_model

    loaded, sample = made
    compiled = compile_model(loaded, sample)
    if not isinstance(compiled, Compiled):
        report.notes.append(f"{label}: not compiled: {compiled.reason}")
        return
    for n in (1, min(BATCH, len(sample))):
        frame = sample.iloc[:n]
        columns = columns_of(frame)
        ours, theirs = in_turns(
            [lambda c=columns, n=n: compiled.answers(c, n), lambda f=frame: loaded.predictor.predict_proba(f)], runs
        )
        what = f"{label}, {'one row' if n == 1 else f'each of {n} rows'}"
        report.compare(what, ours / n * 1e6, most if n == 1 else None, "µs")
        report.compare(f"{what}: scikit-learn", theirs / n * 1e6, unit="µs")


def in_turns(calls: list[Callable[[], Any]], runs: int) -> list[float]:
    """The median processor time of each call, seconds; each run repeats a call for some hundredths of a second."""
    taken: list[list[float]] = [[] for _ in calls]
    for turn in range(runs + 1):
        for found, call in zip(taken, calls, strict=True):
            repeats, began = 0, time.process_time()
            while (spent := time.process_time() - began) < 0.03:
                call()
                repeats += 1
            if turn:
                found.append(spent / repeats)
    return [statistics.median(found) for found in taken]


def fitted(estimator: str, kind: str, rows: int) -> tuple[Any, Any]:
    """A model as the train step makes it, and rows that it has not seen."""
    from engine.steps import estimators, train
    from engine.steps.model_files import LoadedModel, Origin
    from engine.steps.schema import Feature, Schema, Table

    frame, kinds, target = table(kind, rows)
    features = tuple(Feature(name, of) for name, of in kinds.items())
    schema = Schema("binary", "target", ("no", "yes"), "yes", features, {}, None, "", {})
    seen = frame.iloc[: rows * 2 // 3]
    chosen = estimators.find(estimators.chosen(estimator, schema), "binary")
    model = train.model_of(chosen, {}, Table(seen, target[: len(seen)], seen), schema, 0, prepared=True)
    model.fit(seen, target[: len(seen)])
    train.settle(model)
    meta = Origin(schema, estimator, 0, {}).to_meta() | {"format": "skops"}
    return LoadedModel(model, meta), frame.iloc[len(seen) :]


def table(kind: str, rows: int) -> tuple[Any, dict[str, Any], Any]:
    """Features, their kinds, and a target with two classes that depends on some of them."""
    import numpy as np
    import pandas as pd

    generator = np.random.default_rng(0)
    numbers = generator.normal(size=(rows, 20))
    push = numbers[:, 0] + numbers[:, 1] * numbers[:, 2] + generator.normal(size=rows)
    target = pd.Series(np.where(push > 0, "yes", "no").astype(object))
    frame = pd.DataFrame(numbers, columns=[f"x{i}" for i in range(20)])
    kinds: dict[str, Any] = dict.fromkeys(frame.columns, "numeric")
    if kind == "numbers":
        return frame, kinds, target
    words = np.array(["no", "yes", "none", "month", "year", "fibre", "card", "cheque"], dtype=object)
    for number in range(3, 18):
        name = f"x{number}"
        frame[name] = words[(numbers[:, number] * 2 + 4).astype(int) % (2 + number % 6)]
        frame.loc[generator.random(rows) < 0.02, name] = np.nan
        kinds[name] = "categorical"
    frame["x18"], kinds["x18"] = numbers[:, 18] > 0, "boolean"
    frame.loc[generator.random(rows) < 0.05, "x0"] = np.nan
    return frame, kinds, target
