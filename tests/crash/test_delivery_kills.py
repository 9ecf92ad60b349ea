"""Whoever carries rollouts on is killed, again and again, while a gateway serves them to clients who never pause.

Each rollout is one of three stories: it climbs to the end, is sent away by hand at some stage, or is promoted by hand
at some stage; then version 1 is brought back and the candidate is tried again. All commands are killed, at named places
and at random moments. After every death the state must be sound and say what its rollout says; in the end, each rollout
must have gone exactly the way that it goes when nobody is killed. Model processes are killed meanwhile, too.

`ENGINE_SOAK=1` kills a thousand times, in four lives.
"""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from forking import Forks
from harness import Life, copy_of
from live_delivery import Served, served

from engine.adapters.state.reader import SqliteStateReader
from engine.core.rollout import Rollout

SOAK = os.environ.get("ENGINE_SOAK") == "1"
LIVES = 4 if SOAK else 1
KILLS = 250 if SOAK else 5  # in each life
KILLS_EACH = 12 if SOAK else 4  # of one rollout, at most
SIGKILL = -9

STAGES = (0.1, 0.25, 0.5)
STORIES = ("climb", "abort", "promote")
POINTS = (
    *("rollout.record", "state.rollout", "rollout.mirror", "lease.release", "state.commit", "state.committed"),
    *("rollout.record@2", "state.rollout@2", "state.commit@2", "state.committed@2", "lease.release@2"),
    *("state.commit@3", "state.committed@3", "state.commit@4", "state.committed@4"),
)
CARRIERS = {  # with the longest time, in seconds, after which a random kill comes
    ("reconcile",): 1.0,  # it takes less, unless it moves the registry's aliases
    ("rollout", "watch", "tiny"): 5.0,
    ("apply", "--auto-approve", "--wait"): 5.0,
}


class Story:
    """One rollout from its first stage to its end. `deaths` counts what was killed where."""

    def __init__(self, world: World, name: str, stage: int, kills: int) -> None:
        self.world, self.name, self.stage = world, name, stage
        self.left = kills

    def tell(self) -> None:
        """To the end, and to the registry's aliases."""
        world = self.world
        while (rollout := world.rollout()).is_open:
            if self.name != "climb" and rollout.stage >= self.stage and rollout.began_at is not None:
                self.run(self.name, "tiny", *(["--reason", "by hand"] if self.name == "abort" else []))
            elif self.name != "climb":
                self.run("reconcile")  # one change at most, so that its stage is not missed
            else:
                self.run(*world.chance.choices(list(CARRIERS), [4, 2, 1])[0])
        world.until_mirrored(self.run)

    def run(self, *arguments: str) -> None:
        """Once; perhaps it is killed."""
        if self.left > 0:
            self.left -= self.world.killed(*arguments)
        else:
            self.world.unharmed(*arguments)


class World:
    """A project with its gateway, and a source of forks to be killed."""

    def __init__(self, life: Life, gateway: Served, forks: Forks) -> None:
        self.life, self.gateway, self.forks = life, gateway, forks
        self.chance = random.Random(0)
        self.deaths: Counter[str] = Counter()
        self.stories: list[tuple[str, int]] = []

    def rollout(self) -> Rollout:
        reader = SqliteStateReader(self.life.home / "state.db")
        found = reader.rollouts("tiny", 1)[0]
        reader.close()
        return found

    def killed(self, *arguments: str) -> int:
        """Run a command that is to be killed; 1 if it was, 0 if it ended before."""
        point = self.chance.choice(POINTS) if self.chance.random() < 0.6 else ""
        name, _, number = point.partition("@")
        environment = {"ENGINE_FAILPOINTS": f"{name}=kill@{number or 1}" if point else ""}
        self.forks.start(*arguments, environment=environment)
        if not point:
            self.forks.wait_for(self.chance.uniform(0, CARRIERS.get(arguments, 1.0)))
            self.forks.kill()
        code = self.forks.wait()
        self.life.check()
        assert code in (0, 1, 3, SIGKILL), self.forks.text()  # 1: a pass before had done it; 3: sent away
        if code == SIGKILL:
            self.deaths[name or "at random"] += 1
        return code == SIGKILL

    def unharmed(self, *arguments: str) -> None:
        self.forks.start(*arguments, environment={"ENGINE_FAILPOINTS": ""})
        code = self.forks.wait()
        assert code in (0, 3), self.forks.text()
        self.life.check()

    def until_mirrored(self, run: Any) -> None:
        """The registry says what the endpoint says."""
        while self.unmirrored():
            run("reconcile")

    def unmirrored(self) -> bool:
        reader = SqliteStateReader(self.life.home / "state.db")
        found = bool(reader.unmirrored())
        reader.close()
        return found

    def back(self, kills: int) -> int:
        """Version 1 alone again, and the rollout anew; returns how often that was killed."""
        came = 0
        while self.endpoint()["stable"] != 1:
            if came < kills:
                came += self.killed("rollback", "tiny", "--to", "1")
            else:
                self.unharmed("rollback", "tiny", "--to", "1")
        number = self.rollout().number
        while self.rollout().number == number:
            if came < kills:
                came += self.killed("rollout", "retry", "tiny")
            else:
                self.unharmed("rollout", "retry", "tiny")
        assert self.rollout().number == number + 1, "it is begun once"
        return came

    def endpoint(self) -> dict[str, Any]:
        reader = SqliteStateReader(self.life.home / "state.db")
        found = reader.models(["tiny"])["tiny"].endpoint
        reader.close()
        assert found is not None
        return vars(found)

    def tell(self, name: str, stage: int, kills: int) -> int:
        """One story after the other; returns how often its commands were killed."""
        story = Story(self, name, stage, kills)
        story.tell()
        self.stories.append((name, stage))
        self.compare()
        return kills - story.left

    def compare(self) -> None:
        """The last rollout went the way that its story goes, step by step and once, and ended as it ends."""
        name, stage = self.stories[-1]
        rollout, endpoint = self.rollout(), self.endpoint()
        reader = SqliteStateReader(self.life.home / "state.db")
        events = [
            (each["stage"], each["phase"])
            for event in reader.audit()
            if event.event.startswith("rollout") and (each := event.details["rollout"])["number"] == rollout.number  # type: ignore[index, call-overload]
        ]
        reader.close()
        assert events == way(name, stage), (name, stage)
        live = 1 if name == "abort" else 2
        assert (endpoint["stable"], endpoint["candidate"], endpoint["weight"]) == (live, None, 0.0)
        assert self.life.registry_aliases() == [("tiny", "champion", live)]
        self.gateway.wait(lambda: (self.gateway.model().get("effective") or {}).get("stable") == live)
        self.gateway.check()


def way(name: str, stage: int) -> list[tuple[int, str]]:
    """The stage and phase after each change of a rollout: started, begun, moved, begun, …, ended."""
    last = len(STAGES) - 1 if name == "climb" else stage
    climbed = [(each, "progressing") for each in range(last + 1) for _ in range(2)]
    return [*climbed, (last, "aborted" if name == "abort" else "promoted")]


@pytest.fixture
def world(climbing: Path, tmp_path: Path) -> Iterator[World]:
    life = copy_of(Life(climbing), tmp_path / "project")
    forks = Forks(life.root, life.printed_file)
    with served(life) as gateway:
        yield World(life, gateway, forks)
    forks.close()


@pytest.mark.slow
@pytest.mark.warm
@pytest.mark.parametrize("seed", range(LIVES))
def test_killed_again_and_again_under_load(world: World, seed: int, record_property: Any) -> None:
    world.chance.seed(seed)
    for name in STORIES if SOAK else ():
        world.tell(name, stage=1, kills=0)  # as it goes without harm
        world.back(kills=0)
    kills = 0
    began = time.monotonic()
    while kills < KILLS:
        world.gateway.kill_model_process(world.chance.choice([1, 2]))
        kills += world.tell(world.chance.choice(STORIES), world.chance.randrange(len(STAGES)), KILLS_EACH)
        kills += world.back(kills=2)
        print(f"{kills} kills, {len(world.stories)} rollouts, {time.monotonic() - began:.0f} s", flush=True)
    world.gateway.check()
    assert min(world.gateway.answered[version] for version in (1, 2)) > 0
    record_property("deaths", dict(world.deaths))
    record_property("rollouts", dict(Counter(name for name, _ in world.stories)))
    record_property("answered", dict(world.gateway.answered))
    assert not SOAK or {point.partition("@")[0] for point in POINTS} <= world.deaths.keys()
    print(world.deaths, Counter(name for name, _ in world.stories), world.gateway.answered, flush=True)
