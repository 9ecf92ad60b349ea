"""Generated events over a real state: passes, wishes, new candidates, rollbacks, deaths before and after a commit,
clocks that jump and leases that are lost in the middle. After each, what must always hold is looked up in the state.

Events come in sequences of twelve over one life. 120 sequences; `ENGINE_SOAK=1`: 20,000.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from test_deliver import CANARY, World

from engine.adapters.state.store import SqlStateStore
from engine.core.approval import Terms
from engine.core.records import Endpoint
from engine.core.rollout import (
    Phase,
    Readiness,
    Rollout,
    Seen,
    start,
    supersede,
    wish_abort,
    wish_pause,
    wish_promote,
    wish_resume,
)
from engine.core.verdict import Verdict
from engine.errors import EngineError
from engine.runtime.deliver import Delivery

SEQUENCES = 20_000 if os.environ.get("ENGINE_SOAK") == "1" else 120
EVENTS = ["tick"] * 8 + ["promote", "pause", "resume", "abort", "retry", "roll_back", "new", "lose_the_lease"]
VERSIONS = (1, 2, 3)


class Died(Exception):
    """The one who carries on is gone."""


@dataclass
class Mortal:
    """A store whose user may die just before or after a change of the endpoint is committed."""

    store: SqlStateStore
    dies: str = ""

    def __getattr__(self, name: str) -> Any:
        return getattr(self.store, name)

    def set_endpoint(self, *arguments: Any, **more: Any) -> None:
        if self.dies == "before":
            raise Died
        self.store.set_endpoint(*arguments, **more)
        if self.dies == "after":
            raise Died


class Life:
    """One endpoint. `seen` is what the observer says at every look of an event."""

    def __init__(self, folder: Path, chance: random.Random) -> None:
        self.world, self.chance = World(folder), chance
        self.mortal = Mortal(self.world.store)
        self.delivery = replace(self.world.delivery, store=self.mortal)  # type: ignore[arg-type]
        self.other: Delivery = self.world.another()
        self.happened: Counter[str] = Counter()

    def event(self) -> None:
        chance, world = self.chance, self.world
        name = chance.choice(EVENTS if world.rollout.is_open or chance.random() < 0.3 else ["new", "retry"])
        world.time += timedelta(seconds=chance.choice([1, 30, 61, 3600, -20]))
        readiness = chance.choices(list(Readiness), [8, 2, 0.3, 1])[0]
        world.eyes.now = Seen(readiness, chance.choices(list(Verdict), [8, 4, 1, 0.5])[0], "seen")
        self.mortal.dies = chance.choices(["", "before", "after"], [8, 1, 1])[0]
        before = world.endpoint, world.rollout
        outcome = "done"
        try:
            getattr(self, name)()
        except Died:
            outcome = f"died {self.mortal.dies}"
        except EngineError as error:
            outcome = type(error).__name__
        self.happened[f"{name}: {outcome}"] += 1
        self.check(name, outcome, *before)

    def tick(self) -> None:
        self.delivery.advance("churn")

    def promote(self) -> None:
        self.delivery.wish("churn", lambda rollout, seen: wish_promote(rollout, seen, "ana"))

    def pause(self) -> None:
        self.delivery.wish("churn", lambda rollout, _: wish_pause(rollout, "ana"))

    def resume(self) -> None:
        self.delivery.wish("churn", lambda rollout, _: wish_resume(rollout, "ana"))

    def abort(self) -> None:
        self.delivery.wish("churn", lambda rollout, _: wish_abort(rollout, "by hand"))

    def retry(self) -> None:
        self.delivery.retry("churn")

    def roll_back(self) -> None:
        self.delivery.roll_back("churn", None, "by hand")

    def new(self) -> None:
        """As `deploy` does it."""
        before, last = self.world.endpoint, self.world.rollout
        version = self.chance.choice([each for each in VERSIONS if each != before.stable])
        approval = replace(CANARY, approval=Terms(informal=True) if self.chance.random() < 0.3 else None)
        rollout, after = start(before, version, approval, last.number + 1, "c", self.world.time)
        ended = [(last, supersede(last, "a newer candidate", self.world.time))] if last.is_open else []
        with self.delivery.hold_endpoint("churn") as lease:
            changes: Any = [*ended, (None, rollout)]
            self.mortal.set_endpoint(lease, before, after, actor="ana", reason="deploy", rollouts=changes)

    def lose_the_lease(self) -> None:
        """Between decision and change so much time passes that another one takes the lease, and ends the rollout."""

        def decided(rollout: Rollout, seen: Seen) -> Any:
            decision = wish_promote(rollout, replace(seen, readiness=Readiness.READY, verdict=Verdict.PASS), "ana")
            self.world.time += timedelta(hours=2)
            self.other.wish("churn", lambda rollout, _: wish_abort(rollout, "the other one"))
            return decision

        self.delivery.wish("churn", decided)

    def check(self, name: str, outcome: str, before: Endpoint, was: Rollout) -> None:
        now, rollout, seen = self.world.endpoint, self.world.rollout, self.world.eyes.now
        assert now.stable is not None, "exactly one stable"
        assert now.candidate != now.stable
        if rollout.is_open:
            assert (now.candidate, now.weight) == (rollout.candidate, rollout.present.weight)
        else:
            assert (now.candidate, now.weight) == (None, 0.0)
        if now == before:
            assert rollout.number == was.number
        if outcome == "died before" or (outcome not in ("done", "died after") and name != "lose_the_lease"):
            assert (now, rollout) == (before, was), "what failed has changed nothing"
        grew = rollout.number == was.number and (now.weight > before.weight or now.stable != before.stable)
        if name == "tick" and grew:
            assert (seen.readiness, seen.verdict) == (Readiness.READY, Verdict.PASS), "no evidence, no promotion"
            assert was.began_at is not None, "weights only on ready releases"
        if name in ("tick", "promote") and was.is_open and outcome in ("done", "died after"):
            bad = seen.verdict is Verdict.FAIL or seen.readiness is Readiness.FAILED
            assert not bad or rollout.phase is Phase.ABORTED, "abort outranks promote"
        if name == "lose_the_lease" and was.is_open:
            assert outcome != "done", "who lost the lease writes nothing"
            assert rollout.phase is Phase.ABORTED
            assert now.stable == before.stable
        if not was.is_open and rollout.number == was.number:
            assert rollout == was, "what has ended stays as it ended"
        assert 0 <= now.generation - before.generation <= 1


@pytest.mark.slow
def test_generated_histories(tmp_path: Path, record_property: Callable[[str, object], None]) -> None:
    life = Life(tmp_path, random.Random(7))
    try:
        for _ in range(SEQUENCES * 12):
            life.event()
    finally:
        life.world.close()
    record_property("happened", dict(life.happened))
    print(dict(life.happened))
    kinds = {name.partition(":")[0] for name in life.happened if name.endswith(": done")}
    assert kinds | {"lose_the_lease"} == set(EVENTS)
    assert sum(number for name, number in life.happened.items() if "died" in name) > SEQUENCES / 10
