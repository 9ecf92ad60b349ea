"""What the target column says of the task: classes as labels, or a number to predict.

A stated task decides; else a numeric target with fractions or with more than 20 different values means
regression, and everything else classification. Labels are strings: `True`, `1` (never `1.0`), `Yes`; classes are
sorted as strings. The positive class of two is the stated one, else the second. Raises StepError.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from engine.errors import StepError
from engine.steps.columns import Kind

if TYPE_CHECKING:
    import pandas as pd

CLASSES_OF_NUMBERS = 20  # a whole-numbered target with more different values than this is a quantity

_CLASSIFICATION = ("binary", "multiclass", "classification")


def task_of(target: pd.Series[Any], kind: Kind, stated: str | None) -> str:
    """`binary`, `multiclass` or `regression` for the known values of a target. Raises StepError."""
    known = target.dropna()
    distinct = int(known.nunique())
    if distinct < 2:
        what = "has no value at all" if not distinct else f"has the one value {label(known.iloc[0])} in every row"
        raise StepError(f"the target {target.name} {what}", remedy="Nothing can be learned from it.")
    if kind == "date":
        raise StepError(f"the target {target.name} is a date", remedy="Turn it into a number or a class in a step.")
    if stated == "regression" and kind != "numeric":
        raise StepError(
            f"training.task is regression, but the target {target.name} is {kind}",
            remedy=f"Its values are such as {', '.join(sorted(labels(known).unique())[:3])}.",
        )
    if stated == "regression" or (stated not in _CLASSIFICATION and _is_quantity(known, kind)):
        return "regression"
    if kind == "numeric" and not (known % 1 == 0).all():
        raise StepError(
            f"training.task is {stated}, but the target {target.name} has fractional values",
            remedy="Use training.task: regression, or make classes of it in a step.",
        )
    if stated == "binary" and distinct > 2:
        raise StepError(
            f"training.task is binary, but the target {target.name} has {distinct} classes",
            remedy="Use training.task: classification.",
        )
    return "binary" if distinct == 2 and stated != "multiclass" else "multiclass"


def labels(target: pd.Series[Any]) -> pd.Series[Any]:
    """The classes of known target values, as strings."""
    import pandas as pd

    codes, distinct = pd.factorize(target)
    names = pd.Series([label(value) for value in distinct], dtype=object)
    named: pd.Series[Any] = pd.Series(names.to_numpy()[codes], index=target.index, name=target.name, dtype=object)
    return named


def label(value: object) -> str:
    """One class as a string: a whole number without a decimal point, `True` and `False` with a capital."""
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def positive_of(task: str, classes: list[str], stated: object) -> str | None:
    """The positive class of two; None for other tasks. Raises StepError for one that is not a class."""
    if task != "binary":
        if stated is not None:
            raise StepError(
                f"data.positive is {label(stated)}, but the task is {task}",
                remedy="Only a target with two classes has a positive one.",
            )
        return None
    if stated is None:
        return classes[1]
    wanted = label(stated)
    matches = [name for name in classes if name == wanted] or [n for n in classes if n.lower() == wanted.lower()]
    if len(matches) != 1:
        raise StepError(f"data.positive is {wanted}, but the classes are {' and '.join(classes)}", remedy="Name one.")
    return matches[0]


def summary_of(target: pd.Series[Any], task: str) -> Mapping[str, Any]:
    """Counts of the classes, or the range of the quantity, of known target values."""
    if task == "regression":
        figures = target.astype(float)
        return {"min": float(figures.min()), "max": float(figures.max()), "mean": float(figures.mean())}
    counts = labels(target).value_counts()
    return {"classes": {name: int(counts[name]) for name in sorted(counts.index)}}


def _is_quantity(known: pd.Series[Any], kind: Kind) -> bool:
    if kind != "numeric":
        return False
    return not (known % 1 == 0).all() or int(known.nunique()) > CLASSES_OF_NUMBERS
