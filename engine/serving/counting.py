"""What is counted of a release while it serves: tallies for the analysis, totals for the metrics.

A `Slot` is a release in a role of a route; those that share a rollout's traffic share its `Keys`. Evidence is of what
is assigned at random, and that is a key, not a request: what one client sends is alike, and goes to one release. So a
key counts once: its first request with its latency and score, its first error. Counting is a few additions for each
request, in the event loop's thread.
"""

from __future__ import annotations

import json
import math
from bisect import bisect_left
from dataclasses import dataclass, field
from typing import NamedTuple

from engine.core.evidence import BINS, Tally
from engine.serving.pool import Pool
from engine.serving.wire import Reply

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)  # seconds
_MOST_KEYS = 1_000_000


class Keys:
    """The sticky keys (64-bit hashes) that a rollout has seen. Beyond a million the first ones are remembered."""

    def __init__(self) -> None:
        self._seen: set[int] = set()
        self._erred: set[int] = set()

    def is_new(self, key: int) -> bool:
        """Whether this key comes for the first time."""
        return _added(self._seen, key)

    def is_first_error(self, key: int) -> bool:
        """Whether this key has its first error."""
        return _added(self._erred, key)


def _added(known: set[int], key: int) -> bool:
    if key in known or len(known) >= _MOST_KEYS:
        return False
    known.add(key)
    return True


@dataclass
class Totals:
    """Since the gateway started: for the metrics."""

    requests: int = 0
    predictions: int = 0
    errors: int = 0
    fallbacks: int = 0
    refused: int = 0
    seconds: float = 0.0
    buckets: list[int] = field(default_factory=lambda: [0] * (len(BUCKETS) + 1))
    labelled: int = 0
    correct: int = 0


class Part(NamedTuple):
    """What a release plays in a route, while the candidate's weight is this."""

    model: str
    generation: int
    version: int
    role: str  # stable, candidate, shadow, idle
    weight: float


class Slot:
    """A release in a role. `key` arguments are hashes of sticky keys; None for a request that came without one."""

    def __init__(self, part: Part, pool: Pool, totals: Totals, keys: Keys) -> None:
        self.part = part
        self.model, self.version = part.model, part.version
        self.pool = pool
        self.totals = totals
        self._keys = keys
        self.headers = (
            "content-type: application/json\r\n"
            f"x-engine-model: {part.model}\r\nx-engine-release: {part.version}\r\nx-engine-role: {part.role}\r\n"
        ).encode()
        self.tail = f'"model":{json.dumps(part.model)},"version":{part.version},"role":"{part.role}"}}'.encode()
        self._clear()

    def succeeded(self, reply: Reply, seconds: float, key: int | None) -> bool:
        """It answered a request that was assigned to it; whether that is evidence, for which the first row stands."""
        self.answered(reply, seconds)
        if not self._count(key):
            return False
        log = math.log(seconds)
        self._timed += 1
        self._latency_sum += seconds
        self._latency_squares += seconds * seconds
        self._log_sum += log
        self._log_squares += log * log
        if reply.bins:
            score = reply.score_sum / reply.rows
            self._score_sum += score
            self._score_squares += score * score
            self._scores[reply.bins[0]] += 1
        return True

    def compared(self, *, same: bool) -> None:
        """Its answer to a copy was held against the answer that was given."""
        self._compared += 1
        self._same += same

    def answered(self, reply: Reply, seconds: float) -> None:
        """It answered; for the metrics alone, when the request was forced to it or fell back to it."""
        totals = self.totals
        totals.requests += 1
        totals.predictions += reply.rows
        totals.seconds += seconds
        totals.buckets[bisect_left(BUCKETS, seconds)] += 1

    def failed(self, key: int | None, *, fell_back: bool) -> None:
        """It did not answer a request that was assigned to it; another release may have."""
        self.erred(fell_back=fell_back)
        self._count(key)
        self._errors += 1
        self._fallbacks += fell_back
        if key is None or self._keys.is_first_error(key):
            self._error_keys += 1

    def erred(self, *, fell_back: bool = False) -> None:
        """It did not answer; for the metrics alone."""
        self.totals.requests += 1
        self.totals.errors += 1
        self.totals.fallbacks += fell_back

    def take(self, at: str) -> Tally | None:
        """What was counted since the last time; None if that is nothing."""
        if not (self._requests or self._compared):
            return None
        tally = Tally(
            *self.part, at,
            requests=self._requests, keys=self._new_keys, errors=self._errors, error_keys=self._error_keys,
            fallbacks=self._fallbacks, timed=self._timed, latency_sum=self._latency_sum,
            latency_squares=self._latency_squares, log_sum=self._log_sum, log_squares=self._log_squares,
            scores=tuple(self._scores), score_sum=self._score_sum, score_squares=self._score_squares,
            labelled=self._compared, correct=self._same,
        )  # fmt: skip
        self._clear()
        return tally

    def _count(self, key: int | None) -> bool:
        self._requests += 1
        new = key is None or self._keys.is_new(key)
        self._new_keys += new
        return new

    def _clear(self) -> None:
        self._compared = self._same = self._timed = 0
        self._requests = self._new_keys = self._errors = self._error_keys = self._fallbacks = 0
        self._latency_sum = self._latency_squares = self._log_sum = self._log_squares = 0.0
        self._scores = [0] * BINS
        self._score_sum = self._score_squares = 0.0
