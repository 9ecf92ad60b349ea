"""Nothing may give the answer away: `{leakage: none}`.

Looks for a feature that alone predicts the target, for hold-out rows that were training rows too, and for features that
name rows instead of describing them. A finding is a reason to look, so tell the gate of features that may be so.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from engine.core.verdict import Verdict
from engine.gates.answers import answer_of
from engine.gates.block import GateBlock
from engine.gates.result import GateResult, at_most, counted, finite, number
from engine.spec.fields import Column, Fraction, PositiveFraction, empty_list


class Block(GateBlock):
    """`validation: {leakage: none, alone, duplicates, except}`."""

    leakage: Literal["none"]
    """There must be none."""
    alone: PositiveFraction = 0.99
    """The most that one feature alone may tell of the target: ROC AUC of two classes, accuracy of many, R² of
    numbers."""
    duplicates: Fraction = 0.01
    """The largest share of hold-out rows that are, target and all, training rows too."""
    except_: list[Column] = Field(default_factory=empty_list, alias="except")
    """Features that may predict the target or name rows."""
    min_rows: Annotated[int, Field(ge=2)] = 50
    """With fewer hold-out rows the verdict is inconclusive."""


def assess(block: Block, evaluation: Mapping[str, Any]) -> GateResult:
    """`fail` with every finding; `inconclusive` with too few rows or nothing to look at."""
    found = answer_of(block, evaluation)
    if isinstance(found, GateResult):
        return found
    rows, duplicates = counted(found.get("rows")), finite(found.get("duplicates"))
    features = found.get("features")
    if rows < block.min_rows or not isinstance(features, Mapping) or not features or duplicates is None:
        text = f"leakage cannot be told from {rows} hold-out rows: {block.min_rows} are needed"
        return GateResult(Verdict.INCONCLUSIVE, text, remedy="Give it more hold-out rows.")
    skills = {name: finite(value) for name, value in features.items() if name not in block.except_}
    telling = {name: skill for name, skill in skills.items() if skill is not None and skill > block.alone}
    ids = [str(name) for name in found.get("ids") or () if name not in block.except_]
    measure = found.get("measure") or "skill"
    findings = [f"{name} alone predicts the target ({measure} {number(skill)})" for name, skill in telling.items()]
    findings += [f"{name} names rows: nearly every value is different" for name in ids]
    if not at_most(duplicates, block.duplicates):
        findings.append(f"{duplicates:.2%} of the hold-out rows are training rows too")
    if findings:
        remedy = "Put such columns under data.ignore or data.id, and rows that belong together under data.group."
        return GateResult(Verdict.FAIL, "leakage: " + "; ".join(findings), remedy=remedy)
    untold = [str(name) for name, skill in skills.items() if skill is None]
    if untold:
        text = f"leakage cannot be told: what {untold[0]} alone predicts is undefined on these rows"
        return GateResult(Verdict.INCONCLUSIVE, text, remedy="Give it more hold-out rows, of every class.")
    best = max(((skill, str(name)) for name, skill in skills.items() if skill is not None), default=None)
    most = "" if best is None else f"; the most telling feature is {best[1]} ({measure} {number(best[0])})"
    return GateResult(Verdict.PASS, f"no leakage in {len(features)} features, {duplicates:.2%} duplicates{most}")
