"""A controller is killed, again and again, while data changes and events come twice, late and in any order.

A story is new data and a handful of events that ask for a retrain. However often the controller dies on its way, the
story must end with one release more, live and told to the registry; every event taken up once; nothing trained twice.
The kills come at named places and at random moments, of passes (`--once`) and of a controller that goes on.

`ENGINE_SOAK=1` kills a thousand times and sends a thousand events, and tells the same stories unharmed beside it.
"""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from forking import Forks
from harness import Life, copy_of, gateway

from engine.adapters.state.reader import SqliteStateReader
from engine.app.workspace import Workspace
from engine.core.records import Aftermath, Event, EventKind, RunStatus

SOAK = os.environ.get("ENGINE_SOAK") == "1"
LIVES = 4 if SOAK else 1
KILLS = int(os.environ.get("KILLS", "1000")) // LIVES if SOAK else 5  # of each life
KILLS_EACH = 12 if SOAK else 5  # of one story, at most
EVENTS = 14 if SOAK else 5  # of one story; about as many are sent again
LONGEST = 3.0  # seconds within which a random kill comes; a pass takes less
SIGKILL, SIGTERM = -9, -15
ONCE, GOING_ON = ("controller", "--once"), ("controller",)
POINTS = (
    *("trigger.evaluated", "trigger.recorded", "trigger.taken_up", "trigger.settle", "run.start", "run.started"),
    *("step.intent", "step.intent@3", "step.begin@2", "step.worked@2", "step.stored@2", "step.done", "step.done@4"),
    *("artifacts.write@2", "artifacts.rename@3", "artifacts.renamed@2", "worker.begin", "worker.result@2"),
    *("register.search", "register.run", "register.model", "register.version", "register.created", "register.alias"),
    *("deploy.record", "deploy.mirror", "rollout.record", "rollout.mirror", "state.rollout", "run.finish"),
    *(f"lease.release@{nth}" for nth in range(1, 5)),
    *(f"state.{name}@{nth}" for name in ("commit", "committed") for nth in (1, 2, 3, 4, 6, 9, 13, 18)),
)
FIRST = () if SOAK else ("worker.begin", "trigger.recorded", "step.worked@3", "run.finish", "trigger.settle")
IN_CHILDREN = ("worker.", "register.")  # where another process than the controller dies


class World:
    """A project, its events, and forks to be killed."""

    def __init__(self, life: Life, seed: int) -> None:
        self.life = life
        self.chance = random.Random(seed)
        self.forks = Forks(life.root, life.printed_file)
        self.deaths: Counter[str] = Counter()
        self.stories = 0
        self.sent: list[str] = []
        self.first = list(FIRST)

    # ── what happens ──

    def story(self, kills: int) -> int:
        """New data, events, and a controller that may die so often; how often it did."""
        self.stories += 1
        self._new_rows()
        new = [f"{self.stories}-{number}" for number in range(EVENTS)]
        coming = [*new, *self.chance.choices([*new, *self.sent], k=EVENTS)]  # twice, and those of long ago
        self.chance.shuffle(coming)
        coming.insert(0, new[0])
        died = 0
        for turn in range(200):
            for _ in range(max(1, len(coming) // 3) if kills else len(coming)):
                if coming:
                    self._send(coming.pop(0))
            if turn and not coming and self.is_settled():
                break
            died += self._run(harmed=died < kills)
        assert self.is_settled(), self.forks.text()
        self.check()
        return died

    def _new_rows(self) -> None:
        chance = random.Random(self.stories)
        with (self.life.root / "data" / "tiny.csv").open("a") as file:
            for _ in range(5):
                a, b = chance.gauss(0, 1), chance.gauss(0, 1)
                file.write(f"{a:.4f},{b:.4f},{chance.choice('xyz')},{'yes' if a + b > 0 else 'no'}\n")

    def _send(self, id: str) -> None:
        store = Workspace(self.life.root).store
        try:
            assert store.put(Event(id, "tiny", EventKind.MANUAL, reason="a story")) == (id not in self.sent)
        finally:
            store.close()
        if id not in self.sent:
            self.sent.append(id)

    def _run(self, *, harmed: bool) -> int:
        """A controller, killed perhaps; 1 if it, or a process of its, died."""
        point = ""
        if harmed and self.first:
            point = self.first.pop(0)
        elif harmed and self.chance.random() < 0.7:
            point = self.chance.choice(POINTS)
        name, _, nth = point.partition("@")
        goes_on = harmed and not point.startswith(IN_CHILDREN) and self.chance.random() < 0.25  # each child would die
        self.start(*(GOING_ON if goes_on else ONCE), failpoints=f"{name}=kill@{nth or 1}" if point else "")
        if harmed and not point:
            self.forks.wait_for(self.chance.uniform(0, LONGEST))
            self.forks.kill()
        elif goes_on:
            self._until_dead_or_settled()
        code = self.wait()
        assert code in (0, 1, SIGKILL, SIGTERM), self.forks.text()  # the last before it listens for signals
        hit = code == SIGKILL or (point.startswith(IN_CHILDREN) and code == 1)
        if hit:
            self.deaths[name or "at random"] += 1
        return int(hit)

    def _until_dead_or_settled(self) -> None:
        end = time.monotonic() + 20
        while self.forks.lives() and not self.is_settled() and time.monotonic() < end:
            time.sleep(0.05)
        self.forks.signal(signal.SIGTERM)

    def start(self, *arguments: str, failpoints: str = "") -> None:
        """Start a command."""
        variables = {
            "COUNT": str(self.life.count_file),
            "PAUSE": "0",
            "ENGINE_FAILPOINTS": failpoints,
            "ENGINE_FAILPOINTS_SEEN": str(self.life.seen_file),
        }
        self.forks.start(*arguments, environment=variables)

    def wait(self) -> int:
        """How it ended; then what must hold at any time is checked."""
        code = self.forks.wait()
        assert self.life.processes_left() == []
        self.life._executions = self.life.executions()  # of new data the user's step makes new tables
        self.life.check()
        assert "Traceback" not in self.forks.text(), self.forks.text()
        return code

    # ── what must hold ──

    @contextmanager
    def reader(self) -> Iterator[SqliteStateReader]:
        found = SqliteStateReader(self.life.home / "state.db")
        try:
            yield found
        finally:
            found.close()

    def is_settled(self) -> bool:
        """Nothing waits, and the newest release is live."""
        with self.reader() as reader:
            endpoint = reader.models(["tiny"])["tiny"].endpoint
            newest = next(iter(reader.evaluations("tiny", 1, due_only=True)), None)
            settled = newest is not None and newest.aftermath is not None
            waits = reader.pending("tiny") or reader.open_rollouts() or reader.unmirrored()
            return settled and not waits and endpoint is not None and endpoint.stable == 1 + self.stories

    def check(self) -> None:
        """Each story made one release; every event was taken up once, by an evaluation that is settled."""
        versions = list(range(1, 2 + self.stories))
        with self.reader() as reader:
            assert sorted(release.version for release in reader.releases("tiny")) == versions
            evaluations = reader.evaluations("tiny", 10_000, due_only=True)
            assert Counter(each.aftermath for each in evaluations)[Aftermath.RELEASED] == self.stories
            assert {each.aftermath for each in evaluations} <= {Aftermath.RELEASED, Aftermath.NOTHING_NEW}
            assert RunStatus.RUNNING not in {run.status for run in reader.runs("tiny", 10_000)}
            handled = [event.details["ids"] for event in reader.audit() if event.event == "events handled"]
        ids = [id for each in handled for id in each]  # type: ignore[union-attr]
        assert sorted(ids) == sorted(self.sent), "lost, or handled twice"
        with closing(sqlite3.connect(self.life.home / "state.db")) as connection:
            [(trained,)] = connection.execute("SELECT count(*) FROM steps WHERE step = 'train' AND status = 'done'")
        assert trained == len(versions)
        with closing(sqlite3.connect(self.life.home / "mlflow.db")) as connection:
            found = connection.execute("SELECT version FROM model_versions ORDER BY version").fetchall()
        assert found == [(version,) for version in versions]
        assert self.life.registry_aliases() == [("tiny", "champion", versions[-1])]

    def outcome(self) -> Any:
        """What must be as in a life that nothing happened to."""
        with self.reader() as reader:
            state = reader.models(["tiny"])["tiny"]
            assert state.endpoint is not None
            return (
                [(each.version, each.artifact.digest, each.evidence["metrics"]) for each in reader.releases("tiny")],
                (state.endpoint.stable, state.endpoint.candidate, state.endpoint.weight, state.endpoint.previous),
                {
                    step: [artifact.digest for artifact in result.outputs.values()]
                    for step, result in state.latest.items()
                    if step != "register"
                },
            )


@pytest.fixture
def worlds(projects: Path, tmp_path: Path) -> Iterator[Callable[[str, int], World]]:
    """Makes a project whose releases take over by blue-green, and a gateway's status beside it."""
    made: list[World] = []
    gateways: list[Any] = []

    def make(name: str, seed: int) -> World:
        one = copy_of(Life(projects / "done"), tmp_path / name)
        one.edit("{strategy: recreate}", "{strategy: blue_green}")
        made.append(World(one, seed))
        gateways.append(gateway(one))
        gateways[-1].__enter__()
        return made[-1]

    yield make
    for world, each in zip(made, gateways, strict=True):
        world.forks.close()
        each.__exit__(None, None, None)


@pytest.mark.slow
@pytest.mark.warm
@pytest.mark.parametrize("seed", range(LIVES))
def test_killed_while_it_retrains(worlds: Callable[[str, int], World], record_property: Any, seed: int) -> None:
    world, kills, began = worlds("killed", seed), 0, time.monotonic()
    while kills < KILLS:
        kills += world.story(min(KILLS_EACH, KILLS - kills))
        print(
            f"life {seed}: {kills} kills, {world.stories} stories, {len(world.sent)} events, "
            f"{time.monotonic() - began:.0f} s",
            flush=True,
        )
    record_property("deaths", dict(world.deaths))
    print(world.deaths, flush=True)
    if SOAK:
        unharmed = worlds("unharmed", LIVES)
        for _ in range(world.stories):
            unharmed.story(0)
        assert unharmed.outcome() == world.outcome()
        print(f"life {seed} ended as one without harm", flush=True)


@pytest.mark.warm
def test_a_retrain_whose_step_dies_each_time_is_given_up(worlds: Callable[[str, int], World]) -> None:
    world = worlds("dying", 2)
    world._new_rows()
    world._send("one")
    for aftermath in (None, None, Aftermath.FAILED):
        world.start(*ONCE, failpoints="worker.begin=kill")
        assert world.wait() == (1 if aftermath is None else 0)
        with world.reader() as reader:
            [evaluation] = reader.evaluations("tiny", 2, due_only=True)
            assert evaluation.aftermath is aftermath
    assert "its process was killed by SIGKILL" in world.forks.text()


@pytest.mark.warm
def test_what_is_forced_is_trained_once(worlds: Callable[[str, int], World]) -> None:
    world = worlds("forced", 3)
    world.life.edit("  deployment:", "  retrain_trigger: {type: manual, force: true}\n  deployment:")
    world.start(*ONCE)
    assert world.wait() == 0
    world._send("one")
    world.start(*ONCE, failpoints="step.done=kill")  # of train: all before it is as it was
    assert world.forks.wait() == SIGKILL
    assert "train started" in world.forks.text()
    world.start(*ONCE)
    assert world.forks.wait() == 0
    assert "train started" not in world.forks.text()
    with world.reader() as reader:
        [evaluation] = reader.evaluations("tiny", 2, due_only=True)
        assert evaluation.aftermath is Aftermath.RELEASED


def points(*names: str) -> Sequence[str]:
    return names if SOAK else names[:1]


@pytest.mark.slow
@pytest.mark.warm
@pytest.mark.parametrize(
    "point",
    points(
        "step.stored@3",
        "trigger.recorded",
        "trigger.taken_up",
        "run.started",
        "step.worked",
        "deploy.record",
        "deploy.mirror",
        "run.finish",
        "trigger.settle",
        "rollout.record",
    ),
)
def test_two_that_both_believe_to_have_the_lease(worlds: Callable[[str, int], World], point: str) -> None:
    """One is stopped in the middle and its lease ends; another does its work; then the first one goes on."""
    world = worlds("split", 1)
    other = Forks(world.life.root, world.life.printed_file.with_name("other"))
    world.stories = 1
    world._new_rows()
    world._send("one")
    name, _, nth = point.partition("@")
    world.start(*ONCE, failpoints=f"{name}=stop@{nth or 1}")
    world.forks.wait_stopped()
    with closing(sqlite3.connect(world.life.home / "state.db")) as connection, connection:
        connection.execute("UPDATE leases SET expires_at = '2000-01-01T00:00:00.000000Z' WHERE holder IS NOT NULL")
    variables = {"COUNT": str(world.life.count_file), "PAUSE": "0", "ENGINE_FAILPOINTS": ""}
    for _ in range(10):
        other.start(*ONCE, environment=variables)
        assert other.wait() == 0, other.text()
        if world.is_settled():
            break
    assert world.is_settled(), other.text()
    with world.reader() as reader:
        before, written = world.outcome(), len(reader.audit())
    world.forks.signal(signal.SIGCONT)
    assert world.wait() in (0, 1)
    with world.reader() as reader:
        assert [event.event for event in reader.audit()[written:]] == []
    assert world.outcome() == before
    world.check()
    other.close()
