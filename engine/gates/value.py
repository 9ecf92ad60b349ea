"""What the predictions are worth: `{value: "120 * count(tp) - 15 * count(fp)", min: 0}`.

An expression over the hold-out in the language of `monitoring.kpis`: the columns of its rows, `prediction`, `actual`
and `score`, and of two classes the cells of the confusion matrix `tp`, `fp`, `tn`, `fn`, true for the rows that lie
there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import model_validator

from engine.gates.answers import answer_of
from engine.gates.block import GateBlock
from engine.gates.figure import Bound, judge_figure
from engine.gates.result import GateResult
from engine.spec.expressions import ExpressionError, check_expression
from engine.spec.fields import Limit, Text, mistake


class Block(GateBlock):
    """`validation: {value, name, min | max, bound}`."""

    value: Text
    """The expression."""
    name: Text = "value"
    """What it is called in reports."""
    min: Limit | None = None
    """The least that it may be."""
    max: Limit | None = None
    """The most that it may be."""
    bound: Bound = "point"
    """Judge the value on the hold-out, or the cautious end of its interval."""

    @model_validator(mode="after")
    def _makes_sense(self) -> Block:
        if (self.min is None) == (self.max is None):
            raise mistake("value needs one limit", "Write min or max, one of them.")
        try:
            columns = check_expression(self.value)
        except ExpressionError as error:
            raise mistake(f"the expression {error}", error.remedy) from None
        if not columns:
            raise mistake("the expression reads nothing of the predictions", 'Write it like "count(tp) - count(fp)".')
        return self


def assess(block: Block, evaluation: Mapping[str, Any]) -> GateResult:
    """See the module."""
    found = answer_of(block, evaluation)
    if isinstance(found, GateResult):
        return found
    limit, remedy = block.min, "Improve the data, the features or training, or change the limit in validation."
    if limit is not None:
        return judge_figure(block.name, found, limit, side="min", bound=block.bound, remedy=remedy)
    assert block.max is not None  # a block has one limit
    return judge_figure(block.name, found, block.max, side="max", bound=block.bound, remedy=remedy)
