"""What `split` says of its tables, and the features and target of one of them.

The files keep every column; only `schema.features` are features. Labels of classes are strings, sorted; a class
number is a label's place in `classes`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.errors import StepError
from engine.steps.columns import Kind
from engine.steps.table import read_parquet

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray


@dataclass(frozen=True)
class Feature:
    """A column to learn from."""

    name: str
    kind: Kind


@dataclass(frozen=True)
class Schema:
    """The roles of the columns and the task, as in schema.json."""

    task: str  # binary, multiclass, regression
    target: str
    classes: tuple[str, ...]
    positive: str | None
    features: tuple[Feature, ...]
    rows: Mapping[str, int]
    group: str | None
    strategy: str
    document: Mapping[str, Any]

    @staticmethod
    def read(path: Path) -> Schema:
        """The schema in a file that `split` wrote."""
        document = json.loads(path.read_text(encoding="utf-8"))
        return Schema(
            document["task"],
            document["target"],
            tuple(document["classes"]),
            document["positive"],
            tuple(Feature(f["name"], f["kind"]) for f in document["features"]),
            document["rows"],
            document.get("group"),
            document.get("strategy", ""),
            document,
        )

    @property
    def is_regression(self) -> bool:
        """Whether the target is a quantity."""
        return self.task == "regression"

    @property
    def positive_number(self) -> int | None:
        """The class number of the positive class of two."""
        return None if self.positive is None else self.classes.index(self.positive)

    def names(self, *kinds: Kind) -> list[str]:
        """The features of these kinds, all without one, in the table's order."""
        return [f.name for f in self.features if not kinds or f.kind in kinds]


@dataclass(frozen=True)
class Table:
    """Rows with their target. features: (n, p); target: (n,) strings or floats; frame: every column."""

    features: pd.DataFrame
    target: pd.Series[Any]
    frame: pd.DataFrame


def read_rows(path: Path, schema: Schema) -> Table:
    """The rows of train.parquet or holdout.parquet. Raises StepError when the file and the schema disagree."""
    frame = read_parquet(path)
    missing = [name for name in (*schema.names(), schema.target) if name not in frame.columns]
    if missing:
        raise StepError(f"{path.name} lacks the column {missing[0]}", remedy="Run split again: --replace split")
    target = frame[schema.target]
    target = target.astype(float) if schema.is_regression else target.astype(object)
    return Table(frame[schema.names()], target, frame)


def class_numbers(labels: Sequence[object] | Any, classes: Sequence[str]) -> NDArray[np.int64]:
    """Labels as class numbers, -1 for what is not a class. (n,) → (n,).

    A model may give its labels back as numbers or booleans: 1, 1.0, np.int64(1) and "1" are the same class.
    """
    import numpy as np
    import pandas as pd

    codes, distinct = pd.factorize(np.asarray(labels, dtype=object))
    place = {name: number for number, name in enumerate(classes)}
    numbers = np.array([place.get(_text(value), -1) for value in distinct] + [-1], dtype=np.int64)
    return numbers[codes]


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if hasattr(value, "item"):
        value = value.item()
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
