"""Figures over columns: evaluates what `engine.spec.expressions` allows, with whole columns at once.

A missing value masks its row in everything that it enters, and aggregates leave masked rows out: as in SQL, but that a
row which lacks either side of an `and` or `or` is always left out.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING, Any

from engine.spec.expressions import check_condition, check_expression

if TYPE_CHECKING:
    from simpleeval import SimpleEval


@dataclass(frozen=True)
class Figure:
    """`rows` had every column that the expression reads. `value` is None where it is undefined: `reason` says why."""

    value: float | None
    rows: int
    reason: str = ""


def column_of(values: Sequence[Any]) -> Any:
    """A masked array, masked where a value is None or NaN: floats, booleans or objects. values: (n,) → (n,)."""
    import numpy as np

    missing = np.array([value is None or value != value for value in values], dtype=bool)
    kinds = {type(value) for value, gap in zip(values, missing, strict=True) if not gap}
    kind: Any = bool if kinds == {bool} else np.float64 if kinds <= {int, float, bool} else object
    fill: Any = False if kind is bool else 0.0 if kind is np.float64 else ""
    data = np.array([fill if gap else value for value, gap in zip(values, missing, strict=True)], dtype=kind)
    return np.ma.MaskedArray(data, mask=missing)  # type: ignore[no-untyped-call]


def evaluate(text: str, columns: Mapping[str, Any]) -> Figure:
    """The value of a checked expression. columns: masked arrays of equal length (n,), from `column_of`.

    Raises ExpressionError for what is not in the language; a column that is not there gives a reason.
    """
    import numpy as np

    used = check_expression(text)
    unknown = [name for name in used if name not in columns]
    if unknown:
        return Figure(None, 0, f"there is no column {unknown[0]}")
    complete = [~np.ma.getmaskarray(columns[name]) for name in used]  # type: ignore[no-untyped-call]
    length = len(next(iter(columns.values()))) if columns else 0
    rows = int(np.logical_and.reduce(complete).sum()) if complete else length
    try:
        with np.errstate(all="ignore"):
            found = _evaluator(columns, length).eval(text.strip(), ast.parse(text.strip(), mode="eval").body)
    except ArithmeticError:
        return Figure(None, rows, "it is not a finite number")
    except (TypeError, ValueError):
        return Figure(None, rows, "its columns cannot be combined so: numbers and texts are mixed")
    if found is np.ma.masked or not rows:
        return Figure(None, rows, "no row has every value that it needs")
    value = float(found)
    return Figure(value, rows) if np.isfinite(value) else Figure(None, rows, "it is not a finite number")


def holds(text: str, columns: Mapping[str, Any]) -> Any:
    """For each row whether a checked condition is true; false where a value is masked. columns as in `evaluate`.

    (n,) booleans. Raises TypeError or ValueError for columns that cannot be combined so.
    """
    import numpy as np

    check_condition(text)
    length = len(next(iter(columns.values())))
    with np.errstate(all="ignore"):
        found = _evaluator(columns, length).eval(text.strip(), ast.parse(text.strip(), mode="eval").body)
    return np.broadcast_to(np.ma.filled(_truth(found), fill_value=False), (length,))  # type: ignore[no-untyped-call]


def _evaluator(columns: Mapping[str, Any], length: int) -> SimpleEval:
    """simpleeval with operators that take columns; the language was checked before, so it sees nothing else."""
    import numpy as np
    from simpleeval import SimpleEval

    def whole(value: Any) -> Any:
        return (value if np.ndim(value) else column_of([value] * length)).astype(float)

    def among(left: Any, right: Sequence[Any]) -> Any:
        return reduce(np.logical_or, [left == value for value in right])

    evaluator = SimpleEval(
        names=dict(columns),
        functions={
            "abs": abs,
            "column": columns.__getitem__,
            "sum": lambda value: whole(value).sum(),
            "mean": lambda value: whole(value).mean(),
            "min": lambda value: whole(value).min(),
            "max": lambda value: whole(value).max(),
            "count": lambda value: _count(value, length),
        },
    )
    evaluator.operators |= {
        ast.Mult: lambda left, right: left * right,
        ast.Add: lambda left, right: left + right,
        ast.Not: np.logical_not,
        ast.In: among,
        ast.NotIn: lambda left, right: np.logical_not(among(left, right)),
    }
    evaluate_ = evaluator._eval

    def both(node: ast.BoolOp) -> Any:
        operator = np.logical_and if isinstance(node.op, ast.And) else np.logical_or
        return reduce(operator, [_truth(evaluate_(value)) for value in node.values])

    def compared(node: ast.Compare) -> Any:
        sides = [evaluate_(side) for side in (node.left, *node.comparators)]
        pairs = zip(node.ops, sides, sides[1:], strict=False)
        return reduce(np.logical_and, [evaluator.operators[type(op)](left, right) for op, left, right in pairs])

    evaluator.nodes |= {
        ast.BoolOp: both,
        ast.Compare: compared,
        ast.List: lambda node: [item.value for item in node.elts],
        ast.Tuple: lambda node: [item.value for item in node.elts],
    }
    return evaluator


def _truth(value: Any) -> Any:
    """A condition; numbers are true unless they are 0. Raises TypeError for texts."""
    import numpy as np

    found = np.ma.asarray(value)  # type: ignore[no-untyped-call]
    if found.dtype == object or found.dtype.kind in "US":
        raise TypeError("a text is no condition")
    return found != 0


def _count(value: Any, length: int) -> int:
    """How many rows fulfil a condition, or have a value."""
    import numpy as np

    if not np.ndim(value):
        return length if value else 0
    return int(value.sum() if value.dtype == bool else value.count())
