"""The evaluate step: what the model is worth on rows that it never saw.

Inputs: `model`, `holdout`, `schema`, further roles for a predict command. Settings: `{"training": {"predict": argv}}`
for that command. Outputs: `predictions` (position, truth, prediction, probabilities), `report` (evaluation.json: every
metric with its bootstrap interval, the same of a model that ignores the features, confusion, curves, golden rows for
serving), `figures` and `reference` (the hold-out's profile, with which live data is compared).
Predictions that are missing, not finite or of no known class make the report an `error`, never a number.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING, Any

from engine.core.canonical import canonical_json
from engine.errors import EngineError, StepError
from engine.ports import StepContext, StepOutcome
from engine.spec.metrics import METRICS
from engine.stats import classification, curves, regression
from engine.stats.bootstrap import CONFIDENCE
from engine.stats.estimate import Estimate, Key
from engine.steps.failures import failure
from engine.steps.golden import serving_facts
from engine.steps.model_files import LoadedModel, command_model, load_stored
from engine.steps.reference import reference_profile
from engine.steps.schema import Schema, Table, class_numbers, read_rows
from engine.steps.stored_files import StoredFile
from engine.steps.table import write_parquet

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

SEED = 0  # of the bootstrap: the interval is a function of the predictions
HEADLINES = {"binary": ("f1_score", "roc_auc"), "multiclass": ("accuracy", "f1_score"), "regression": ("rmse", "r2")}


@dataclass(frozen=True)
class Answers:
    """What a model said of the hold-out. `error` is set when it cannot be measured.

    prediction: (n,) class numbers or values; probabilities: (n, k) or None.
    """

    prediction: Any
    probabilities: Floats | None = None
    error: str = ""
    notes: Sequence[str] = field(default=())


def run(context: StepContext) -> StepOutcome:
    """Measure the model. Raises StepError when it cannot be loaded or cannot predict."""
    from engine.steps.figures import draw

    schema = Schema.read(context.inputs["schema"])
    table = read_rows(context.inputs["holdout"], schema)
    further = {role: path for role, path in context.inputs.items() if role not in ("model", "holdout", "schema")}
    model = load(context, extra=further)
    answers = ask(model, table, schema)
    write_predictions(context, table, schema, answers)
    report = evaluation_of(answers, table, schema, model.meta)
    if not answers.error:
        report["serving"] = serving_facts(table, answers.prediction, answers.probabilities, schema)
    context.outputs["report"].write_text(canonical_json(report) + "\n", encoding="utf-8")
    usable = None if answers.error else answers.prediction
    profile = reference_profile(table, usable, answers.probabilities, schema)
    context.outputs["reference"].write_bytes(profile.to_bytes())
    context.outputs["figures"].mkdir(parents=True, exist_ok=True)
    draw(report, table, answers, context.outputs["figures"])
    facts = {"rows": len(table.features), "metrics": report["metrics"], "notes": report["notes"]}
    if answers.error:
        facts["error"] = answers.error
    return StepOutcome(facts, summary(report))


def load(context: StepContext, role: str = "model", extra: Mapping[str, Path] | None = None) -> LoadedModel:
    """An input as a model, from verified bytes; through its predict command, which gets the inputs `extra` too.

    Raises IntegrityError for what runs code and is not signed by our own training, StepError.
    """
    training, stored = context.settings.get("training") or {}, context.models[role]
    if training.get("predict") is None:
        files = {name: StoredFile(*place) for name, place in stored.files.items()}
        return load_stored(files, Path(mkdtemp(dir=context.scratch)) / "model", signed=stored.signed)
    return command_model(
        context.inputs[role],
        training["predict"],
        context.scratch,
        extra=extra or {},
        environment={name: context.resolve(value) for name, value in (training.get("environment") or {}).items()},
        signed=stored.signed,
    )


def summary(report: Mapping[str, Any]) -> str:
    """The headline metrics in one line, or what went wrong."""
    if "error" in report:
        return f"cannot be measured: {report['error']}"
    parts = []
    for name in HEADLINES[report["task"]]:
        entry = report["metrics"][name]
        if entry["value"] is None:
            parts.append(f"{name} undefined")
            continue
        interval = "" if entry["low"] is None else f" [{entry['low']:.3f}, {entry['high']:.3f}]"
        parts.append(f"{name} {entry['value']:.3f}{interval}")
    return ", ".join(parts)


def ask(model: LoadedModel, table: Table, schema: Schema) -> Answers:
    """The model's predictions for the features of a table, checked. Raises StepError."""
    import numpy as np

    rows = len(table.features)
    if rows == 0:
        return Answers(np.zeros(0, dtype=np.int64), error="the hold-out has no rows")
    try:
        raw, probabilities = model.answers(table.features)
    except EngineError:
        raise
    except Exception as error:
        raise failure("the model cannot predict:", error) from error
    found = np.asarray(raw).reshape(-1)
    if found.size != rows:
        raise StepError(
            f"the model gave {found.size} predictions for {rows} rows", remedy="One for each row is needed."
        )
    if schema.is_regression:
        return _checked_values(found)
    return _checked_classes(found, probabilities, schema)


def _checked_values(found: Any) -> Answers:
    import numpy as np

    try:
        values = found.astype(np.float64)
    except (TypeError, ValueError):
        raise StepError("the model's predictions are not numbers", remedy="A regressor predicts numbers.") from None
    bad = int((~np.isfinite(values)).sum())
    return Answers(values, error=f"{bad:,} of {values.size:,} predictions are not finite" if bad else "")


def _checked_classes(found: Any, probabilities: Any, schema: Schema) -> Answers:
    import numpy as np
    import pandas as pd

    numbers = class_numbers(found, schema.classes)
    gone = int(pd.isna(found).sum())
    if gone:
        return Answers(numbers, probabilities, f"{gone:,} of {found.size:,} predictions are missing")
    foreign = found[numbers < 0]
    if foreign.size:
        what = f"{foreign.size:,} of {found.size:,} predictions are of no known class, such as {foreign[0]!r}"
        return Answers(numbers, probabilities, what)
    if probabilities is None:
        return Answers(numbers, notes=["the model gives no probabilities"])
    bad = int((~np.isfinite(probabilities).all(axis=1)).sum())
    if bad:
        return Answers(numbers, probabilities, f"{bad:,} of {found.size:,} rows have probabilities that are not finite")
    off = (probabilities < -1e-6).any() or (np.abs(probabilities.sum(axis=1) - 1) > 1e-3).any()
    if off:
        return Answers(numbers, probabilities, "the probabilities of a row do not sum to 1")
    return Answers(numbers, probabilities)


def write_predictions(context: StepContext, table: Table, schema: Schema, answers: Answers) -> None:
    """predictions.parquet: a row for each hold-out row, in its order."""
    import numpy as np
    import pandas as pd

    prediction = answers.prediction
    if not schema.is_regression:
        names = np.array([*schema.classes, None], dtype=object)
        prediction = names[prediction]
    columns: dict[str, Any] = {
        "row": np.arange(len(table.features)),
        "truth": table.target.to_numpy(),
        "prediction": prediction,
    }
    if answers.probabilities is not None:
        columns |= {f"probability_{name}": answers.probabilities[:, i] for i, name in enumerate(schema.classes)}
    write_parquet(pd.DataFrame(columns), context.outputs["predictions"])


def evaluation_of(answers: Answers, table: Table, schema: Schema, meta: Mapping[str, Any]) -> dict[str, Any]:
    """evaluation.json: all metrics of the task with intervals, the baseline's, confusion matrix and curves."""
    report: dict[str, Any] = {
        "format_version": 1,
        "task": schema.task,
        "target": schema.target,
        "classes": list(schema.classes),
        "positive": schema.positive,
        "rows": {"train": schema.rows.get("train"), "holdout": len(table.features)},
        "confidence": CONFIDENCE,
        "metrics": {},
        "by_average": {},
        "baseline": {},
        "confusion": None,
        "curves": {},
        "notes": list(answers.notes),
    }
    if answers.error:
        nothing = Estimate(None, reason=answers.error)
        names = [name for name, metric in METRICS.items() if schema.task in metric.tasks]
        return report | {"error": answers.error, "metrics": {name: nothing.to_json() for name in names}}
    if schema.is_regression:
        measured, baseline = _values(answers, table, meta)
        report["curves"] = {"residuals": curves.residual_summary(table.target.to_numpy(), answers.prediction)}
    else:
        truth = class_numbers(table.target, schema.classes)
        measured, baseline = _classes(answers, truth, schema, meta)
        matrix = classification.confusion_matrix(truth, answers.prediction, len(schema.classes))
        report["confusion"] = {"labels": list(schema.classes), "counts": matrix.tolist()}
        report["curves"] = curves.classification_curves(truth, answers.probabilities, schema.positive_number)
        report["notes"] += _notes(matrix, schema)
    report["metrics"], report["by_average"] = _tables(measured, schema.task)
    report["baseline"] = baseline
    return report


def _values(answers: Answers, table: Table, meta: Mapping[str, Any]) -> tuple[dict[Key, Estimate], dict[str, Any]]:
    import numpy as np

    truth = table.target.to_numpy(dtype=np.float64)
    constant = np.full_like(truth, meta["baseline"]["mean"])
    baseline = {name: _number(value) for name, value in regression.point_values(truth, constant).items()}
    return regression.measure(truth, answers.prediction, SEED), baseline


def _classes(
    answers: Answers, truth: Any, schema: Schema, meta: Mapping[str, Any]
) -> tuple[dict[Key, Estimate], dict[str, Any]]:
    import numpy as np

    count, positive = len(schema.classes), schema.positive_number
    measured = classification.measure(truth, answers.prediction, answers.probabilities, count, positive, SEED)
    if answers.probabilities is None:
        reason = "the model gives no probabilities"
        for name, metric in METRICS.items():
            if metric.needs == "probabilities" and schema.task in metric.tasks:
                measured[name, None] = Estimate(None, reason=reason)
    shares = np.asarray(meta["baseline"]["shares"], dtype=np.float64)
    constant = np.full(truth.size, int(shares.argmax()))
    points = classification.point_values(truth, constant, np.tile(shares, (truth.size, 1)), count, positive)
    return measured, {name: _number(value) for (name, average), value in points.items() if average is None}


def _tables(measured: Mapping[Key, Estimate], task: str) -> tuple[dict[str, Any], dict[str, Any]]:
    metrics: dict[str, Any] = {}
    by_average: dict[str, Any] = {}
    for (name, average), estimate in sorted(measured.items(), key=lambda item: (item[0][0], item[0][1] or "")):
        if average is not None:
            by_average.setdefault(name, {})[average] = estimate.to_json()
            continue
        default = METRICS[name].default_average(task)  # type: ignore[arg-type]
        metrics[name] = estimate.to_json() | ({"average": default} if default else {})
    return metrics, by_average


def _notes(matrix: Any, schema: Schema) -> list[str]:
    notes = []
    for number, name in enumerate(schema.classes):
        if matrix[number].sum() == 0:
            notes.append(f"no hold-out row is of class {name}")
        if matrix[:, number].sum() == 0:
            notes.append(f"class {name} is never predicted")
    return notes


def _number(value: float) -> float | None:
    import math

    return float(value) if math.isfinite(value) else None
