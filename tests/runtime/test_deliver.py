"""Carrying rollouts on over a real state: passes, wishes, several who carry on at once, a registry that fails."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest

from engine.adapters.state.store import SqlStateStore
from engine.core import rollout as rollouts
from engine.core.approval import Consent, Terms
from engine.core.records import Endpoint
from engine.core.rollout import Phase, Readiness, Rollout, Seen, start
from engine.core.stages import Stage, Strategy
from engine.core.verdict import Verdict
from engine.errors import LockedError, TransientError, UsageError
from engine.ports import Registered, RegisterRequest
from engine.runtime.deliver import Again, Delivery, Done
from engine.runtime.leases import LeaseKeeper
from engine.testing.state_contract import make_release, make_run

NOON = datetime(2026, 11, 23, 12, tzinfo=timezone.utc)
CANARY = Strategy("canary", (Stage(0.1, 60), Stage(0.5, 60)), analysis={})
GOOD = Seen(Readiness.READY, Verdict.PASS, "every guardrail holds")


@dataclass
class Eyes:
    """An Observer that sees what it is told to see."""

    now: Seen = GOOD
    looks: int = 0

    def seen(self, rollout: Rollout, now: datetime) -> Seen:
        self.looks += 1
        return self.now


@dataclass
class Aliases:
    """A registry of aliases, which can be away."""

    there: dict[str, dict[str, int | None]] = field(default_factory=dict)
    away: bool = False
    calls: int = 0
    meanwhile: Callable[[], object] = lambda: None

    def set_aliases(self, model: str, aliases: Mapping[str, int | None]) -> None:
        self.calls += 1
        meanwhile, self.meanwhile = self.meanwhile, lambda: None
        meanwhile()
        if self.away:
            raise TransientError("MLflow did not answer in time")
        self.there[model] = dict(aliases)

    def aliases(self, model: str) -> Mapping[str, int]:
        return {name: version for name, version in self.there[model].items() if version is not None}

    def find(self, model: str, key: str) -> Registered | None:
        raise NotImplementedError

    def register(self, request: RegisterRequest) -> Registered:
        raise NotImplementedError


class World:
    """`churn` with three releases, version 1 live and version 2 on its way by a canary."""

    def __init__(self, folder: Path, strategy: Strategy = CANARY) -> None:
        self.time = NOON
        self.eyes, self.registry = Eyes(), Aliases()
        self.store = SqlStateStore(f"sqlite:///{folder}/state.db", lambda: self.time)
        self.keepers: list[LeaseKeeper] = []
        self.delivery = self.another()
        lease = self.store.acquire("churn", "a run", 3600)  # and keeps it: delivery must not wait for a run
        self.store.start_run(lease, make_run("run1"))
        for version in (1, 2, 3):
            self.store.add_release(lease, make_release(version))
        live = Endpoint("churn", 1, 1, deployed="a")
        self.store.set_endpoint(lease, Endpoint("churn"), live, actor="ana", reason="deploy")
        rollout, after = start(live, 2, strategy, 1, "b", self.time)
        assert rollout is not None
        self.store.set_endpoint(lease, live, after, actor="ana", reason="deploy", rollouts=[(None, rollout)])

    def another(self) -> Delivery:
        keeper = LeaseKeeper(self.store, f"holder {len(self.keepers)}", threading.Event())
        self.keepers.append(keeper)
        return Delivery(self.store, self.registry, self.eyes, keeper.hold_endpoint, lambda: self.time, "ana")

    @property
    def endpoint(self) -> Endpoint:
        found = self.store.models(["churn"])["churn"].endpoint
        assert found is not None
        return found

    @property
    def rollout(self) -> Rollout:
        return self.store.rollouts("churn", 1)[0]

    def after(self, seconds: float) -> Done | Again:
        self.time += timedelta(seconds=seconds)
        return self.delivery.reconcile("churn")

    def close(self) -> None:
        for keeper in self.keepers:
            keeper.close()
        self.store.close()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.close()


def test_a_good_candidate_is_carried_to_the_end(world: World) -> None:
    came: Done | Again = Again(0, "")
    weights = []
    while isinstance(came, Again):
        came = world.after(came.seconds)
        weights.append(world.endpoint.weight)
    assert came == Done("version 2 was promoted: every stage is passed")
    assert sorted(set(weights)) == [0.0, 0.1, 0.5]
    assert (world.endpoint.stable, world.endpoint.previous) == (2, 1)
    assert (world.time - NOON).total_seconds() == 120
    assert world.registry.there == {"churn": {"champion": 2, "challenger": None}}
    assert world.after(0) == Done("nothing is rolled out")


def test_a_pass_that_holds_writes_nothing(world: World) -> None:
    world.after(0)
    before, tokens = world.store.lineage(), world.store.leases()
    calls = world.registry.calls
    assert world.after(10) == Again(1.0, "the stage lasts 50 s more")
    assert world.after(49.5) == Again(0.5, "the stage lasts 0 s more")
    world.eyes.now = Seen(Readiness.READY, Verdict.INCONCLUSIVE, "12 of 500 requests")
    assert world.after(1e6) == Again(1.0, "12 of 500 requests")
    assert (world.store.lineage(), world.store.leases(), world.registry.calls) == (before, tokens, calls)


@pytest.mark.parametrize(
    "seen", [Seen(Readiness.READY, Verdict.FAIL, "errors"), Seen(Readiness.FAILED, Verdict.PASS, "errors")]
)
def test_a_bad_candidate_is_sent_away(world: World, seen: Seen) -> None:
    world.after(0)
    world.eyes.now = seen
    came = world.after(1)
    assert isinstance(came, Done)
    assert world.rollout.phase is Phase.ABORTED
    assert (world.endpoint.stable, world.endpoint.candidate, world.endpoint.weight) == (1, None, 0.0)
    assert "errors" in world.endpoint.aborted
    assert world.registry.there["churn"] == {"champion": 1, "challenger": None}
    assert world.store.audit()[-1].details["reason"] == world.rollout.reason


def test_a_registry_that_is_away_undoes_nothing(world: World) -> None:
    world.registry.away = True
    change = world.delivery.wish("churn", lambda rollout, seen: rollouts.wish_promote(rollout, seen, "ana"))
    assert change.after.stable == 2
    assert "did not answer" in world.delivery.mirror("churn")
    came = world.after(0)
    assert isinstance(came, Again)
    assert came.seconds > 1
    assert "could not follow" in came.why
    world.registry.away = False
    assert world.after(60) == Done("nothing is rolled out")
    assert world.registry.there == {"churn": {"champion": 2, "challenger": None}}


def test_aliases_follow_what_changed_while_they_were_set(world: World) -> None:
    world.registry.meanwhile = lambda: world.delivery.wish(
        "churn", lambda rollout, _: rollouts.wish_abort(rollout, "x")
    )
    world.delivery.mirror("churn")
    assert world.registry.there == {"churn": {"champion": 1, "challenger": None}}
    assert world.store.unmirrored() == {}


def test_aliases_are_told_again_after_a_change_and_its_reverse(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who moved the aliases died before that was noted, and the endpoint is again what they were made to say before."""

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    world.delivery.mirror("churn")
    world.delivery.roll_back("churn", 3, "complaints")
    with monkeypatch.context() as died:
        died.setattr(SqlStateStore, "set_mirrored", killed)
        with pytest.raises(KeyboardInterrupt):
            world.delivery.mirror("churn")
    assert world.registry.there == {"churn": {"champion": 3, "challenger": None}}
    world.delivery.roll_back("churn", 1, "or rather not")
    world.delivery.retry("churn")
    assert world.endpoint.candidate == 2
    world.delivery.mirror("churn")
    assert world.registry.there == {"churn": {"champion": 1, "challenger": 2}}


def test_wishes(world: World) -> None:
    wish = world.delivery.wish
    paused = wish("churn", lambda rollout, _: rollouts.wish_pause(rollout, "ana")).rollout
    assert paused is not None
    assert paused.phase is Phase.PAUSED
    assert world.after(1e6) == Again(1.0, "paused by ana")
    with pytest.raises(UsageError, match="paused already"):
        wish("churn", lambda rollout, _: rollouts.wish_pause(rollout, "ana"))
    wish("churn", lambda rollout, _: rollouts.wish_resume(rollout, "ana"))
    world.eyes.now = Seen(Readiness.LOADING, Verdict.INCONCLUSIVE)
    with pytest.raises(UsageError, match="not ready"):
        wish("churn", lambda rollout, seen: rollouts.wish_promote(rollout, seen, "ana"))
    world.eyes.now = Seen(Readiness.READY, Verdict.FAIL, "errors")
    change = wish("churn", lambda rollout, seen: rollouts.wish_promote(rollout, seen, "ana"))
    assert (change.after.stable, change.after.candidate) == (1, None), "abort outranks promote"
    with pytest.raises(UsageError, match="no rollout of churn to abort"):
        wish("churn", lambda rollout, _: rollouts.wish_abort(rollout, "x"))
    with pytest.raises(UsageError, match="iris has no rollout"):
        wish("iris", lambda rollout, _: rollouts.wish_abort(rollout, "x"))


def test_what_was_sent_away_can_be_retried(world: World) -> None:
    with pytest.raises(UsageError, match="goes on"):
        world.delivery.retry("churn")
    world.delivery.wish("churn", lambda rollout, _: rollouts.wish_abort(rollout, "a mistake"))
    again = world.delivery.retry("churn").rollout
    assert again is not None
    assert (again.number, again.candidate, again.stage, again.phase) == (2, 2, 0, Phase.PROGRESSING)
    assert (world.endpoint.candidate, world.endpoint.weight, world.endpoint.aborted) == (2, 0.1, "")
    assert world.endpoint.deployed == "b", "it is the same deployment, which apply does not repeat"
    world.delivery.wish("churn", lambda rollout, seen: rollouts.wish_promote(rollout, seen, "ana"))
    with pytest.raises(UsageError, match="nothing to retry"):
        world.delivery.retry("churn")
    world.delivery.roll_back("churn", None, "complaints")
    assert world.endpoint.stable == 1
    retried = world.delivery.retry("churn").rollout
    assert retried is not None
    assert (retried.number, retried.candidate, retried.base) == (3, 2, 1)


def test_a_rollback_is_one_change_and_ends_the_rollout(world: World) -> None:
    with pytest.raises(UsageError, match="no release of churn was stable before") as refused:
        world.delivery.roll_back("churn", None, "complaints")
    assert refused.value.remedy.endswith("engine abort churn")
    generation = world.endpoint.generation
    change = world.delivery.roll_back("churn", 3, "complaints")
    assert change.rollout is not None
    assert (change.rollout.phase, change.rollout.reason) == (Phase.SUPERSEDED, "rolled back to version 3")
    assert (world.endpoint.stable, world.endpoint.candidate, world.endpoint.generation) == (3, None, generation + 1)
    assert world.delivery.roll_back("churn", None, "or rather not").after.stable == 1
    with pytest.raises(UsageError, match="live already"):
        world.delivery.roll_back("churn", 1, "again")


def test_many_who_carry_on_do_each_thing_once(world: World) -> None:
    world.eyes.now = GOOD
    deliveries = [world.another() for _ in range(6)]
    for seconds in (0, 60, 0, 60):
        world.time += timedelta(seconds=seconds)
        with ThreadPoolExecutor(6) as pool:
            list(pool.map(lambda delivery: delivery.advance("churn"), deliveries))
    assert world.rollout.phase is Phase.PROMOTED
    events = [event for event in world.store.audit() if event.event == "rollout changed"]
    assert len(events) == 4, "begin, move, begin, promote"
    assert world.endpoint.generation == 4


def test_somebody_who_keeps_the_delivery(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.runtime.leases.ENDPOINT_SECONDS", 0.0)
    with world.another().hold_endpoint("churn"):
        came = world.after(0)
        assert isinstance(came, Again)
        assert "locked by" in came.why
        with pytest.raises(LockedError):
            world.delivery.roll_back("churn", 3, "now")
    assert isinstance(world.after(0), Again)
    assert world.rollout.began_at is not None


class Asked:
    """Permissions that a test sets: the port's simplest fake."""

    def __init__(self) -> None:
        self.why, self.given = "", Consent((), 1)

    def consent(self, model: str, version: int, terms: Terms, now: datetime) -> Consent:
        return self.given

    def refused(self, model: str, version: int, now: datetime) -> str:
        return self.why


def test_a_policy_holds_traffic_back_and_never_an_abort(world: World) -> None:
    asked = Asked()
    world.delivery = replace(world.delivery, permissions=asked)
    world.after(0)
    asked.why = "policy quiet: not now"
    assert world.after(3600) == Again(1.0, "policy quiet: not now")
    assert world.endpoint.weight == 0.1
    with pytest.raises(UsageError, match="policy quiet"):
        world.delivery.wish("churn", lambda rollout, seen: rollouts.wish_promote(rollout, seen, "eve"))
    asked.why = ""
    world.after(0)
    assert world.endpoint.weight == 0.5
    asked.why = "policy quiet: not now"
    world.eyes.now = Seen(Readiness.READY, Verdict.FAIL, "errors")
    world.after(0)
    assert world.endpoint.candidate is None
