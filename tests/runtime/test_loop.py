"""The work loop: never the same name twice at once, nobody starves, failures wait longer each time."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise

import pytest

from engine.errors import EngineError, TransientError
from engine.runtime.deliver import Again, Done, Reconciled
from engine.runtime.loop import LONGEST_WAIT, Loop, exponential_wait


@contextmanager
def running(loop: Loop) -> Iterator[Loop]:
    thread = threading.Thread(target=loop.run)
    thread.start()
    try:
        yield loop
    finally:
        loop.stop()
        thread.join(10)
        assert not thread.is_alive()


def until(happened: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not happened():
        assert time.monotonic() < end
        time.sleep(0.002)


def test_each_name_is_worked_on_once_and_again_when_woken() -> None:
    seen: Counter[str] = Counter()

    def reconcile(name: str) -> Reconciled:
        seen[name] += 1
        return Done("nothing to do")

    loop = Loop(reconcile, workers=2)
    loop.keep(["a", "b", "c"])
    with running(loop):
        until(lambda: seen == {"a": 1, "b": 1, "c": 1})
        loop.wake(["b", "unknown"])
        until(lambda: seen == {"a": 1, "b": 2, "c": 1})
    assert loop.waiting_for() == dict.fromkeys("abc", "nothing to do")


def test_a_name_comes_back_when_it_said() -> None:
    times: list[float] = []

    def reconcile(_: str) -> Reconciled:
        times.append(time.monotonic())
        return Again(0.05, "later") if len(times) < 3 else Done("done")

    loop = Loop(reconcile)
    loop.keep(["a"])
    with running(loop):
        until(lambda: len(times) == 3)
    assert all(later - earlier >= 0.05 for earlier, later in pairwise(times))


def test_never_twice_at_once_and_a_wake_meanwhile_is_not_lost() -> None:
    inside: Counter[str] = Counter()
    most: Counter[str] = Counter()
    entered, leave = threading.Event(), threading.Event()
    calls: list[str] = []

    def reconcile(name: str) -> Reconciled:
        inside[name] += 1
        most[name] = max(most[name], inside[name])
        calls.append(name)
        entered.set()
        leave.wait(10)
        inside[name] -= 1
        return Done("")

    loop = Loop(reconcile, workers=3)
    loop.keep(["a"])
    with running(loop):
        entered.wait(10)
        loop.wake(["a"])
        loop.wake(["a"])
        loop.keep([])  # forgotten and known again while it is worked on
        loop.keep(["a"])
        leave.set()
        until(lambda: len(calls) == 2)
    assert most == {"a": 1}
    assert len(calls) == 2


def test_one_that_fails_waits_longer_each_time_and_stalls_nobody() -> None:
    good: Counter[str] = Counter()
    failures: list[int] = []

    def reconcile(name: str) -> Reconciled:
        if name == "poison":
            raise EngineError("its spec is broken")
        good[name] += 1
        return Again(0.005, "")

    loop = Loop(
        reconcile,
        failed=lambda name, error, times: failures.append(times),
        wait=lambda times: 0.02 * 2**times,
    )
    loop.keep(["poison", "a", "b"])
    with running(loop):
        until(lambda: len(failures) == 3 and good["a"] > 20 and good["b"] > 20)
        loop.wake(["poison"])  # keeps its wait
        assert failures == [1, 2, 3]
    assert loop.waiting_for()["poison"] == "its spec is broken"


def test_a_defect_is_a_failure_of_its_name_alone(caplog: pytest.LogCaptureFixture) -> None:
    failed: list[str] = []
    done = threading.Event()

    def reconcile(name: str) -> Reconciled:
        if name == "a":
            raise KeyError("what")
        done.set()
        return Done("")

    loop = Loop(reconcile, failed=lambda name, error, times: failed.append(error.message))
    loop.keep(["a", "b"])
    with running(loop):
        assert done.wait(10)
    assert failed == ["unexpected KeyError: 'what'"]
    assert "a pass failed unexpectedly" in caplog.text


def test_waits_double_are_spread_and_end() -> None:
    assert [0.5 * 2**n <= exponential_wait(n + 1) <= 1.5 * 2**n for n in range(8)] == [True] * 8
    assert all(LONGEST_WAIT / 2 <= exponential_wait(50) <= 1.5 * LONGEST_WAIT for _ in range(20))
    assert len({exponential_wait(3) for _ in range(20)}) > 1


def test_who_asks_for_more_time_gets_it() -> None:
    times: list[float] = []

    def reconcile(_: str) -> Reconciled:
        times.append(time.monotonic())
        if len(times) == 1:
            raise TransientError("the registry answered 503", retry_after=0.1)
        return Done("")

    loop = Loop(reconcile, wait=lambda _: 0.001)
    loop.keep(["a"])
    with running(loop):
        until(lambda: len(times) == 2)
    assert times[1] - times[0] >= 0.1


def test_once_settles_every_name_and_reports_failures() -> None:
    seen: Counter[str] = Counter()

    def reconcile(name: str) -> Reconciled:
        seen[name] += 1
        if name == "b":
            raise EngineError("no")
        return Again(0.0, "a step of the rollout") if seen[name] < 3 else Again(60.0, "it lasts")

    loop = Loop(reconcile, workers=2)
    loop.keep(["a", "b"])
    assert {name: error.message for name, error in loop.run_once().items()} == {"b": "no"}
    assert seen == {"a": 3, "b": 1}
