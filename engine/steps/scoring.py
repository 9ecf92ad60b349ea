"""One number for a model on some rows, by a metric's name: what tuning compares."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from engine.errors import StepError
from engine.spec.metrics import METRICS
from engine.stats import classification, regression
from engine.steps.schema import Schema, class_numbers

if TYPE_CHECKING:
    import pandas as pd

USUAL = {"binary": "roc_auc", "multiclass": "log_loss", "regression": "rmse"}


def check_metric(metric: str, schema: Schema) -> None:
    """Raise StepError for a metric that does not fit the task."""
    if schema.task not in METRICS[metric].tasks:
        raise StepError(
            f"{metric} is not a metric of a {schema.task} task", remedy=f"Usual for it: {USUAL[schema.task]}."
        )


def score(model: Any, features: pd.DataFrame, target: pd.Series[Any], metric: str, schema: Schema) -> float:
    """The metric of a fitted model; NaN where the rows leave it undefined. Raises StepError."""
    import numpy as np

    if schema.is_regression:
        predicted = np.asarray(model.predict(features), dtype=np.float64).reshape(-1)
        return regression.point_values(target.to_numpy(dtype=np.float64), predicted)[metric]
    truth = class_numbers(target, schema.classes)
    if METRICS[metric].needs == "labels":
        predicted_numbers = class_numbers(model.predict(features), schema.classes)
        matrix = classification.confusion_matrix(truth, predicted_numbers, len(schema.classes))
        return float(classification.label_metrics(matrix, schema.positive_number)[metric, None])
    if not hasattr(model, "predict_proba"):
        raise StepError(
            f"{metric} needs probabilities, which {type(model).__name__} does not give",
            remedy="Tune by a metric of predicted classes, such as f1_score.",
        )
    probabilities = _all_classes(model, features, schema)
    scores = classification.ProbabilityScores.of(truth, probabilities, schema.positive_number)
    return float(dict(zip(scores.keys, scores.at(None).tolist(), strict=True))[metric, None])


def _all_classes(model: Any, features: pd.DataFrame, schema: Schema) -> Any:
    """Probabilities with a column for every class, also those that a fold did not hold."""
    import numpy as np

    found = np.asarray(model.predict_proba(features), dtype=np.float64)
    spread = np.zeros((len(found), len(schema.classes)))
    spread[:, class_numbers(model.classes_, schema.classes)] = found
    return spread
