"""The names of metrics and what each one means: direction, range, tasks, what it is computed from.

One table for the spec's checks, for the step that computes them and for whatever compares two models.
Names are the field's own (scikit-learn's, where it has one); other spellings are aliases of one name.
"""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from typing import Literal, TypeAlias

Direction: TypeAlias = Literal["higher", "lower"]
Task: TypeAlias = Literal["binary", "multiclass", "regression"]
Average: TypeAlias = Literal["binary", "macro", "micro", "weighted"]

AVERAGES: tuple[Average, ...] = ("binary", "macro", "micro", "weighted")

_CLASSES: tuple[Task, ...] = ("binary", "multiclass")
_VALUES: tuple[Task, ...] = ("regression",)


@dataclass(frozen=True)
class Metric:
    """What is known of a metric without computing it.

    `better` says which end is good. `low` and `high` are the ends of its range (None: unbounded). `needs` is
    `labels` for what is computed from predicted classes or values, `probabilities` for
    what needs predicted probabilities.
    `averages` are the averaging options that apply, none for most; see `default_average`.
    """

    name: str
    title: str
    better: Direction
    tasks: tuple[Task, ...]
    low: float | None = None
    high: float | None = None
    needs: Literal["labels", "probabilities"] = "labels"
    averages: tuple[Average, ...] = ()
    aliases: tuple[str, ...] = ()

    def default_average(self, task: Task) -> Average | None:
        """How it is averaged when the spec does not say."""
        if not self.averages:
            return None
        return "binary" if task == "binary" and "binary" in self.averages else "macro"

    def contains(self, value: float) -> bool:
        """Whether the metric can take this value."""
        return (self.low is None or value >= self.low) and (self.high is None or value <= self.high)

    @property
    def range_text(self) -> str:
        """Its range for people."""
        low = "−∞" if self.low is None else f"{self.low:g}"
        high = "∞" if self.high is None else f"{self.high:g}"
        return f"{low} to {high}"


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("accuracy", "Accuracy", "higher", _CLASSES, 0, 1, aliases=("accuracy_score", "acc")),
        Metric(
            "balanced_accuracy",
            "Balanced accuracy",
            "higher",
            _CLASSES,
            0,
            1,
            aliases=("balanced_accuracy_score",),
        ),
        Metric(
            "f1_score",
            "F1",
            "higher",
            _CLASSES,
            0,
            1,
            averages=AVERAGES,
            aliases=("f1", "f1score", "f_score"),
        ),
        Metric(
            "precision",
            "Precision",
            "higher",
            _CLASSES,
            0,
            1,
            averages=AVERAGES,
            aliases=("precision_score", "ppv", "positive_predictive_value"),
        ),
        Metric(
            "recall",
            "Recall",
            "higher",
            _CLASSES,
            0,
            1,
            averages=AVERAGES,
            aliases=("recall_score", "sensitivity", "tpr", "true_positive_rate"),
        ),
        Metric(
            "specificity",
            "Specificity",
            "higher",
            _CLASSES,
            0,
            1,
            averages=AVERAGES,
            aliases=("tnr", "true_negative_rate"),
        ),
        Metric(
            "mcc",
            "Matthews correlation",
            "higher",
            _CLASSES,
            -1,
            1,
            aliases=("matthews_corrcoef", "matthews_correlation"),
        ),
        Metric("cohen_kappa", "Cohen's kappa", "higher", _CLASSES, -1, 1, aliases=("kappa", "cohen_kappa_score")),
        Metric(
            "roc_auc",
            "ROC AUC",
            "higher",
            _CLASSES,
            0,
            1,
            "probabilities",
            averages=("binary", "macro", "weighted"),
            aliases=("auc", "auroc", "roc_auc_score", "rocauc"),
        ),
        Metric(
            "average_precision",
            "Average precision",
            "higher",
            _CLASSES,
            0,
            1,
            "probabilities",
            averages=("binary", "macro", "weighted"),
            aliases=("pr_auc", "auprc", "average_precision_score"),
        ),
        Metric(
            "log_loss",
            "Log loss",
            "lower",
            _CLASSES,
            0,
            None,
            "probabilities",
            aliases=("logloss", "cross_entropy"),
        ),
        Metric(
            "brier",
            "Brier score",
            "lower",
            _CLASSES,
            0,
            2,
            "probabilities",
            aliases=("brier_score", "brier_score_loss"),
        ),
        Metric(
            "rmse",
            "Root mean squared error",
            "lower",
            _VALUES,
            0,
            None,
            aliases=("root_mean_squared_error",),
        ),
        Metric("mse", "Mean squared error", "lower", _VALUES, 0, None, aliases=("mean_squared_error",)),
        Metric("mae", "Mean absolute error", "lower", _VALUES, 0, None, aliases=("mean_absolute_error",)),
        Metric("median_absolute_error", "Median absolute error", "lower", _VALUES, 0, None, aliases=("medae",)),
        Metric("max_error", "Largest error", "lower", _VALUES, 0, None),
        Metric(
            "mape",
            "Mean absolute percentage error",
            "lower",
            _VALUES,
            0,
            None,
            aliases=("mean_absolute_percentage_error",),
        ),
        Metric("r2", "R²", "higher", _VALUES, None, 1, aliases=("r2_score", "r_squared", "rsquared")),
        Metric(
            "explained_variance",
            "Explained variance",
            "higher",
            _VALUES,
            None,
            1,
            aliases=("explained_variance_score",),
        ),
    )
}

_ALIASES: dict[str, str] = {alias: metric.name for metric in METRICS.values() for alias in metric.aliases}


def canonical_metric(name: str) -> str | None:
    """The table's name for a metric, however it is spelled (`f1`, `F1-Score`); None if there is none."""
    key = name.strip().lower().replace("-", "_").replace(" ", "_")
    return key if key in METRICS else _ALIASES.get(key)


@cache
def closest_metric(name: str) -> str | None:
    """The metric that was probably meant by a misspelled name."""
    found = get_close_matches(name.lower(), [*METRICS, *_ALIASES], n=1)
    return _ALIASES.get(found[0], found[0]) if found else None
