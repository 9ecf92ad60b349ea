"""How many predictions of a release may be under way: as many as it answers without keeping them waiting for long.

A gradient law, as in Netflix' concurrency-limits and Envoy's adaptive concurrency filter: latency now against latency
without company. The latter is the median of what found the processes idle; while more comes than is taken for so long
that it may have changed, the limit falls to one request a process until enough found them idle again. Pure: times
(seconds) are arguments.
"""

from __future__ import annotations

from collections import deque
from math import ceil
from statistics import median

FLOOR = 16  # requests for each process that are always taken
TOLERANCE = 3.0  # latency in proportion to that without company: two batches are waited for by whoever just missed one
SLACK_SECONDS = 0.01  # and at least so much longer: below it nobody needs to be refused
WINDOW_SECONDS = 0.1
WINDOW_SAMPLES = 20
LONGEST_WINDOW_SECONDS = 2.0  # whatever the number of samples
_LEAST_GRADIENT = 0.5
_GROWTH = 0.1  # in a window in which the limit was nearly used
_ALONE = 20  # latencies without company that are remembered
_PROBE_AFTER_SECONDS = 30.0
_PROBES = 5
_LONGEST_PROBE_SECONDS = 1.0


class ConcurrencyLimit:
    """Of one release's processes, between FLOOR for each and `ceiling`, which it is until something is known."""

    def __init__(self, ceiling: int, processes: int = 1) -> None:
        self.ceiling = ceiling
        self.in_flight = 0
        self.refused = 0
        self._processes = processes
        self._floor = min(ceiling, FLOOR * processes)
        self._limit = float(ceiling)
        self._alone: deque[float] = deque(maxlen=_ALONE)
        self._alone_at = 0.0  # when one was last added
        self._probing: float | None = None  # since when
        self._probes = 0
        self._samples: list[float] = []
        self._opened = 0.0  # the window
        self._most = 0  # in flight in the window

    @property
    def limit(self) -> int:
        """Requests that may be in flight now."""
        return self._processes if self._probing is not None else int(self._limit)

    @property
    def has_room(self) -> bool:
        """Whether one more may come."""
        return self.in_flight < self.limit

    @property
    def baseline(self) -> float:
        """Latency without company, seconds; 0 while it is not known."""
        return median(self._alone) if self._alone else 0.0

    def refuse(self, now: float) -> None:
        """One was refused because there was no room."""
        self.refused += 1
        self._most = max(self._most, self.limit)
        if self._probing is None:
            if self._alone and now - self._alone_at > _PROBE_AFTER_SECONDS:
                self._probing, self._probes = now, 0
        elif now - self._probing > _LONGEST_PROBE_SECONDS:
            self._stop_probing(now)

    def begin(self) -> bool:
        """One begins; whether it found a process idle, which `end` wants to know."""
        alone = self.in_flight < self._processes
        self.in_flight += 1
        self._most = max(self._most, self.in_flight)
        return alone

    def end(self, now: float, seconds: float | None, *, alone: bool) -> None:
        """One ends. `seconds`: how long it took; None if that says nothing, because it failed or had to wait."""
        self.in_flight -= 1
        if seconds is None:
            return
        if alone:
            self._take_alone(now, seconds)
        if self._probing is not None:
            return
        if not self._samples:
            self._opened = now - seconds
        self._samples.append(seconds)
        age = now - self._opened
        enough = age >= WINDOW_SECONDS and len(self._samples) >= WINDOW_SAMPLES
        if enough or age >= LONGEST_WINDOW_SECONDS:
            self._adapt(median(self._samples))
            self._samples, self._most = [], self.in_flight

    def _take_alone(self, now: float, seconds: float) -> None:
        if self._probing is not None:
            if not self._probes:
                self._alone.clear()
            self._probes += 1
        self._alone.append(seconds)
        self._alone_at = now
        if self._probes >= _PROBES:
            self._stop_probing(now)

    def _stop_probing(self, now: float) -> None:
        self._probing, self._probes, self._alone_at, self._samples = None, 0, now, []

    def _adapt(self, latency: float) -> None:
        baseline = self.baseline
        if not baseline:
            return
        target = max(TOLERANCE * baseline, baseline + SLACK_SECONDS)
        if latency > target:
            # In proportion to what was under way: a limit far above it would take many windows to matter.
            used = min(self._limit, max(self._most, 1))
            self._limit = max(self._floor, used * max(_LEAST_GRADIENT, target / latency))
        elif 2 * self._most >= self._limit:
            self._limit = min(self.ceiling, self._limit + ceil(_GROWTH * self._limit))
