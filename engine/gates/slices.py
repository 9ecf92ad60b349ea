"""A metric has to hold in every group of rows: `{slices: {by: plan, metric: f1_score, threshold: 0.75}}`.

With `find: 5` instead of `by` the groups are the worst that a search finds; it looks at one half of the hold-out and
the gate at the other. Groups that are too small to judge, and such that leave the metric undefined, make a verdict
that would pass `inconclusive`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from engine.core.verdict import Verdict
from engine.gates.answers import answer_of, listed
from engine.gates.block import GateBlock, check_average
from engine.gates.result import GateResult, at_least, at_most, counted, finite, limit_text, number
from engine.spec.fields import Block as SpecBlock
from engine.spec.fields import Column, Limit, MetricName, check_limit, mistake
from engine.spec.metrics import METRICS, Average

_SHOWN = 3


class Slices(SpecBlock):
    """Which rows belong together and what each group must reach."""

    by: Column | Annotated[list[Column], Field(min_length=1)] | None = None
    """A column, or several whose values together name a group. Numbers with many values are cut at their quartiles."""
    find: Annotated[int, Field(ge=1, le=20)] | None = None
    """Instead of by: so many groups, the worst that a search among the features finds."""
    metric: MetricName
    """The metric that is judged in each group."""
    average: Average | None = None
    """How a metric of several classes is averaged."""
    threshold: Limit
    """What each group must reach: a floor, or a ceiling for a metric of which less is better."""
    bound: Literal["point", "cautious", "certain"] = "point"
    """Judge the estimate, the cautious end of its interval, or its other end: a group fails only when it certainly
    does."""
    min_rows: Annotated[int, Field(ge=1)] = 30
    """Groups with fewer rows are too small to judge."""
    small_groups: Literal["inconclusive", "ignore"] = "inconclusive"
    """What groups that cannot be judged mean."""

    @model_validator(mode="after")
    def _makes_sense(self) -> Slices:
        if (self.by is None) == (self.find is None):
            raise mistake("slices needs its groups", "Write by: a column, or find: how many the search shall find.")
        check_limit(self.metric, "threshold", self.threshold)
        check_average(self.metric, self.average)
        return self


class Block(GateBlock):
    """`validation: {slices: {by | find, metric, threshold, bound, min_rows, small_groups}}`."""

    slices: Slices
    """Groups of rows and what each must reach."""


def assess(block: Block, evaluation: Mapping[str, Any]) -> GateResult:
    """See the module."""
    found = answer_of(block, evaluation)
    if isinstance(found, GateResult):
        return found
    wanted = block.slices
    groups = listed(found.get("groups"))
    label = _label(wanted)
    if not groups:
        if found.get("found") is True:
            return GateResult(Verdict.PASS, f"{label}: no group of features stands out")
        return GateResult(Verdict.INCONCLUSIVE, f"{label}: there are no groups", remedy="Give it more hold-out rows.")
    judged = [(value, group) for group in groups if (value := _value(wanted, group)) is not None]
    open_ones = [group for group in groups if _value(wanted, group) is None]
    if not judged:
        text = f"{label} cannot be told: {_unjudged(open_ones)}"
        return GateResult(Verdict.INCONCLUSIVE, text, remedy="Give it more hold-out rows, or name another column.")
    higher = METRICS[wanted.metric].better == "higher"
    holds, sign = (at_least, ("≥", "<")) if higher else (at_most, ("≤", ">"))
    judged.sort(key=lambda each: each[0] if higher else -each[0])
    failing = [each for each in judged if not holds(each[0], wanted.threshold)]
    worst = judged[0][0]
    shown = ", ".join(_text(group) for _, group in (failing or judged)[:_SHOWN])
    if failing:
        of = f"{len(failing)} of {len(judged)} groups {sign[1]} {limit_text(wanted.threshold)}"
        remedy = "Look at the rows of these groups: too few to learn from, or features that say little there?"
        return GateResult(Verdict.FAIL, f"{label}: {of}: {shown}", worst, wanted.threshold, remedy)
    text = f"{label}: {len(judged)} groups {sign[0]} {limit_text(wanted.threshold)}, the worst: {shown}"
    if open_ones and wanted.small_groups == "inconclusive":
        remedy = "Give it more hold-out rows, or write small_groups: ignore."
        return GateResult(Verdict.INCONCLUSIVE, f"{text}; {_unjudged(open_ones)}", worst, wanted.threshold, remedy)
    return GateResult(Verdict.PASS, text, worst, wanted.threshold)


def _label(wanted: Slices) -> str:
    if wanted.by is None:
        return f"{wanted.metric} in the worst groups found"
    return f"{wanted.metric} by {wanted.by if isinstance(wanted.by, str) else ' and '.join(wanted.by)}"


def _value(wanted: Slices, group: Mapping[str, Any]) -> float | None:
    """The number of a group that is judged; None for one that cannot be."""
    value, low, high = (finite(group.get(name)) for name in ("value", "low", "high"))
    if group.get("small") or value is None:
        return None
    if wanted.bound == "point":
        return value
    lower = (METRICS[wanted.metric].better == "higher") == (wanted.bound == "cautious")
    return low if lower else high


def _text(group: Mapping[str, Any]) -> str:
    value, low, high = (finite(group.get(name)) for name in ("value", "low", "high"))
    interval = "" if low is None or high is None else f" [{number(low)}, {number(high)}]"
    return f"{group.get('group')} {number(value or 0.0)}{interval} ({counted(group.get('rows')):,} rows)"


def _unjudged(groups: Sequence[Mapping[str, Any]]) -> str:
    few = [f"{group.get('group')} ({group.get('rows')} rows)" for group in groups[:_SHOWN]]
    return f"not judged: {', '.join(few)}{', …' if len(groups) > _SHOWN else ''}"
