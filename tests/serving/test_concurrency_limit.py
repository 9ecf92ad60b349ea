"""The law of the concurrency limit, on a small simulated queue: one process that takes whatever waits in one batch."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest

from engine.serving.concurrency import FLOOR, TOLERANCE, ConcurrencyLimit

Service = Callable[[int], float]  # seconds for a batch of so many


@dataclass
class Run:
    """What became of the requests."""

    latencies: list[float] = field(default_factory=list)
    refused: int = 0
    taken: int = 0

    def quantile(self, share: float) -> float:
        """Of the latencies, seconds."""
        return sorted(self.latencies)[int(len(self.latencies) * share)]


def arrivals(rate: float, seconds: float, start: float, chance: random.Random) -> Iterator[float]:
    """At random, so many in a second."""
    at = start
    while (at := at + chance.expovariate(rate)) < start + seconds:
        yield at


def simulate(
    limit: ConcurrencyLimit, service: Service, rate: float, seconds: float, start: float = 0.0, after: float = 0.0
) -> Run:
    """An open loop: who is refused does not come again. Latencies count `after` so many seconds."""
    chance = random.Random(5)
    run, waiting, busy = Run(), list[tuple[float, bool]](), list[tuple[float, bool]]()
    done = float("inf")
    todo = [(at, 0) for at in arrivals(rate, seconds, start, chance)]
    heapq.heapify(todo)
    while todo or busy:
        if todo and todo[0][0] <= done:
            now = heapq.heappop(todo)[0]
            if limit.has_room:
                waiting.append((now, limit.begin()))
                run.taken += 1
            else:
                limit.refuse(now)
                run.refused += 1
        else:
            now, finished, busy = done, busy, []
            for began, alone in finished:
                limit.end(now, now - began, alone=alone)
                if began >= start + after:
                    run.latencies.append(now - began)
            done = float("inf")
        if waiting and not busy:
            busy, waiting = waiting, []
            done = now + service(len(busy)) * chance.uniform(0.95, 1.1)
    return run


def together(count: int) -> float:
    """A library's predict: 20 ms, and little more for further rows."""
    return 0.020 + 0.0001 * count


def cheap(count: int) -> float:
    """A compiled model."""
    return 0.0003 + 0.00012 * count


@pytest.mark.parametrize(("service", "capacity"), [(together, 2000.0), (cheap, 7000.0)])
def test_at_five_times_the_capacity_who_is_taken_is_answered_soon(service: Service, capacity: float) -> None:
    unloaded = simulate(ConcurrencyLimit(256), service, 0.2 * capacity, 3)
    assert unloaded.refused == 0
    limit = ConcurrencyLimit(256)
    simulate(limit, service, 0.2 * capacity, 2)
    over = simulate(limit, service, 5 * capacity, 4, start=2, after=1)
    assert over.refused > over.taken
    assert over.taken / 4 > 0.5 * capacity  # and it does not work less for it
    slack = 0.014 if service is cheap else 0.0  # a few milliseconds are allowed whatever the model
    assert over.quantile(0.99) < 2 * unloaded.quantile(0.99) + slack


def test_without_a_limit_the_same_overload_is_a_queue() -> None:
    over = simulate(ConcurrencyLimit(10_000_000), lambda count: 0.02 * count, 250, 4)
    assert over.quantile(0.99) > 20 * 0.02


def test_rows_that_cannot_be_predicted_together_come_down_to_the_floor() -> None:
    limit = ConcurrencyLimit(256)
    simulate(limit, lambda count: 0.02 * count, 10, 3)
    over = simulate(limit, lambda count: 0.02 * count, 250, 20, start=3, after=10)
    assert limit.limit == FLOOR
    assert over.quantile(0.99) <= (2 * FLOOR + 1) * 0.02 * 1.1
    assert over.taken / 20 > 40


def test_nothing_is_refused_that_keeps_nobody_waiting() -> None:
    """32 clients of a cheap model, one request after the other: that is not overload."""
    limit = ConcurrencyLimit(256)
    simulate(limit, cheap, 500, 1)
    now = 1.0
    for _ in range(3000):
        alone = [limit.begin() for _ in range(32)]
        now += cheap(32)
        for each in alone:
            limit.end(now, cheap(32), alone=each)
        assert limit.limit >= 32


def test_the_limit_comes_back_when_the_load_goes() -> None:
    limit = ConcurrencyLimit(256)
    simulate(limit, together, 100, 2)
    for _ in range(100):  # something else takes the processors
        limit.end(2.0, 0.5, alone=limit.begin() and False)
    low = limit.limit
    over = simulate(limit, together, 10_000, 10, start=3)
    assert low < limit.limit
    assert over.taken / 10 > 500


def test_what_has_become_slower_is_measured_anew_under_load() -> None:
    """A baseline of better days would hold the limit at the floor for ever."""
    limit = ConcurrencyLimit(256)
    simulate(limit, together, 100, 2)
    before = limit.baseline
    slower = simulate(limit, lambda count: 4 * together(count), 5000, 60, start=2)
    assert limit.baseline > 3 * before
    assert limit.limit > 2 * FLOOR
    assert slower.taken / 60 > 100


def test_before_anything_is_known_the_ceiling_counts() -> None:
    limit = ConcurrencyLimit(20, processes=2)
    alone = [limit.begin() for _ in range(20)]
    assert alone.count(True) == 2
    assert not limit.has_room
    for each in alone:
        limit.end(1.0, None, alone=each)  # what failed says nothing
    assert (limit.limit, limit.in_flight, limit.baseline) == (20, 0, 0.0)
    assert ConcurrencyLimit(3).limit == 3  # a ceiling below the floor is a ceiling
    assert TOLERANCE > 2  # who just missed a batch waits for it and for its own
