"""What guardrails of the user's own say of a candidate that nobody sees yet: measurements in, a verdict out. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from engine.core.evidence import Tally
from engine.core.rollout import Rollout
from engine.strategies.judging import NOTHING, Assessment, Measurements, conclusion, measured


def assess_preview(rollout: Rollout, tallies: Iterable[Tally], measurements: Measurements = NOTHING) -> Assessment:
    """Judge the candidate by what was measured alone: it answers nobody, so nothing was counted."""
    del tallies
    found = measured(rollout.strategy.analysis or {}, measurements)
    return Assessment(*conclusion(found, 0, 0), tuple(found))
