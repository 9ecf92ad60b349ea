"""The plain way: columns of JSON values → a DataFrame with the types of training → the model's own answers.

A value is None (missing), a bool, a number or a string. What a feature's kind cannot be made of is a StepError that
names every such feature; infinite numbers count as missing, as in training.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from engine.errors import StepError
from engine.serving.compiled.dates import microseconds
from engine.steps.model_files import LoadedModel

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

Columns: TypeAlias = Mapping[str, Sequence[object]]
"""The values of each feature by its name; all of the same length."""

Answers: TypeAlias = "tuple[list[Any], NDArray[np.float64] | None]"
"""Predictions as the model gives them, (n,), and probabilities in the order of the model's classes, (n, k)."""

_TRUTHS: Mapping[Any, Any] = {True: True, False: False, None: math.nan}
_EXPECTED = {"numeric": "a number", "boolean": "true or false", "date": "a date", "categorical": "a word or number"}


class Answering(Protocol):
    """What answers requests: a compiled model or a plain one."""

    def answers(self, columns: Columns, n: int) -> Answers:
        """Answers for n rows. Raises StepError for values that the features cannot have, and the model's own errors."""


class Plain:
    """A loaded model behind the interface of compiled ones. `sample`, rows of training, tells the exact types."""

    def __init__(self, loaded: LoadedModel, sample: pd.DataFrame | None = None) -> None:
        self.loaded = loaded
        self._whole = frozenset(
            feature["name"]
            for feature in loaded.meta["features"]
            if sample is not None and feature["kind"] == "numeric" and sample[feature["name"]].dtype.kind in "iu"
        )

    def answers(self, columns: Columns, n: int) -> Answers:
        """Answers for n rows. Raises StepError for values that the features cannot have, and the model's own errors."""
        import numpy as np

        predictions, probabilities = self.loaded.answers(self.frame(columns, n))
        found = np.asarray(predictions).reshape(-1)
        if found.size != n:
            raise StepError(f"the model gave {found.size} predictions for {n} rows", remedy="One for each is needed.")
        return found.tolist(), probabilities

    def frame(self, columns: Columns, n: int) -> pd.DataFrame:
        """The rows with the types that `engine.steps.columns` promises. Raises StepError."""
        import pandas as pd

        missing = [name for name in self.loaded.features if name not in columns]
        if missing:
            raise StepError(f"the rows lack {', '.join(missing)}", remedy=f"Needed: {', '.join(self.loaded.features)}.")
        series, wrong = {}, []
        for feature in self.loaded.meta["features"]:
            name, kind = feature["name"], feature["kind"]
            values = columns[name]
            if len(values) != n:
                wrong.append(f"{name} has {len(values)} values for {n} rows")
                continue
            try:
                array = _array(kind, values, whole=name in self._whole)
            except (KeyError, TypeError, ValueError, OverflowError):
                wrong.append(f"{name} must be {_EXPECTED.get(kind, 'a text')} in every row")
                continue
            series[name] = pd.Series(array, dtype=array.dtype)
        if wrong:
            raise StepError("; ".join(wrong), remedy="A missing value is null.")
        frame: pd.DataFrame = pd.DataFrame(series, index=pd.RangeIndex(n))
        return frame


def _array(kind: str, values: Sequence[object], *, whole: bool) -> NDArray[Any]:
    import numpy as np

    array: NDArray[Any]
    if kind == "numeric":
        array = np.array(values, dtype=np.float64)
        if array.ndim != 1:
            raise ValueError("nested values")
        array[np.isinf(array)] = np.nan
        return array.astype(np.int64) if whole and (array % 1 == 0).all() else array
    if kind == "date":
        gap = np.iinfo(np.int64).min  # how NumPy stores NaT
        moments = [gap if value is None else microseconds(value) for value in values]  # type: ignore[arg-type]
        return np.array(moments, dtype=np.int64).view("datetime64[us]")
    if any(isinstance(value, (list, dict)) for value in values):
        raise TypeError("nested values")
    if kind == "boolean":
        truths = [_TRUTHS[value] for value in values]
        return np.array(truths, dtype=object if None in values else bool)
    if kind == "text" and not all(value is None or isinstance(value, str) for value in values):
        raise TypeError("not a text")
    array = np.empty(len(values), dtype=object)
    array[:] = [np.nan if value is None else value for value in values]
    return array


def columns_of(frame: pd.DataFrame) -> dict[str, list[object]]:
    """The rows of a DataFrame as they would come in JSON: missing values are None, dates ISO texts."""
    return {str(name): _json_values(frame[name]) for name in frame.columns}


def _json_values(series: pd.Series[Any]) -> list[object]:
    import numpy as np

    if series.dtype.kind == "M":
        moments = series.to_numpy().astype("datetime64[us]")
        texts = np.datetime_as_string(moments).tolist()
        return [None if gap else text for text, gap in zip(texts, np.isnat(moments).tolist(), strict=True)]
    values = series.to_numpy().tolist()
    return [None if value is None or value != value else value for value in values]
