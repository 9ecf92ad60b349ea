"""Figures over columns, against plain loops."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.spec.expressions import ExpressionError
from engine.stats.expression import Figure, column_of, evaluate

ROWS: list[dict[str, Any]] = [
    {"prediction": "yes", "actual": "no", "score": 0.9, "calls": 3, "total charge": 10.0, "new": True},
    {"prediction": "yes", "actual": None, "score": 0.8, "calls": 0, "total charge": 5.0, "new": False},
    {"prediction": "no", "actual": "no", "score": 0.2, "calls": None, "total charge": 1.0, "new": True},
    {"prediction": "no", "actual": "yes", "score": float("nan"), "calls": 2, "total charge": 4.0, "new": None},
]


def columns(rows: list[dict[str, Any]] = ROWS) -> dict[str, Any]:
    return {name: column_of([row[name] for row in rows]) for name in ROWS[0]}


@pytest.mark.parametrize(
    ("text", "value", "rows"),
    [
        ('sum(prediction == "yes" and actual == "no") * 12.5', 12.5, 3),
        ('count(prediction == "yes")', 2, 4),
        ("count(actual)", 3, 3),
        ("count(calls)", 3, 3),
        ("count(new)", 2, 3),
        ('mean(actual != "no")', 1 / 3, 3),
        ('mean(actual not in ["no", "perhaps"])', 1 / 3, 3),
        ("sum(score > 0.5) / sum(1)", 2 / 4, 3),
        ("mean(not (0.5 < score < 0.85))", 2 / 3, 3),
        ("max(abs(calls - 2)) - min(-calls)", 2 + 3, 3),
        ('sum(column("total charge") * (calls > 1 or prediction == "yes"))', 10 + 5 + 4, 3),
        ("sum(10 // calls)", 3 + 5, 3),  # a division by zero is no value
        ("7 % 4", 3, 4),
    ],
)
def test_figures(text: str, value: float, rows: int) -> None:
    found = evaluate(text, columns())
    assert (found.value, found.rows, found.reason) == (pytest.approx(value), rows, "")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("mean(plan)", "there is no column plan"),
        ("sum(prediction)", "numbers and texts are mixed"),
        ("sum(prediction + 1)", "numbers and texts are mixed"),
        ("sum(prediction > 1)", "numbers and texts are mixed"),
        ("sum(prediction and new)", "numbers and texts are mixed"),
        ("1 / 0", "it is not a finite number"),
        ("sum(score) / sum(calls < 0)", "it is not a finite number"),
        ("mean(calls * 1e308 * 1e308)", "it is not a finite number"),
    ],
)
def test_what_is_undefined_says_why(text: str, reason: str) -> None:
    found = evaluate(text, columns())
    assert found.value is None
    assert reason in found.reason


def test_no_rows_are_undefined() -> None:
    assert evaluate("sum(score)", {"score": column_of([])}) == Figure(None, 0, "no row has every value that it needs")
    assert evaluate("sum(score)", {"score": column_of([None, math.nan])}).value is None


def test_nothing_else_is_evaluated() -> None:
    for text in ("__import__('os').system('true')", "score.__class__", "[x for x in score]", "open('x')"):
        with pytest.raises(ExpressionError):
            evaluate(text, columns())


Numbers = st.lists(st.none() | st.integers(-9, 9), min_size=1, max_size=30)
ROW_WISE: dict[str, Callable[[int, int], float]] = {
    "a + b": lambda a, b: a + b,
    "a - 2 * b": lambda a, b: a - 2 * b,
    "a < b and a > 0": lambda a, b: a < b and a > 0,
    "a == b or not b": lambda a, b: a == b or not b,
    "abs(a) * (b >= 0)": lambda a, b: abs(a) * (b >= 0),
    "a in [1, 2, 3]": lambda a, b: a in (1, 2, 3),
}


@given(Numbers, Numbers, st.sampled_from(sorted(ROW_WISE)))
def test_sums_agree_with_a_loop(a: list[int | None], b: list[int | None], text: str) -> None:
    n = min(len(a), len(b))
    both = "b" in text
    pairs = [(x, y) for x, y in zip(a[:n], b[:n], strict=True) if x is not None and (y is not None or not both)]
    found = evaluate(f"sum({text})", {"a": column_of(a[:n]), "b": column_of(b[:n])})
    if not pairs:
        assert found.value is None
    else:
        assert found == Figure(float(sum(ROW_WISE[text](x, y or 0) for x, y in pairs)), len(pairs))


def test_a_million_rows_take_a_moment() -> None:
    data = {"a": np.ma.MaskedArray(np.arange(1e6)), "b": np.ma.MaskedArray(np.ones(10**6))}
    assert evaluate("sum(a * b > 10) / count(b)", data).value == pytest.approx((1e6 - 11) / 1e6)
