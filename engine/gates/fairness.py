"""Groups of people have to be treated alike: `{fairness: equal_opportunity, by: gender, max_difference: 0.1}`.

`demographic_parity` compares selection rates, `equal_opportunity` true positive rates, `equalized_odds` true and
false positive rates (Hardt, Price and Srebro 2016); the figures are fairlearn's. Groups with too few rows are left out
of the figure and make a verdict that would pass `inconclusive`, unless `small_groups: ignore`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from engine.core.verdict import Verdict
from engine.gates.answers import answer_of, listed
from engine.gates.block import GateBlock
from engine.gates.result import GateResult, at_least, at_most, finite, limit_text, number
from engine.spec.fields import Column, Fraction, mistake

_SHOWN = 4
_RATES = ("selection_rate", "true_positive_rate", "false_positive_rate")


class Block(GateBlock):
    """`validation: {fairness, by, max_difference | min_ratio, bound, min_rows, small_groups}`."""

    fairness: Literal["demographic_parity", "equal_opportunity", "equalized_odds"]
    """Which rates must be alike."""
    by: Column | Annotated[list[Column], Field(min_length=1)]
    """The column that names the groups, a feature or not; of several the values together name a group. Numbers with
    many values are cut at their quartiles."""
    max_difference: Fraction | None = None
    """The largest difference between any two groups."""
    min_ratio: Fraction | None = None
    """The smallest ratio of the smallest rate to the largest."""
    bound: Literal["point", "cautious"] = "point"
    """Judge the estimate, or the cautious end of its 95 % interval."""
    min_rows: Annotated[int, Field(ge=1)] = 30
    """Groups with fewer rows (of the class that a rate is about) are too small to judge."""
    small_groups: Literal["inconclusive", "ignore"] = "inconclusive"
    """What groups that are too small to judge mean."""

    @model_validator(mode="after")
    def _one_limit(self) -> Block:
        if (self.max_difference is None) == (self.min_ratio is None):
            raise mistake("fairness needs one limit", "Write max_difference or min_ratio, one of them.")
        return self


def assess(block: Block, evaluation: Mapping[str, Any]) -> GateResult:
    """See the module."""
    found = answer_of(block, evaluation)
    if isinstance(found, GateResult):
        return found
    which = "difference" if block.max_difference is not None else "ratio"
    label = f"{block.fairness.replace('_', ' ')} by {_named(block.by)}"
    figure = found.get(which)
    value = finite(figure.get("value")) if isinstance(figure, Mapping) else None
    groups = listed(found.get("groups"))
    small = [group for group in groups if group.get("small")]
    if not isinstance(figure, Mapping) or value is None:
        reason = f"{len(groups) - len(small)} of {len(groups)} groups have {block.min_rows} rows or more"
        text = f"{label} cannot be told: {reason}"
        return GateResult(Verdict.INCONCLUSIVE, text, remedy="Give it more hold-out rows, or name another column.")
    return _judged(block, label, which, figure, groups, small)


def _judged(
    block: Block,
    label: str,
    which: str,
    figure: Mapping[str, Any],
    groups: Sequence[Mapping[str, Any]],
    small: Sequence[Mapping[str, Any]],
) -> GateResult:
    value, low, high = (finite(figure.get(name)) for name in ("value", "low", "high"))
    assert value is not None
    limit = block.max_difference if which == "difference" else block.min_ratio
    assert limit is not None
    holds, sign = (at_most, ("≤", ">")) if which == "difference" else (at_least, ("≥", "<"))
    judged = value if block.bound == "point" else (high if which == "difference" else low)
    interval = "" if low is None or high is None else f" [{number(low)}, {number(high)}]"
    text = f"{label}: {which} {number(value)}{interval}"
    if judged is None:
        text += " has no interval"
        return GateResult(Verdict.INCONCLUSIVE, text, value, limit, "Give it more hold-out rows.")
    end = "" if block.bound == "point" else " (its cautious end is judged)"
    passed = holds(judged, limit)
    text += f" {sign[0] if passed else sign[1]} {limit_text(limit)}{end}: {_rates(groups)}"
    if not passed:
        remedy = f"Look at how {_named(block.by)} enters the data and the features, or weigh the groups in training."
        return GateResult(Verdict.FAIL, text, judged, limit, remedy)
    if small and block.small_groups == "inconclusive":
        names = ", ".join(f"{group.get('group')} ({group.get('of')} rows)" for group in small[:_SHOWN])
        text += f"; too small to judge: {names}{', …' if len(small) > _SHOWN else ''}"
        remedy = "Give it more hold-out rows, or write small_groups: ignore."
        return GateResult(Verdict.INCONCLUSIVE, text, judged, limit, remedy)
    return GateResult(Verdict.PASS, text, judged, limit)


def _rates(groups: Sequence[Mapping[str, Any]]) -> str:
    """`Male 0.256, Female 0.078`: the extreme ones of many."""
    name = next((each for each in _RATES if each in (groups[0] if groups else {})), "")
    judged = [
        (rate, str(g.get("group"))) for g in groups if not g.get("small") and (rate := finite(g.get(name))) is not None
    ]
    ordered = sorted(judged, reverse=True)
    shown = ordered if len(ordered) <= _SHOWN else [*ordered[:2], *ordered[-2:]]
    return f"{name.replace('_', ' ')} " + ", ".join(f"{group} {number(rate)}" for rate, group in shown)


def _named(by: str | Sequence[str]) -> str:
    return by if isinstance(by, str) else " and ".join(by)
