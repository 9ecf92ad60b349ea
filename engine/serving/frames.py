"""Checked JSON values → the typed columns that a model was trained on (see `steps/columns.py`).

Numbers become float64 with NaN for null, booleans and strings objects with NaN for null (bool without gaps), dates
datetime64[us] in UTC. Raises Refusal for what JSON allows and a column does not: infinite numbers, no dates.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from engine.serving.refusal import Refusal
from engine.serving.signature import WORDS, Signature

if TYPE_CHECKING:
    from numpy.typing import NDArray


def columns_of(signature: Signature, columns: Sequence[Sequence[Any]]) -> dict[str, NDArray[Any]]:
    """Arrays by feature, each (n,)."""
    return {name: _array(name, kind, values) for (name, kind), values in zip(signature.features, columns, strict=True)}


def _array(name: str, kind: str, values: Sequence[Any]) -> NDArray[Any]:
    import numpy as np

    if kind == "numeric":
        try:
            numbers = np.array(values, dtype=np.float64)
        except OverflowError:
            raise _refused(name, "holds a number beyond the range of 64-bit floats") from None
        if np.isinf(numbers).any():
            raise _refused(name, "holds a number beyond the range of 64-bit floats")
        return numbers
    if kind == "date":
        return _dates(name, values)
    gaps = None in values
    if kind == "boolean" and not gaps:
        return np.array(values, dtype=bool)
    column = np.empty(len(values), dtype=object)
    column[:] = [np.nan if value is None else value for value in values] if gaps else values
    return column


def _dates(name: str, values: Sequence[Any]) -> NDArray[Any]:
    import pandas as pd

    try:
        moments = pd.to_datetime(list(values), format="ISO8601", utc=True)
    except (ValueError, OverflowError):
        raise _refused(name, f"{WORDS['date']} is expected") from None
    dates: NDArray[Any] = moments.tz_localize(None).as_unit("us").to_numpy()
    return dates


def _refused(name: str, problem: str) -> Refusal:
    return Refusal(422, f"the rows do not fit the model: {name}: {problem}", [{"column": name, "problem": problem}])
