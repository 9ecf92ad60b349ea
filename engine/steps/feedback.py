"""Labelled predictions as further rows of the table that is split.

They have what the model was given, what it turned out to be, and the time of the prediction as their timestamp; columns
that the model is not given are missing. Of rows with the same id that of the table counts, else the newest prediction.
Raises StepError.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.errors import StepError
from engine.steps.columns import Kind

if TYPE_CHECKING:
    import pandas as pd


def with_feedback(
    frame: pd.DataFrame,
    kinds: Mapping[str, Kind],
    path: Path,
    *,
    target: str,
    id: str | None,
    timestamp: str | None,
) -> tuple[pd.DataFrame, int]:
    """The table with the rows of a `feedback` step below it, and how many of them there are.

    `frame` has the known rows, its target as it is learned: labels, or numbers.
    """
    import pandas as pd
    import pyarrow.parquet as pq

    rows = pq.ParquetFile(path).read().to_pylist()
    if id is not None:
        rows = _once(rows, {str(value) for value in frame[id].dropna()})
    if not rows:
        return frame, 0
    if timestamp is not None and kinds[timestamp] != "date":
        raise StepError(
            f"data.timestamp is {timestamp}, whose values are {kinds[timestamp]}: rows of feedback have dates",
            remedy="Write dates there, or remove data.timestamp: then rows are in the order of the table.",
        )
    features = [json.loads(row["features"]) for row in rows]
    columns = {
        name: _column([each.get(name) for each in features], kinds[name])
        for name in frame.columns
        if name not in (target, id, timestamp)
    }
    if id is not None:
        columns[id] = _column([row["identity"] for row in rows], kinds[id])
    if timestamp is not None:
        columns[timestamp] = pd.Series([row["at"] for row in rows]).dt.tz_localize(None).astype("datetime64[us]")
    columns[target] = pd.Series([json.loads(row["actual"]) for row in rows])
    further = pd.DataFrame({name: columns[name] for name in frame.columns})
    return pd.concat([frame, further.astype({target: frame[target].dtype})], ignore_index=True), len(rows)


def _once(rows: Sequence[Mapping[str, Any]], known: set[str]) -> list[Mapping[str, Any]]:
    """Rows, oldest first, without those whose id is known or comes again."""
    kept: list[Mapping[str, Any]] = []
    for row in reversed(rows):
        identity = row["identity"]
        if identity is not None and identity in known:
            continue
        if identity is not None:
            known.add(identity)
        kept.append(row)
    return kept[::-1]


def _column(values: Sequence[Any], kind: Kind) -> pd.Series[Any]:
    """Values of JSON as a column of a kind; missing where they are null."""
    import numpy as np
    import pandas as pd

    column: pd.Series[Any] = pd.Series([np.nan if value is None else value for value in values], dtype=object)
    if kind == "numeric":
        column = pd.to_numeric(column, errors="coerce").astype(float)
    elif kind == "date":
        moments = pd.to_datetime(column, format="ISO8601", utc=True, errors="coerce")
        column = moments.dt.tz_localize(None).astype("datetime64[us]")
    elif kind != "boolean":
        column = column.map(str, na_action="ignore")
    return column
