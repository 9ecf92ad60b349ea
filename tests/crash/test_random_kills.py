"""Killed at random moments, again and again, until it is done: the same end as if nothing had happened.

`ENGINE_SOAK=1` (`make soak`) kills a thousand times.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable

import pytest
from harness import Life

Lives = Callable[..., Life]
Same = Callable[..., None]

SOAK = os.environ.get("ENGINE_SOAK") == "1"
LIVES = 100 if SOAK else 1
KILLS = 10 if SOAK else 2  # in each life
LONGEST = 8.0 if SOAK else 2.5  # seconds: an apply in which nothing happens takes less (started warm, if no soak)


@pytest.mark.parametrize("seed", range(LIVES))
def test_killed_at_random(life: Lives, same: Same, seed: int) -> None:
    chance = random.Random(seed)
    one = life("new")
    for _ in range(KILLS):
        process = one.start("apply", "--auto-approve")
        time.sleep(chance.uniform(0, LONGEST))
        process.kill()  # perhaps too late: then it was done
        assert one.wait(process).code in (0, -9)
    same(one)
