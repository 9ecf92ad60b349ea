"""Ctrl-C once finishes what runs and begins nothing; twice ends at once. Both can be gone on from."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

from harness import Life

Lives = Callable[..., Life]
Same = Callable[..., None]


def test_once_finishes_the_running_step(life: Lives, same: Same) -> None:
    one = life("new")
    process = one.start("apply", "--auto-approve", "--target", "split", pause=2)
    one.wait_until("executed", process)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal sends it
    ended = one.wait(process)
    assert ended.code == 1
    assert "Finishing the running steps" in ended.text
    assert "own done" in ended.text
    assert "split started" not in ended.text
    assert "cancelled" in ended.text
    same(one, "split")
    assert one.executions() == 1


def test_twice_ends_at_once(life: Lives, same: Same) -> None:
    one = life("new")
    process = one.start("apply", "--auto-approve", "--target", "own", pause=600)
    one.wait_until("executed", process)
    os.killpg(process.pid, signal.SIGINT)
    one.wait_until_printed("Finishing the running steps", process)
    os.killpg(process.pid, signal.SIGINT)
    ended = one.wait(process)
    assert ended.code == 1
    assert "Stopping at once" in ended.text
    assert "own was cancelled" in ended.text
    assert "engine apply" in ended.text
    same(one, "own")
    assert one.executions() == 2


def test_twice_ends_a_registration_at_once(life: Lives, same: Same) -> None:
    one = life("validated")
    process = one.start("apply", "--auto-approve", failpoints="register.created=sleep:120")
    one.wait_until("register.created", process)
    began = time.monotonic()
    os.killpg(process.pid, signal.SIGINT)
    one.wait_until_printed("Finishing the running steps", process)
    os.killpg(process.pid, signal.SIGINT)
    ended = one.wait(process)
    assert time.monotonic() - began < 60  # it does not wait for the answer
    assert ended.code == 1
    assert "cancelled" in ended.text
    same(one)


def test_waiting_for_a_lock_can_be_ended(life: Lives, same: Same) -> None:
    one = life("new")
    holder = one.start("apply", "--auto-approve", "--target", "own", pause=600)
    one.wait_until("executed", holder)
    waiter = one.start("apply", "--auto-approve", "--target", "own", "--lock-timeout", "1h")
    time.sleep(2)
    assert waiter.poll() is None
    os.killpg(waiter.pid, signal.SIGINT)
    assert waiter.wait(120) == 4  # as without waiting
    os.killpg(holder.pid, signal.SIGKILL)
    holder.wait()
    assert one.processes_left() == []
    same(one, "own")
