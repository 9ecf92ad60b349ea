"""`data.expect`: how it is resolved, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from engine.errors import Diagnostic

Load = Callable[..., Any]


def spec(expect: str) -> str:
    return "model_spec:\n  name: churn\n  data:\n    expect:\n" + "".join(
        f"      {line}\n" for line in expect.split("\n")
    )


def test_what_is_left_out_is_not_in_the_document(load: Load) -> None:
    text = spec("rows: {min: 10}\ncolumns:\n  age: {between: [18, null], in: [1], missing: {max: 1%}}")
    assert load(text).document["data"]["expect"] == {
        "rows": {"min": 10},
        "columns": {"age": {"between": [18, None], "in": [1], "missing": {"max": 0.01}}},
    }
    assert "expect" not in load("model_spec: {name: churn}").document["data"]


@pytest.mark.parametrize(
    ("expect", "says"),
    [
        ("{}", "the contract expects nothing"),
        ("columns: {}", "the contract expects nothing"),
        ("columns: {a: {}}", "nothing is expected of the column"),
        ("columns: {a: {type: null, in: null}}", "nothing is expected of the column"),
        ("columns: {a: {tolerance: 1%}}", "nothing is expected of the column"),
        ("columns: {a: {unique: false}}", "nothing is expected of the column"),
        ("columns: {a: {unique: true, tolerance: 1%}}", "tolerance has no effect"),
        ("columns: {a: {typ: integer}}", 'unknown key "typ"'),
        ("columns: {a: {between: [5, 1]}}", "5 is above 1"),
        ("columns: {a: {between: [1]}}", "not a range"),
        ("columns: {a: {between: [null, null]}}", "allows everything"),
        ("columns: {a: {between: [1, 2024-01-01]}}", "from a number to a number"),
        ("columns: {a: {between: [2024-02-30, null]}}", "neither a number nor a date"),
        ("columns: {a: {between: [true, 2]}}", "neither a number nor a date"),
        ("columns: {a: {type: text, between: [1, 2]}}", "between has numbers, but type is text"),
        ("columns: {a: {type: integer, between: [2024-01-01, null]}}", "between has dates, but type is integer"),
        ("columns: {a: {mean: [2024-01-01, null]}}", "a date is no number"),
        ("columns: {a: {length: [-1, 5]}}", "a length is a whole number"),
        ("columns: {a: {matches: '['}}", "not a regular expression"),
        ("columns: {a: {matches: '(?=a)b'}}", "look-ahead"),
        ("columns: {a: {matches: '(x(?<!a)b)+'}}", "look-behind"),
        ("columns: {a: {matches: '(a)|\\1'}}", "back-reference"),
        ("columns: {a: {in: []}}", "is empty"),
        ("columns: {a: {distinct: {}}}", "asks for nothing"),
        ("rows: {min: 5, max: 4}", "min 5 is above max 4"),
        ("rows: {}", "asks for nothing"),
        ("rows: {min: 1}\nother_columns: forbid", "allows no column at all"),
        ("keys: [[]]", "is empty"),
        ("checks: [{name: a, expression: x > 1}, {name: a, expression: y > 1}]", "checks has a twice"),
        ("checks: [{name: a, expression: 1 > 2}]", "reads no column"),
        ("checks: [{name: a, expression: mean(x) > 2}]", "has mean, but is about one row"),
        ("checks: [{name: a, expression: x.y > 2}]", "holds what figures do not have"),
        ("checks: [{name: a, expression: 'open(x)'}]", "calls open"),
    ],
)
def test_what_is_refused(mistakes: Callable[..., list[Diagnostic]], expect: str, says: str) -> None:
    found = mistakes(spec(expect))
    assert any(says in diagnostic.message for diagnostic in found), [str(d) for d in found]
    assert all(diagnostic.remedy for diagnostic in found)
