"""A gate of one's own: `{function: checks:profit, min: 0}`.

`profit(predictions, holdout)` gets two pandas data frames with the same rows: what the candidate said (`truth`,
`prediction`, `probability_<class>`), and the hold-out with all its columns. It returns True or False, or with `min` or
`max` a number. Anything else, such as None or NaN, passes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import model_validator

from engine.core.verdict import Verdict
from engine.gates.answers import answer_of
from engine.gates.block import GateBlock
from engine.gates.figure import judge_figure
from engine.gates.result import GateResult
from engine.spec.fields import Function, Limit, mistake


class Block(GateBlock):
    """`validation: {function, min | max}`."""

    function: Function
    """package.module:function of this project."""
    min: Limit | None = None
    """The least that its number may be."""
    max: Limit | None = None
    """The most that its number may be."""

    @model_validator(mode="after")
    def _one_limit(self) -> Block:
        if self.min is not None and self.max is not None:
            raise mistake(
                "function has two limits", "Write min or max, or none for a function that says True or False."
            )
        return self


def assess(block: Block, evaluation: Mapping[str, Any]) -> GateResult:
    """See the module."""
    found = answer_of(block, evaluation)
    if isinstance(found, GateResult):
        return found
    said, remedy = found.get("said"), f"Look at {block.function}."
    if block.min is None and block.max is None:
        if isinstance(said, bool):
            verdict = Verdict.PASS if said else Verdict.FAIL
            return GateResult(
                verdict, f"{block.function} says {'yes' if said else 'no'}", remedy="" if said else remedy
            )
        text = f"{block.function} gave {found.get('shown')}, not True or False"
        return GateResult(Verdict.ERROR, text, remedy="Return one of them, or write min or max for a number.")
    if isinstance(said, bool) or not isinstance(said, int | float):
        text = f"{block.function} gave {found.get('shown')}, not a finite number"
        return GateResult(Verdict.ERROR, text, remedy="Return a number, or take min and max out.")
    limit = block.min if block.min is not None else block.max
    assert limit is not None
    side = "min" if block.min is not None else "max"
    return judge_figure(block.function, {"value": said}, limit, side=side, remedy=remedy)  # type: ignore[arg-type]
