"""What may give the answer away: features that alone tell the target, rows on both sides, features that name rows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from engine.stats import classification, regression
from engine.steps.examining.groups import MISSING
from engine.steps.examining.subject import Subject
from engine.steps.schema import class_numbers

if TYPE_CHECKING:
    import pandas as pd

BINS = 50
NEARLY_ALL = 0.98  # of a feature's values are different: it names rows
MEASURES = {"binary": "ROC AUC", "multiclass": "accuracy", "regression": "R²"}


def measure(_request: Mapping[str, Any], subject: Subject) -> dict[str, Any]:
    """`{features: {name: skill}, measure, duplicates (share of hold-out rows), ids, rows}`."""
    skills = {feature.name: _alone(subject, feature.name) for feature in subject.schema.features}
    return {
        "rows": len(subject.truth),
        "features": skills,
        "measure": MEASURES[subject.schema.task],
        "duplicates": _duplicates(subject),
        "ids": _ids(subject),
    }


def _alone(subject: Subject, name: str) -> float | None:
    """What one feature tells: each of its values (numbers: fifty quantile bins) predicts what it had in training."""
    import numpy as np
    import pandas as pd

    schema, train = subject.schema, subject.training_rows
    learned, asked = _cells(train.features[name], subject.table.features[name])
    if schema.is_regression:
        target = train.target.astype(float)
        means = target.groupby(learned.to_numpy()).mean()
        predicted = asked.map(means).fillna(float(target.mean())).to_numpy(dtype=float)
        return regression.point_values(subject.truth, predicted)["r2"]
    numbers = class_numbers(train.target, schema.classes)
    counts = pd.crosstab(learned.to_numpy(), numbers).reindex(columns=range(len(schema.classes)), fill_value=0)
    prior = np.bincount(numbers, minlength=len(schema.classes)) / max(1, len(numbers))
    shares = ((counts + prior).div(counts.sum(axis=1) + 1, axis=0)).reindex(asked.to_numpy())
    probabilities = np.where(np.isnan(shares.to_numpy()), prior, shares.to_numpy())
    if schema.positive_number is None:
        return float((probabilities.argmax(axis=1) == subject.truth).mean())
    found = classification.ProbabilityScores.of(subject.truth, probabilities, schema.positive_number)
    return float(dict(zip(found.keys, found.at(None).tolist(), strict=True))["roc_auc", None])


def _cells(learned: pd.Series[Any], asked: pd.Series[Any]) -> tuple[pd.Series[Any], pd.Series[Any]]:
    """Both columns as texts: values, or the numbers of quantile bins of the training rows."""
    import numpy as np

    if learned.dtype.kind in "iufM" and learned.nunique() > BINS:
        whole = learned.dropna().astype("int64") if learned.dtype.kind == "M" else learned.dropna().astype(float)
        edges = np.unique(np.quantile(whole, np.linspace(0, 1, BINS + 1)[1:-1]))

        def cells(column: pd.Series[Any]) -> pd.Series[Any]:
            gaps = column.isna()
            numbers = column.astype("int64") if column.dtype.kind == "M" else column.astype(float)
            places = np.searchsorted(edges, numbers.to_numpy(), side="left")
            return _texts(column.__class__(places, index=column.index), gaps)

        return cells(learned), cells(asked)
    return _texts(learned, learned.isna()), _texts(asked, asked.isna())


def _texts(column: pd.Series[Any], gaps: Any) -> pd.Series[Any]:
    texts: pd.Series[Any] = column.astype(str).where(~gaps, MISSING)
    return texts


def _duplicates(subject: Subject) -> float:
    """The share of hold-out rows whose features and target are those of a training row."""
    import pandas as pd

    if not subject.schema.features:
        return 0.0
    tables = (subject.training_rows, subject.table)
    learned, held = (
        pd.util.hash_pandas_object(table.features.assign(**{"\0target": table.target}), index=False) for table in tables
    )
    return float(held.isin(set(learned)).mean())


def _ids(subject: Subject) -> list[str]:
    """Features that name rows: nearly every value is different, and it is a text without spaces or counts rows."""
    import pandas as pd

    found = []
    for feature in subject.schema.features:
        column = pd.concat([subject.training_rows.features[feature.name], subject.table.features[feature.name]])
        known = column.dropna()
        if len(known) < 20 or known.nunique() < NEARLY_ALL * len(known):
            continue
        if feature.kind in ("categorical", "text"):
            if not known.astype(str).str.contains(r"\s").mean() > 0.5:
                found.append(feature.name)
        elif feature.kind == "numeric" and (known.astype(float) % 1 == 0).all():
            spread = float(known.astype(float).max() - known.astype(float).min()) + 1
            if spread < 3 * len(known):  # a counter, not a quantity that happens to differ
                found.append(feature.name)
    return found
