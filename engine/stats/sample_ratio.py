"""Did the releases get the shares of traffic they were meant to? A test that may be looked at all the time.

Multinomial e-process of Lindon and Malek 2020 (arXiv 2011.03567): a Dirichlet prior around the expected shares against
the shares themselves. While the shares stay as they are, counts are summed; for each set of shares there is one factor,
as what is wrong may differ. Priors of several concentrations are averaged, so that gross mistakes show in a few dozen
requests and small ones in the end. A mismatch says that assignment is broken: no comparison of the releases holds.

Only sums by shares matter. Count a sticky key once, where it was first seen in the whole rollout: keys that move to the
candidate because its weight rose are no new ones, and counted again they look like a mismatch.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from engine.stats import inputs

if TYPE_CHECKING:
    from engine.stats.bootstrap import Floats

ALPHA = 0.001
CONCENTRATIONS = (30.0, 1_000.0, 30_000.0)  # in requests: a prior as wide as the shares seen in so many


@dataclass(frozen=True)
class ShareBatch:
    """Requests (or keys) by release while `shares` were meant. shares: (k,) fractions that sum to 1; counts: (k,).

    Raises ValueError for lengths that differ, fewer than two, shares outside 0–1 or that do not sum to 1, and counts
    that are negative, broken or NaN.
    """

    shares: tuple[float, ...]
    counts: tuple[int, ...]

    def __post_init__(self) -> None:
        if len(self.shares) != len(self.counts) or len(self.shares) < 2:
            raise ValueError(f"{len(self.shares)} shares and {len(self.counts)} counts; two or more of both are needed")
        for value in self.shares:
            inputs.share("a share", value)
        for number in self.counts:
            inputs.count("a count", number)
        if abs(math.fsum(self.shares) - 1) > 1e-9:
            raise ValueError(f"the shares {self.shares} do not sum to 1")

    @staticmethod
    def of(weight: float, stable: int, candidate: int) -> ShareBatch:
        """Of two releases, with the candidate's weight, fraction 0–1."""
        return ShareBatch((1 - weight, weight), (stable, candidate))


@dataclass(frozen=True)
class SampleRatio:
    """Evidence of a mismatch: `log_e` of all batches, `log_e_max` the highest after any.

    counts, expected: (k,) requests over all batches. Without requests the evidence is none: 0.
    """

    counts: tuple[int, ...]
    expected: tuple[float, ...]
    log_e: float = 0.0
    log_e_max: float = 0.0

    def mismatch(self, alpha: float = ALPHA) -> bool:
        """Is assignment broken? Wrong with probability `alpha` at most, over all looks together."""
        return self.log_e_max >= -math.log(inputs.level(alpha))


def sample_ratio(batches: Iterable[ShareBatch]) -> SampleRatio:
    """The evidence of batches in the order of time. Raises ValueError when they differ in the number of releases."""
    import numpy as np

    listed = list(batches)
    if not listed:
        return SampleRatio((), ())
    if len({len(batch.shares) for batch in listed}) > 1:
        raise ValueError("the batches differ in the number of releases")
    shares = np.array([batch.shares for batch in listed], dtype=np.float64)
    counts = np.array([batch.counts for batch in listed], dtype=np.int64)
    process = log_e_process(shares, counts)
    expected = shares.T @ counts.sum(axis=1)
    totals = tuple(int(total) for total in counts.sum(axis=0))
    return SampleRatio(totals, tuple(expected.tolist()), float(process[-1]), max(0.0, float(process.max())))


def log_e_process(shares: Any, counts: Any) -> Floats:
    """Log of the evidence after each batch, of many rollouts at once.

    shares: (batches, k); counts: (…, batches, k) → (…, batches). A request where the share is 0 is infinite evidence.
    """
    import numpy as np

    shares, counts = np.asarray(shares, dtype=np.float64), np.asarray(counts, dtype=np.int64)
    steps = np.zeros((len(CONCENTRATIONS), *counts.shape[:-1]))
    impossible = np.zeros(counts.shape[:-1], dtype=bool)
    for meant in np.unique(shares, axis=0):
        at = np.flatnonzero((shares == meant).all(axis=1))
        so_far = counts[..., at, :].cumsum(axis=-2)
        open_ = meant > 0
        impossible[..., at] = (so_far[..., ~open_] > 0).any(axis=-1)
        for i, concentration in enumerate(CONCENTRATIONS):
            factor = _log_factor(meant[open_], so_far[..., open_], concentration)
            steps[i][..., at] = np.diff(factor, axis=-1, prepend=0.0)
    sums = steps.cumsum(axis=-1)
    top = sums.max(axis=0)
    process = top + np.log(np.exp(sums - top).mean(axis=0))
    return np.where(np.logical_or.accumulate(impossible, axis=-1), np.inf, process)


def _log_factor(shares: Floats, counts: Any, concentration: float) -> Any:
    """Log Bayes factor of Dirichlet(concentration × shares) against the shares. counts: (…, k) → (…)."""
    import numpy as np

    prior = concentration * shares
    total = counts.sum(axis=-1)
    against = _log_gamma(counts + prior) - _log_gamma(prior) - counts * np.log(shares)
    return against.sum(axis=-1) - _log_gamma(total + concentration) + math.lgamma(concentration)


def _log_gamma(values: Any) -> Any:
    import numpy as np

    return np.frompyfunc(math.lgamma, 1, 1)(values).astype(np.float64)
