"""The engine's MMD beside alibi-detect's, see mmd_values.py."""

from __future__ import annotations

import math

import numpy as np
import pytest
from mmd_values import GIVEN, PERMUTATIONS, Samples, samples

from engine.stats.drift.mmd import median_bandwidth, mmd, squared_distances

OWN = 2_000  # permutations
SAMPLES = list(samples())


@pytest.mark.parametrize("each", SAMPLES, ids=[each.name for each in SAMPLES])
def test_discrepancy_bandwidth_and_p_are_alibi_detect_s(each: Samples) -> None:
    given = GIVEN[each.name]
    assert each.reference.sum() + each.batch.sum() == pytest.approx(given.total, rel=1e-12, abs=1e-9)
    if each.sigma is None:
        assert median_bandwidth(squared_distances(each.reference)) == pytest.approx(given.sigma, rel=1e-9)
    found = mmd(each.reference, each.batch, OWN, seed=1, sigma=each.sigma)
    assert found.statistic == pytest.approx(given.mmd2, abs=1e-9)
    assert found.effect == max(0.0, found.statistic)
    middle = (found.p * OWN + given.p * PERMUTATIONS) / (OWN + PERMUTATIONS)
    error = math.sqrt(middle * (1 - middle) * (1 / OWN + 1 / PERMUTATIONS))
    assert abs(found.p - given.p) <= 4 * error + 1 / (OWN + 1)  # the engine counts the sample itself


def test_the_values_cover_what_is_significant_and_what_is_not() -> None:
    """So that a p-value that is always small, or never, is not in agreement by chance."""
    found = np.array([given.p for given in GIVEN.values()])
    assert set(GIVEN) == {each.name for each in SAMPLES}
    assert (found < 0.001).any()
    assert ((found > 0.02) & (found < 0.5)).sum() >= 3
    assert (found > 0.5).any()
