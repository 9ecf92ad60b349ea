"""The `monitoring` block, and the language of figures over the prediction log."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from engine.errors import Diagnostic
from engine.spec.expressions import ExpressionError, check_expression
from engine.spec.load import LoadedSpec

Load = Callable[..., LoadedSpec]
Mistakes = Callable[..., list[Diagnostic]]

HEAD = "model_spec:\n  name: churn\n  monitoring:\n"
FULL = (
    HEAD
    + """\
    labels: {delay: 7d, min: 200}
    window: {rows: 2000, duration: 1d}
    metrics:
      - {metric: f1, threshold: 70%, on_breach: alert, persistence: 2 of 3}
      - {metric: accuracy}
    kpis:
      - {name: wasted, value: 'sum(prediction == "yes" and actual == "no") * 12.5', max: 500}
    quality: {missing: 2%, unseen: 1%}
    service: {error_rate: 1%, latency_p99: 50ms}
"""
)


def test_a_full_block_is_resolved(load: Load) -> None:
    block = load(FULL).document["monitoring"]
    assert block["labels"] == {"delay": 604800, "min": 200}
    assert block["window"] == {"rows": 2000, "duration": 86400}
    assert block["metrics"][0] == {
        "metric": "f1_score",
        "threshold": 0.7,
        "on_breach": "alert",
        "persistence": {"count": 2, "windows": 3},
    }
    assert (block["kpis"][0]["max"], block["kpis"][0]["min"]) == (500, None)
    assert (block["quality"]["missing"], block["quality"]["out_of_range"]) == (0.02, 0.05)
    assert block["service"]["latency_p99"] == 0.05
    assert block["estimate"] is True


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        ("window: {}", "monitoring.window: a window never ends without rows or duration. Give one, like rows: 1000."),
        ("window: {rows: 100}", "a window of 100 rows never has the 500 labels of labels.min"),
        ("metrics: [{metric: acuracy}]", 'there is no metric "acuracy". Did you mean "accuracy"?'),
        ("metrics: [{metric: accuracy, threshold: 85}]", "threshold 85 is outside the range of accuracy"),
        ("metrics: [{metric: accuracy, on_breach: alert}]", "accuracy has no threshold that could be breached"),
        ("metrics: [{metric: accuracy}, {metric: acc}]", "metrics has accuracy twice"),
        ("metrics: [{metric: accuracy}, {metric: rmse}]", "rmse is a metric of a regression, and another one here"),
        ("kpis: [{name: calls, value: count(prediction), on_breach: alert}]", "calls has no limit"),
        (
            "kpis: [{name: calls, value: prediction, max: 3}]",
            "value uses the column prediction outside of an aggregate",
        ),
        ("kpis: [{name: calls, value: 3, max: 3}]", "value is not an expression"),
        ("service: {}", "service has no limit. Give error_rate, latency_p99 or both."),
        ("quality: {on_breach: explode}", 'monitoring.quality.on_breach cannot be "explode"'),
    ],
)
def test_mistakes_are_told_with_a_remedy(mistakes: Mistakes, lines: str, told: str) -> None:
    found = mistakes(f"{HEAD}    {lines}\n")
    assert any(told in str(each) for each in found), [str(each) for each in found]


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        ('sum(prediction == "yes" and actual == "no") * 12.5', ("actual", "prediction")),
        ('mean(actual in ["a", "b"]) / (1 + max(score))', ("actual", "score")),
        ('sum(abs(column("total charge") - prediction)) // 2', ("prediction", "total charge")),
        ("count(not (months > 3 or months < -1))", ("months",)),
        ("1 + 2", ()),
    ],
)
def test_an_expression_tells_its_columns(text: str, columns: tuple[str, ...]) -> None:
    assert check_expression(text) == columns


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "cannot be read"),
        ("sum(a", "cannot be read"),
        ("import os", "cannot be read"),
        ("a := 3", "cannot be read"),
        ("mean(a", "cannot be read"),
        ("mean(a) if mean(b) else 3", "holds what figures do not have"),
        ("__import__('os').system('true')", "which is no function here"),
        ("mean(a.__class__)", "holds what figures do not have: a.__class__"),
        ("mean([x for x in a])", "holds what figures do not have"),
        ("mean(lambda: 3)", "holds what figures do not have"),
        ("mean(a[0])", "holds what figures do not have"),
        ("mean(f'{a}')", "holds what figures do not have"),
        ("mean(b'x')", "holds what figures do not have"),
        ("mean(a ** 9)", "uses an operator that figures do not have"),
        ("mean(a << 9)", "uses an operator that figures do not have"),
        ("mean(a is 3)", "uses an operator that figures do not have"),
        ("mean(mean(a))", "has mean inside of another aggregate"),
        ("mean(a, b)", "gives mean not just one thing"),
        ("mean(*a)", "holds what figures do not have"),
        ("mean(column(a))", "names a column by something else than text"),
        ('column("a")', "outside of an aggregate"),
        ("mean(" + "-" * 40 + "a)", "is nested too deeply"),
        ("mean(a)" + "+1" * 1000, "has 2,007 characters"),
        ("(" * 900 + "1" + ")" * 900, "cannot be read"),
    ],
)
def test_what_is_not_in_the_language_is_refused(text: str, told: str) -> None:
    with pytest.raises(ExpressionError) as error:
        check_expression(text)
    assert told in str(error.value)
    assert error.value.remedy
