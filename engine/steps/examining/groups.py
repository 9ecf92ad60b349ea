"""Groups of hold-out rows by the values of columns.

A column of numbers or dates with more than `MOST_VALUES` different values is cut at its quartiles. Rows without a
value are a group of their own. Of several columns the values together name a group.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from engine.steps.examining.subject import Subject

if TYPE_CHECKING:
    import pandas as pd

MOST_VALUES = 12
MISSING = "(missing)"


def groups_by(subject: Subject, by: str | Sequence[str], field: str) -> tuple[Any, list[str]]:
    """Each row's group number, (n,), and the groups' names, sorted. Raises StepError for a column that is not there."""
    import pandas as pd

    columns = [by] if isinstance(by, str) else list(by)
    labels = [labels_of(subject.column(name, field)) for name in columns]
    joined = labels[0]
    for more in labels[1:]:
        joined = joined + ", " + more
    codes, names = pd.factorize(joined, sort=True)
    return codes, [str(name) for name in names]


def labels_of(column: pd.Series[Any]) -> pd.Series[Any]:
    """The group of each row as a text. (n,) → (n,)."""
    import numpy as np
    import pandas as pd

    gaps = column.isna()
    if column.dtype.kind in "iufM" and column.nunique() > MOST_VALUES:
        numbers = column.astype("int64" if column.dtype.kind == "M" else "float64").where(~gaps)
        edges = np.unique(np.nanquantile(numbers, [0.25, 0.5, 0.75]))
        places = np.searchsorted(edges, numbers.to_numpy(), side="left")
        shown = [_edge(column, edge) for edge in edges]
        names = [f"≤ {shown[0]}", *(f"{a} to {b}" for a, b in pairwise(shown)), f"> {shown[-1]}"]
        labels = pd.Series(np.array(names, dtype=object)[places], index=column.index)
    else:
        labels = column.map(_text)
    named: pd.Series[Any] = labels.astype(object).where(~gaps, MISSING).astype(str)
    return named


def _text(value: Any) -> str:
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def _edge(column: pd.Series[Any], edge: float) -> str:
    import pandas as pd

    return str(pd.Timestamp(int(edge)).date()) if column.dtype.kind == "M" else f"{edge:g}"
