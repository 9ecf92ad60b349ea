"""What a gateway needs of the hold-out: some rows with the model's answers, and the range of a regression's scores.

The rows are as a client would send them: JSON values, null for what is missing, dates as ISO 8601.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from engine.steps.schema import Schema, Table

if TYPE_CHECKING:
    import pandas as pd

ROWS = 50
_QUANTILES = (0.005, 0.995)


def serving_facts(table: Table, prediction: Any, probabilities: Any, schema: Schema) -> Mapping[str, Any]:
    """`golden`: {rows, predictions, probabilities by class or None}; `score_range`: [low, high] or None.

    prediction: (n,) class numbers or values, all usable; probabilities: (n, k) or None.
    """
    import numpy as np

    features = table.features.head(ROWS)
    columns = {str(name): _json_values(features[name]) for name in features.columns}
    rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    shares = None
    if probabilities is not None:
        shares = [dict(zip(schema.classes, row, strict=True)) for row in np.asarray(probabilities)[:ROWS].tolist()]
    first = prediction[:ROWS].tolist()
    low_high = None
    if schema.is_regression:
        low_high = [float(value) for value in np.quantile(prediction, _QUANTILES)]
    else:
        first = [schema.classes[number] for number in first]
    return {"golden": {"rows": rows, "predictions": first, "probabilities": shares}, "score_range": low_high}


def _json_values(series: pd.Series[Any]) -> list[Any]:
    import numpy as np

    if series.dtype.kind == "M":
        moments = series.to_numpy().astype("datetime64[us]")
        texts = np.datetime_as_string(moments).tolist()
        return [None if gap else text for text, gap in zip(texts, np.isnat(moments).tolist(), strict=True)]
    return [None if value is None or value != value else value for value in series.to_numpy().tolist()]
