"""The candidate may not answer too differently from the champion: `{churn: 5%}`.

Churn is the share of hold-out rows for which the two predict different classes (Milani Fard et al. 2016); of numbers,
the mean distance of their predictions as a share of the target's standard deviation.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from engine.core.verdict import Verdict
from engine.gates.answers import answer_of
from engine.gates.block import GateBlock
from engine.gates.figure import Bound, judge_figure
from engine.gates.result import GateResult
from engine.spec.fields import Fraction


class Block(GateBlock):
    """`validation: {churn, bound, first_model}`."""

    churn: Fraction
    """The largest share of predictions that may differ from the champion's."""
    bound: Bound = "point"
    """Judge the estimate, or the cautious end of its interval."""
    first_model: Literal["pass", "fail"] = "pass"
    """What the verdict is while nothing is live."""


def assess(block: Block, evaluation: Mapping[str, Any]) -> GateResult:
    """See the module."""
    found = answer_of(block, evaluation)
    if isinstance(found, GateResult):
        return found
    if "champion" in found and found["champion"] is None:
        text = f"there is no other release to differ from (first_model: {block.first_model})"
        if block.first_model == "pass":
            return GateResult(Verdict.PASS, text)
        return GateResult(Verdict.FAIL, text, remedy="Write first_model: pass to let the first release through.")
    label = f"churn against the champion, version {found.get('champion')},"
    remedy = "Look where the two differ; a model that is trained anew often changes more than it improves."
    return judge_figure(label, found, block.churn, side="max", bound=block.bound, remedy=remedy)
