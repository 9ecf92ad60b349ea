"""Does the candidate err more often than the stable release? Evidence that may be looked at all the time.

Requests go to the candidate at random, with probability w, the weight of that moment. Given that a request failed, it
is then the candidate's with probability wθ / (1 − w + wθ), where θ, the relative risk, is its error rate divided by
the stable one's. The rate itself, and how it drifts, cancels out. Likelihood ratios of θ over a grid, multiplied
error by error and averaged, are an e-process: under "θ is at most 1" its value ever reaches 1/alpha with probability
alpha at most (Ville 1939). Source: Lindon and Malek 2020, arXiv 2011.03567; a grid takes the place of their Dirichlet
prior, because weights change.

Only sums by weight matter, so batches may be cut and put together at will. Exact when requests are assigned
independently; where a key sticks to a release, count each key once, at its first error.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

from engine.stats import inputs

if TYPE_CHECKING:
    from engine.stats.bootstrap import Floats

# How far an alternative lies from what is tested, as a ratio. The smallest decides how near to the truth a bound can
# come (about 5 %); the number of them costs log(10) once.
RATIOS = (1.1, 1.25, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0, 100.0, 1000.0)
CEILING = 1.25  # a candidate whose relative risk is surely below may be promoted
_WIDEST = 1e6  # bounds beyond are reported as 0 and infinity
_EXACT = 200  # Poisson means up to here are summed, those above taken as normal
_MOST_REQUESTS = 2**50


@dataclass(frozen=True)
class ErrorBatch:
    """Errors while the weight was `weight` (of the candidate, fraction 0–1), by the release that made them.

    At weight 0 and 1 there is nothing to compare with: such a batch counts for nothing.
    Raises ValueError for a weight outside 0–1 and for counts that are negative, broken or NaN.
    """

    weight: float
    stable_errors: int
    candidate_errors: int

    def __post_init__(self) -> None:
        inputs.share("weight", self.weight)
        inputs.count("stable_errors", self.stable_errors)
        inputs.count("candidate_errors", self.candidate_errors)


@dataclass(frozen=True)
class ErrorEvidence:
    """What the errors say so far. `counts` has one entry for each weight, in ascending order.

    `log_e` (natural logarithm) is the evidence for harm of all errors, `log_e_max` the highest it was after any batch.
    """

    counts: tuple[ErrorBatch, ...] = ()
    log_e: float = 0.0
    log_e_max: float = 0.0

    @property
    def e_value(self) -> float:
        """Evidence for harm; 1 is none, infinity more than a float holds."""
        return _exp(self.log_e)

    @property
    def e_value_max(self) -> float:
        """The highest evidence for harm after any batch."""
        return _exp(self.log_e_max)

    @property
    def stable_errors(self) -> int:
        """Errors of the stable release at weights between 0 and 1."""
        return sum(batch.stable_errors for batch in self.counts)

    @property
    def candidate_errors(self) -> int:
        """Errors of the candidate at weights between 0 and 1."""
        return sum(batch.candidate_errors for batch in self.counts)

    def with_batch(self, batch: ErrorBatch) -> ErrorEvidence:
        """The evidence after one more batch."""
        counts = _merged((*self.counts, batch))
        log_e = _log_e_for_more(counts, 1.0)
        return ErrorEvidence(counts, log_e, max(self.log_e_max, log_e))

    def harmful(self, alpha: float) -> bool:
        """Is the candidate worse? Wrong with probability `alpha` at most, over all looks together."""
        return self.log_e_max >= -math.log(inputs.level(alpha))

    def lower(self, alpha: float) -> float:
        """The relative risk is above this, but for probability `alpha` over all looks; 0 without evidence.

        The largest θ₀ for which "at most θ₀" is refuted by its own e-process. It is that of the counts so far, not the
        best of all looks: a candidate that begins to err later must not be held to its good beginning.
        """
        needed = -math.log(inputs.level(alpha))
        return _crossing(lambda risk: _log_e_for_more(self.counts, risk) >= needed, otherwise=0.0)

    def upper(self, alpha: float) -> float:
        """The relative risk is below this, but for probability `alpha` over all looks; infinite without evidence."""
        needed = -math.log(inputs.level(alpha))
        mirrored = _crossing(lambda risk: _log_e_for_less(self.counts, 1 / risk) >= needed, otherwise=0.0)
        return 1 / mirrored if mirrored else math.inf

    def interval(self, alpha: float) -> tuple[float, float]:
        """Lower and upper bound that hold both, but for probability `alpha` over all looks."""
        return self.lower(alpha / 2), self.upper(alpha / 2)

    def bounded(self, alpha: float, ceiling: float = CEILING) -> bool:
        """Is there evidence that the relative risk is at most `ceiling`? Never without errors of the stable release."""
        return self.upper(alpha) <= inputs.positive("ceiling", ceiling)


def error_evidence(batches: Iterable[ErrorBatch]) -> ErrorEvidence:
    """The evidence of batches in the order of time; no batch is no evidence: e-value 1, bounds 0 and infinity."""
    import numpy as np

    used = [batch for batch in batches if 0 < batch.weight < 1]
    if not used:
        return ErrorEvidence()
    columns = np.array([(b.weight, b.stable_errors, b.candidate_errors) for b in used], dtype=np.float64).T
    counts = _merged(used)
    # From the sums and not the process' last value, so that other cuts of the batches leave every digit as it is.
    log_e = _log_e_for_more(counts, 1.0)
    return ErrorEvidence(counts, log_e, max(0.0, log_e, float(log_e_process(*columns).max())))


def log_e_process(weights: Any, stable: Any, candidate: Any) -> Floats:
    """Log of the evidence for harm after each batch, of many rollouts at once.

    weights, stable, candidate: (…, batches), weights strictly between 0 and 1 → (…, batches).
    """
    import numpy as np

    weights, candidate = np.asarray(weights, dtype=np.float64), np.asarray(candidate, dtype=np.float64)
    errors = candidate + stable
    total: Any = -np.inf
    for ratio in RATIOS:
        steps = candidate * math.log(ratio) - errors * np.log1p(weights * (ratio - 1))
        total = np.logaddexp(total, np.cumsum(steps, axis=-1))
    return np.asarray(total - math.log(len(RATIOS)), dtype=np.float64)


def _merged(batches: Iterable[ErrorBatch]) -> tuple[ErrorBatch, ...]:
    sums: dict[float, tuple[int, int]] = {}
    for batch in batches:
        if 0 < batch.weight < 1:
            stable, candidate = sums.get(batch.weight, (0, 0))
            sums[batch.weight] = stable + batch.stable_errors, candidate + batch.candidate_errors
    return tuple(ErrorBatch(weight, *sums[weight]) for weight in sorted(sums))


def _log_e_for_more(counts: tuple[ErrorBatch, ...], risk: float) -> float:
    """Log e-value against "the relative risk is at most `risk`"; it falls as `risk` rises."""
    weights, stable, candidate = _columns(counts)
    return _log_e(weights, stable, candidate, risk)


def _log_e_for_less(counts: tuple[ErrorBatch, ...], risk: float) -> float:
    """Log e-value against "the relative risk is at least `risk`": the releases change places."""
    weights, stable, candidate = _columns(counts)
    return _log_e(1 - weights, candidate, stable, 1 / risk)


def _columns(counts: tuple[ErrorBatch, ...]) -> Any:
    import numpy as np

    rows = [(batch.weight, batch.stable_errors, batch.candidate_errors) for batch in counts]
    return np.array(rows, dtype=np.float64).reshape(-1, 3).T


def _log_e(weights: Floats, stable: Floats, candidate: Floats, risk: float) -> float:
    """All arguments: (weights,)."""
    import numpy as np

    at_risk = weights * risk / (1 - weights + weights * risk)  # an error's chance to be the candidate's
    ratios = np.array(RATIOS)
    losses = np.log1p(at_risk * (ratios[:, None] - 1)) @ (stable + candidate)
    return _log_mean_exp((candidate.sum() * np.log(ratios) - losses).tolist())


def _crossing(refuted: Callable[[float], bool], otherwise: float) -> float:
    """The largest number that is refuted, where every smaller one is too; `otherwise` when none is."""
    low, high = -math.log(_WIDEST), math.log(_WIDEST)
    if not refuted(math.exp(low)):
        return otherwise
    while high - low > 1e-7:
        middle = (low + high) / 2
        low, high = (middle, high) if refuted(math.exp(middle)) else (low, middle)
    return math.exp(low)


def error_rate_lower(requests: int, errors: int, alpha: float) -> float:
    """The error rate is above this, but for probability `alpha` over all looks; 0 without evidence.

    requests, errors: counts of one release so far. It bounds the average of the rates at which the requests ran, which
    may drift: each tilt λ = log r gives the supermartingale r^errors / (1 + p(r − 1))^requests, because log(1 + px) is
    concave in p. (A beta-binomial mixture has tilts that follow p, and holds for constant p alone.) Source of the
    method: Howard, Ramdas, McAuliffe and Sekhon 2021, Annals of Statistics 49, 1055. Raises ValueError when there are
    more errors than requests, and for counts that are negative, broken or NaN.
    """
    needed = _needed(requests, errors, alpha)
    tilted = [errors * math.log(ratio) for ratio in RATIOS]

    def refuted(rate: float) -> bool:
        pairs = zip(tilted, RATIOS, strict=True)
        return _log_mean_exp(gain - requests * math.log1p(rate * (ratio - 1)) for gain, ratio in pairs) >= needed

    return _bisect(refuted)


def error_rate_upper(requests: int, errors: int, alpha: float) -> float:
    """The error rate is below this, but for probability `alpha` over all looks; 1 without evidence.

    As `error_rate_lower`, with tilts to the other side: exact enough to follow the rule of three when nothing failed.
    """
    needed = _needed(requests, errors, alpha)
    tilted = [-errors * math.log(ratio) for ratio in RATIOS]

    def possible(rate: float) -> bool:
        pairs = zip(tilted, RATIOS, strict=True)
        return _log_mean_exp(gain - requests * math.log1p(rate * (1 / ratio - 1)) for gain, ratio in pairs) < needed

    return 1.0 if possible(1.0) else _bisect(possible)


def _needed(requests: int, errors: int, alpha: float) -> float:
    if inputs.count("errors", errors) > inputs.count("requests", requests):
        raise ValueError(f"{errors} errors in {requests} requests")
    return -math.log(inputs.level(alpha))


def _bisect(holds: Callable[[float], bool]) -> float:
    """The largest number from 0 to 1 for which `holds`, which is true below it; 0 when it is nowhere."""
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if holds(middle) else (low, middle)
    return low


@lru_cache(maxsize=1024)
def detectable(base_rate: float, relative_risk: float, weight: float, alpha: float, power: float = 0.95) -> int:
    """Requests to both releases together after which a candidate of this relative risk is caught.

    base_rate: the stable release's errors per request, 0–1. relative_risk: above 1. weight: of the candidate, constant,
    0–1. power: probability with which `harmful(alpha)` is true by then, at least. Errors are taken as Poisson, which
    spreads them more than they are, and a crossing that is undone by then is not counted. Raises ValueError for numbers
    out of range and for a relative risk too near to 1 to be seen, ever (about 1.05).
    """
    if inputs.positive("relative_risk", relative_risk) <= 1:
        raise ValueError(f"relative_risk must be above 1, not {relative_risk!r}")
    rates = _error_rates(base_rate, relative_risk, weight)
    against = [math.log1p(weight * (ratio - 1)) for ratio in RATIOS]
    return _requests(against, rates[1], rates[0], alpha, power)


@lru_cache(maxsize=1024)
def clearable(
    base_rate: float,
    weight: float,
    alpha: float,
    ceiling: float = CEILING,
    relative_risk: float = 1.0,
    power: float = 0.95,
) -> int:
    """Requests to both releases together after which a good candidate is `bounded(alpha, ceiling)`.

    Units, approximations and errors as for `detectable`; `relative_risk` is the candidate's true one.
    """
    if not inputs.positive("relative_risk", relative_risk) < inputs.positive("ceiling", ceiling):
        raise ValueError(f"relative_risk must be below the ceiling {ceiling!r}, not {relative_risk!r}")
    rates = _error_rates(base_rate, relative_risk, weight)
    stable_odds = (1 - weight) / (1 - weight + weight * ceiling)
    against = [math.log1p(stable_odds * (ratio - 1)) for ratio in RATIOS]
    return _requests(against, rates[0], rates[1], alpha, power)


def _error_rates(base_rate: float, relative_risk: float, weight: float) -> tuple[float, float]:
    """Errors of the stable release and of the candidate per request to either."""
    inputs.inner_share("base_rate", base_rate)
    inputs.inner_share("weight", weight)
    if base_rate * relative_risk > 1:
        raise ValueError(f"a base rate of {base_rate!r} cannot rise {relative_risk!r}-fold: that is above 1")
    return (1 - weight) * base_rate, weight * base_rate * relative_risk


def _requests(against: list[float], rate_for: float, rate_against: float, alpha: float, power: float) -> int:
    """The fewest requests (within 1 %) after which the evidence reaches 1/alpha with probability `power`.

    An error of the kind that speaks for it comes `rate_for` times a request and multiplies the likelihood ratios by
    RATIOS / exp(against); one of the other kind comes `rate_against` times and divides them by exp(against).
    """
    import numpy as np

    needed = -math.log(inputs.level(alpha))
    inputs.inner_share("power", power)
    gains, losses = np.log(RATIOS) - np.array(against), np.array(against)
    if (rate_for * gains - rate_against * losses).max() <= 0:
        raise ValueError(f"a difference so small shows after no number of requests (ratios tried: from {RATIOS[0]})")

    def reached(requests: int) -> bool:
        others, shares = _poisson_nodes(requests * rate_against)
        least = _fewest(others, gains, losses, needed)
        return float(shares @ _poisson_tail(requests * rate_for, least)) >= power

    high = 16
    while not reached(high):
        if high > _MOST_REQUESTS:
            raise ValueError("no number of requests is enough")
        high *= 2
    low = high // 2
    while high - low > max(1, high // 100):
        middle = (low + high) // 2
        low, high = (low, middle) if reached(middle) else (middle, high)
    return high


def _fewest(others: Floats, gains: Floats, losses: Floats, needed: float) -> Any:
    """How many errors for it outweigh `others` against it. others: (n,) → (n,) whole numbers."""
    import numpy as np

    each = others[:, None] * losses
    # One ratio alone reaches `needed` at `high`; at `low` not even all together do.
    high = np.ceil(((needed + math.log(len(RATIOS)) + each) / gains).min(axis=1))
    low = np.floor(((needed + each) / gains).min(axis=1)) - 1
    for _ in range(60):
        if (high - low <= 1).all():
            break
        middle = np.floor((low + high) / 2)
        exponents = middle[:, None] * gains - each
        top = exponents.max(axis=1)
        enough = top + np.log(np.exp(exponents - top[:, None]).mean(axis=1)) >= needed
        low, high = np.where(enough, low, middle), np.where(enough, middle, high)
    return high


def _poisson_nodes(mean: float) -> tuple[Any, Any]:
    """Values of a Poisson variable and their probabilities; for large means 200 equally likely normal quantiles."""
    import numpy as np

    if mean <= _EXACT:
        probabilities = _poisson(mean)
        return np.arange(probabilities.size, dtype=np.float64), probabilities
    normal = NormalDist(mean, math.sqrt(mean))
    values = [max(0.0, round(normal.inv_cdf((i + 0.5) / 200))) for i in range(200)]
    return np.array(values), np.full(200, 1 / 200)


def _poisson_tail(mean: float, least: Floats) -> Any:
    """Probability that a Poisson variable is at least `least`. least: (n,) → (n,)."""
    import numpy as np

    if mean <= _EXACT:
        below = np.concatenate(([0.0], np.cumsum(_poisson(mean))))
        return 1 - below[np.clip(least, 0, below.size - 1).astype(np.int64)]
    deviations = (least - 0.5 - mean) / math.sqrt(2 * mean)
    return np.array([math.erfc(deviation) / 2 for deviation in deviations])


def _poisson(mean: float) -> Any:
    """Probabilities of 0, 1, 2, … up to where nothing is left."""
    import numpy as np

    values = np.arange(1, int(mean + 9 * math.sqrt(mean) + 20))
    steps = np.log(mean) - np.log(values) if mean > 0 else np.full(values.size, -np.inf)
    return np.exp(np.concatenate(([0.0], np.cumsum(steps))) - mean)


def _log_mean_exp(values: Iterable[float]) -> float:
    exponents = list(values)
    top = max(exponents)
    return top + math.log(math.fsum(math.exp(exponent - top) for exponent in exponents) / len(exponents))


def _exp(value: float) -> float:
    return math.exp(value) if value < 709 else math.inf
