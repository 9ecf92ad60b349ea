"""What the gateway observed of a release in half a second, and how it is added up. Immutable, free of any store.

Times are UTC in ISO 8601, latencies seconds, weights fractions 0–1.
"""

from __future__ import annotations

from dataclasses import dataclass

from engine.core.verdict import Verdict

BINS = 20  # of a score's range


@dataclass(frozen=True)
class Tally:
    """Counts and sums over the requests of one release in one role, at one generation and one weight.

    `keys` are distinct sticky keys that this rollout had not seen before, `error_keys` those with their first error.
    `errors` are requests that this release failed (an exception, a time-out, no number, a dead process); `fallbacks`
    those of them that another release answered. All that follows is of the keys' first requests alone, as far as they
    succeeded, which are `timed`: sums of latency in seconds, its squares, its natural logarithms and the squares of
    these. `scores` counts them by the score of their first row in equal bins of the score's range, the outer ones open;
    `score_sum` and its squares are of each request's mean. `labelled` to `loss_squares` come from feedback on their
    first rows; of a shadow, `labelled` counts the copies that were compared with the answer that was given, `correct`
    those alike.
    """

    model: str
    generation: int
    version: int
    role: str  # stable, candidate, shadow
    weight: float  # of the candidate at that moment
    at: str
    requests: int = 0
    keys: int = 0
    errors: int = 0
    error_keys: int = 0
    fallbacks: int = 0
    timed: int = 0
    latency_sum: float = 0.0
    latency_squares: float = 0.0
    log_sum: float = 0.0
    log_squares: float = 0.0
    scores: tuple[int, ...] = (0,) * BINS
    score_sum: float = 0.0
    score_squares: float = 0.0
    labelled: int = 0
    correct: int = 0
    loss_sum: float = 0.0
    loss_squares: float = 0.0


@dataclass(frozen=True)
class Measurement:
    """What a guardrail of the user's own gave when it was asked: a number, or a verdict of its own with its reason.

    Without either there was no data; `error` says why it could not be asked.
    """

    value: float | None = None
    verdict: Verdict | None = None
    reason: str = ""
    error: str = ""
