"""The hold-out as the reference of drift checks: its features, and what the model said of them.

Live data is compared with rows that the model never saw: on its training rows a model is more certain than it ever is
again. `columns_of` reads any other table, such as a batch in a file, in the same way. Column names of predictions are
those of the prediction log: `prediction`, and `score` where the model gives probabilities.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from engine.stats.drift import Column, Profile, profile_of
from engine.stats.drift.columns import Kind
from engine.steps.schema import Schema, Table

if TYPE_CHECKING:
    import pandas as pd


def reference_profile(table: Table, prediction: Any, probabilities: Any, schema: Schema) -> Profile:
    """The profile of a hold-out. prediction: (n,) class numbers or values, None if they cannot be used;
    probabilities: (n, k) or None."""
    features = columns_of(table.features, ((feature.name, feature.kind) for feature in schema.features))
    said = [] if prediction is None else predictions_of(prediction, probabilities, schema)
    return profile_of([*features, *said])


def columns_of(frame: pd.DataFrame, features: Iterable[tuple[str, Kind]]) -> list[Column]:
    """Those of the features that the table has, to be compared as the given kinds."""
    return [Column(name, kind, frame[name].to_numpy()) for name, kind in features if name in frame.columns]


def predictions_of(prediction: Any, probabilities: Any, schema: Schema) -> list[Column]:
    """What a model said, as columns. prediction: (n,) class numbers or values; probabilities: (n, k) or None.

    `score` is the probability of the positive class of two, of the predicted one of many.
    """
    import numpy as np

    if schema.is_regression:
        return [Column("prediction", "numeric", np.asarray(prediction, dtype=np.float64), "prediction")]
    labels = np.array(schema.classes, dtype=object)[prediction]
    said = [Column("prediction", "categorical", labels, "prediction")]
    if probabilities is not None:
        shares = np.asarray(probabilities, dtype=np.float64)
        place = schema.positive_number
        score = shares.max(axis=1) if place is None else shares[:, place]
        said.append(Column("score", "numeric", score, "prediction"))
    return said
