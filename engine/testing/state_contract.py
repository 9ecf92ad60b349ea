"""What every state store must do. Subclass `StateContract` and give it a fixture `state` of type `StateUnderTest`.

    class TestMyStore(StateContract):
        @pytest.fixture
        def state(self, tmp_path): return StateUnderTest(open_store=…, open_reader=…)

Each test compares what the store wrote with what *both* readers say: the store's own and the plan's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone
from typing import Any, Protocol

import pytest

from engine.core.alerts import Alert, AlertRecord, Told
from engine.core.approval import Approval, Terms
from engine.core.audit import ChainHead, verify_chain
from engine.core.canonical import digest
from engine.core.records import (
    Aftermath,
    Artifact,
    Attempt,
    AttemptStatus,
    Endpoint,
    Event,
    EventKind,
    Lease,
    ModelState,
    Release,
    Run,
    RunStatus,
    StepResult,
    TriggerEvaluation,
    alerts_of,
    delivery_of,
)
from engine.core.rollout import (
    Abort,
    Ask,
    Begin,
    Decision,
    Move,
    Pause,
    Phase,
    Promote,
    Resume,
    Rollout,
    follow,
    start,
    supersede,
)
from engine.core.stages import Stage, Strategy
from engine.core.verdict import Verdict
from engine.errors import FencedError, IntegrityError, LockedError, StalePlanError, StateError, UsageError
from engine.ports import (
    AlertStore,
    ApprovalStore,
    EvaluationStore,
    HistoryReader,
    Inbox,
    LeaseStore,
    Ledger,
    PlanStore,
    ReleaseStore,
    RolloutReader,
    StateReader,
)

AT = "2026-01-01T00:00:00.000000Z"


@dataclass
class FakeClock:
    """A clock that stands still until it is moved."""

    now: datetime = field(default_factory=lambda: datetime(2026, 1, 1, tzinfo=timezone.utc))

    def __call__(self) -> datetime:
        return self.now

    def advance(self, seconds: float) -> None:
        """Let so many seconds pass."""
        self.now += timedelta(seconds=seconds)


class Reader(StateReader, HistoryReader, RolloutReader, Protocol):
    """All ways of reading."""

    def audit_head(self) -> ChainHead: ...

    def live_digests(self, keep: int = 1) -> frozenset[str]: ...

    def pending(self, model: str | None = None) -> Sequence[Event]: ...

    def events(self, model: str | None = None, limit: int = 50) -> Sequence[Event]: ...

    def evaluations(
        self, model: str | None = None, limit: int = 50, *, due_only: bool = False
    ) -> Sequence[TriggerEvaluation]: ...

    def newest_evaluations(self, models: Sequence[str]) -> Mapping[str, TriggerEvaluation]: ...

    def alerts(self, model: str | None = None) -> Sequence[AlertRecord]: ...

    def told(self, model: str | None = None) -> Sequence[Told]: ...

    def close(self) -> None: ...


class Store(
    Reader, LeaseStore, Ledger, ReleaseStore, ApprovalStore, Inbox, EvaluationStore, AlertStore, PlanStore, Protocol
):
    """All ports of the state in one."""

    def taint(self, model: str, step: str, *, actor: str) -> None: ...

    def rm(self, model: str, *, actor: str) -> None: ...

    def force_release(self, model: str, *, actor: str) -> Lease: ...


@dataclass
class StateUnderTest:
    """One state and the ways into it. Each call opens it anew."""

    open_store: Callable[[FakeClock], Store]
    open_reader: Callable[[], Reader]


def make_run(run_id: str, model: str = "churn", **changes: Any) -> Run:
    """A running run."""
    run = Run(run_id, model, RunStatus.RUNNING, AT, None, digest(model), {"name": model}, "", {"git": "abc"})
    return replace(run, **changes)


def make_result(step: str, content: str = "1", run_id: str = "run1", **changes: Any) -> StepResult:
    """A result whose fingerprint and output depend on `content`."""
    output = Artifact(digest([step, content]), 10, f"{step}.json")
    result = StepResult(
        step, digest(content), {"settings": {"seed": 7}}, {"out": output}, {"rows": 3}, "3 rows", None, 1.5, run_id, AT
    )
    return replace(result, **changes)


def make_intent(step: str, content: str = "1", run_id: str = "run1", **changes: Any) -> Attempt:
    """An open attempt."""
    return replace(Attempt(step, digest(content), AttemptStatus.INTENT, "", run_id), **changes)


def make_release(version: int, model: str = "churn", **changes: Any) -> Release:
    """A release that its version tells from others."""
    artifact = Artifact(digest([model, version]), 10, "model", tree=True)
    release = Release(
        model, version, f"key{version}", "run1", f"models:/{model}/{version}", artifact, {"data": digest("d")}, AT
    )
    return replace(release, **changes)


def make_event(id: str, model: str = "churn", **changes: Any) -> Event:
    """An event that has not been stored."""
    return replace(Event(id, model, EventKind.MANUAL, "request", "new prices", "ana", AT), **changes)


def make_evaluation(said: str, model: str = "churn", status: str = "not_due", **changes: Any) -> TriggerEvaluation:
    """An evaluation that has not been stored."""
    return replace(TriggerEvaluation(model, status, said, {"said": said, "at": AT}, AT, AT), **changes)


CANARY = Strategy(
    "canary",
    (Stage(0.1, 60), Stage(0.5, 60, hold=True)),
    approval=Terms(2, ("ana", "ben"), 60.0, True),
    analysis={"alpha": 0.05},
)


class Delivered:
    """`churn` with releases 1 to 3, version 1 live; decisions are stored as they are made."""

    def __init__(self, opened: Opened) -> None:
        self.opened = opened
        self.lease = opened.started()
        for version in (1, 2, 3):
            opened.store.add_release(self.lease, make_release(version))
        self.endpoint = Endpoint("churn", 1, 1, deployed="a")
        opened.store.set_endpoint(self.lease, Endpoint("churn"), self.endpoint, actor="ana", reason="deploy")
        self.rollout: Rollout | None = None

    def start(self, version: int, strategy: Strategy = CANARY) -> Rollout:
        """Bring in a candidate; a rollout that goes on is superseded."""
        was, number = self.rollout, 1 if self.rollout is None else self.rollout.number + 1
        rollout, after = start(self.endpoint, version, strategy, number, "b", self.opened.clock())
        assert rollout is not None
        changes: list[tuple[Rollout | None, Rollout]] = [(None, rollout)]
        if was is not None and was.is_open:
            changes.insert(0, (was, supersede(was, "a newer candidate", self.opened.clock())))
        self.opened.store.set_endpoint(self.lease, self.endpoint, after, actor="ana", reason="deploy", rollouts=changes)
        self.endpoint, self.rollout = after, rollout
        return rollout

    def carry_out(self, decision: Decision) -> Rollout:
        """Store what a decision comes to."""
        assert self.rollout is not None
        rollout, after = follow(self.rollout, self.endpoint, decision, self.opened.clock())
        self.opened.store.set_endpoint(
            self.lease, self.endpoint, after, actor="ben", reason="seen", rollouts=[(self.rollout, rollout)]
        )
        self.endpoint, self.rollout = after, rollout
        return rollout

    def check(self) -> None:
        """Both readers see what was stored."""
        assert self.opened.model().endpoint == self.endpoint
        expected = {} if self.rollout is None or not self.rollout.is_open else {"churn": self.rollout}
        for reader in (self.opened.reader, self.opened.store):
            assert reader.open_rollouts() == expected
            assert reader.open_rollout("churn") == expected.get("churn")
            if self.rollout is not None:
                assert reader.rollouts("churn", 1) == [self.rollout]
                assert reader.rollouts(limit=1) == [self.rollout]


class Opened:
    """A store with a run of `churn` under way, and a second pair of eyes."""

    def __init__(self, state: StateUnderTest) -> None:
        self.clock = FakeClock()
        self.store = state.open_store(self.clock)
        self.reader = state.open_reader()

    def started(self, run_id: str = "run1", model: str = "churn") -> Lease:
        """Take the lease and start a run."""
        lease = self.store.acquire(model, f"holder of {run_id}", 60)
        self.store.start_run(lease, make_run(run_id, model))
        return lease

    def model(self, name: str = "churn") -> ModelState:
        """The model's state, on which both readers agree."""
        seen = self.reader.models([name])[name]
        assert seen == self.store.models([name])[name]
        assert seen == self.reader.models().get(name, ModelState(name))
        return seen


class StateContract:
    """The suite."""

    @pytest.fixture
    def opened(self, state: StateUnderTest) -> Iterator[Opened]:
        """The state, with its readers, at the beginning of a test."""
        opened = Opened(state)
        yield opened
        opened.store.close()
        opened.reader.close()

    # ── reading ──

    def test_a_new_state_is_empty(self, opened: Opened) -> None:
        for reader in (opened.reader, opened.store):
            assert reader.lineage().serial == 0
            assert reader.lineage().lineage
            assert reader.models() == {}
            assert reader.models(["churn"]) == {"churn": ModelState("churn")}
            assert reader.models([]) == {}
            assert reader.result("churn", "train", digest("1")) is None
            assert reader.runs() == []
            assert reader.steps_of("run1") == ([], [])
            assert reader.releases() == []
            assert reader.rollouts() == reader.rollouts("churn") == []
            assert reader.open_rollouts() == {}
            assert reader.unmirrored() == {}
            assert reader.open_rollout("churn") is None
            assert reader.audit() == []
            assert reader.pending() == reader.pending("churn") == reader.events() == []
            assert reader.evaluations() == reader.evaluations("churn", due_only=True) == []
            assert reader.newest_evaluations(["churn"]) == {}
            assert reader.live_digests() == frozenset()

    def test_only_the_named_models_are_read(self, opened: Opened) -> None:
        names = [f"model{i}" for i in range(250)]
        for name in names[:3]:
            opened.store.advance(opened.started(f"run of {name}", name), f"run of {name}", done=make_result("train"))
        for wanted in (["model1", "unknown"], names):
            found = opened.reader.models(wanted)
            assert list(found) == wanted
            assert found == opened.store.models(wanted)
            assert set(found["model1"].latest) == {"train"}
        assert set(opened.reader.models()) == set(names[:3])

    # ── ledger ──

    def test_a_step_goes_from_intent_to_result(self, opened: Opened) -> None:
        lease = opened.started()
        opened.store.advance(lease, "run1", intent=make_intent("train"))
        assert opened.model().attempts == {"train": make_intent("train")}
        assert opened.model().latest == {}
        result = make_result("train", verdict=Verdict.PASS)
        opened.store.advance(lease, "run1", done=result, intent=make_intent("evaluate"))
        model = opened.model()
        assert model.latest == {"train": result}
        assert model.attempts == {"evaluate": make_intent("evaluate")}
        assert model.durations == {"train": (1.5,)}
        assert model.spec_digest == digest("churn")
        assert opened.reader.result("churn", "train", result.fingerprint) == result
        assert opened.reader.steps_of("run1") == ([result], [make_intent("evaluate")])

    def test_uses_of_a_hold_out_are_different_models_on_it(self, opened: Opened) -> None:
        lease = opened.started()
        for number, (model, holdout) in enumerate([("m1", "h1"), ("m1", "h1"), ("m2", "h1"), ("m3", "h2")]):
            components = {"inputs": {"model": model, "holdout": holdout}}
            done = make_result("evaluate", str(number), components=components)
            opened.store.advance(lease, "run1", done=done)
        opened.store.advance(lease, "run1", done=make_result("evaluate", "other"))
        assert [opened.reader.holdout_uses("churn", rows) for rows in ("h1", "h2", "h3")] == [2, 1, 0]
        assert opened.reader.holdout_uses("unknown", "h1") == 0

    def test_parallel_steps_have_open_intents_together(self, opened: Opened) -> None:
        lease = opened.started()
        for step in ("a", "b"):
            opened.store.advance(lease, "run1", intent=make_intent(step))
        assert set(opened.model().attempts) == {"a", "b"}
        opened.store.advance(lease, "run1", done=make_result("b"))
        assert set(opened.model().attempts) == {"a"}

    def test_recording_the_same_twice_changes_nothing(self, opened: Opened) -> None:
        lease = opened.started()
        for _ in range(2):
            opened.store.advance(lease, "run1", intent=make_intent("train"))
        opened.store.advance(lease, "run1", done=make_result("train"))
        before = opened.reader.lineage()
        opened.store.advance(lease, "run1", done=make_result("train"))
        assert opened.reader.lineage() == before
        with pytest.raises(IntegrityError):
            opened.store.advance(lease, "run1", done=make_result("train", facts={"rows": 4}))
        assert opened.reader.lineage() == before

    def test_the_newest_result_counts_and_older_ones_are_found(self, opened: Opened) -> None:
        lease = opened.started()
        for i in range(7):
            opened.store.advance(lease, "run1", done=make_result("train", str(i), seconds=float(i)))
        assert opened.model().latest == {"train": make_result("train", "6", seconds=6.0)}
        assert opened.model().durations == {"train": (6.0, 5.0, 4.0, 3.0, 2.0)}
        assert opened.reader.result("churn", "train", digest("2")) == make_result("train", "2", seconds=2.0)

    def test_an_adopted_result_is_the_newest_of_the_run_that_adopts_it(self, opened: Opened) -> None:
        lease = opened.started()
        for content in "12":
            opened.store.advance(lease, "run1", done=make_result("train", content))
        opened.store.start_run(lease, make_run("run2"))
        old = opened.store.result("churn", "train", digest("1"))
        assert old is not None
        opened.store.advance(lease, "run2", done=old)
        assert opened.model().latest["train"] == make_result("train", "1", run_id="run2")

    def test_a_failure_shows_until_there_is_a_result(self, opened: Opened) -> None:
        lease = opened.started()
        opened.store.advance(lease, "run1", done=make_result("train", "old"))
        opened.store.advance(lease, "run1", intent=make_intent("train"))
        failed = make_intent("train", status=AttemptStatus.FAILED, message="boom")
        for _ in range(2):
            opened.store.fail(lease, "run1", failed)
        model = opened.model()
        assert model.attempts == {"train": failed}
        assert model.latest == {"train": make_result("train", "old")}
        assert opened.reader.steps_of("run1")[1] == [failed]
        opened.store.advance(lease, "run1", done=make_result("train"))
        assert opened.model().attempts == {}

    def test_a_failure_without_an_intent_is_recorded(self, opened: Opened) -> None:
        lease = opened.started()
        failed = make_intent("train", status=AttemptStatus.FAILED, message="boom")
        opened.store.fail(lease, "run1", failed)
        assert opened.model().attempts == {"train": failed}
        with pytest.raises(ValueError, match="failed or interrupted"):
            opened.store.fail(lease, "run1", make_intent("train"))

    def test_a_new_run_interrupts_the_one_before(self, opened: Opened) -> None:
        lease = opened.started()
        opened.store.advance(lease, "run1", intent=make_intent("train"))
        opened.store.start_run(lease, make_run("run2"))
        newest, oldest = opened.reader.runs("churn")
        assert (newest.run_id, newest.status) == ("run2", RunStatus.RUNNING)
        assert (oldest.run_id, oldest.status) == ("run1", RunStatus.INTERRUPTED)
        assert oldest.finished_at is not None
        assert opened.model().attempts["train"].status is AttemptStatus.INTERRUPTED
        with pytest.raises(StateError):
            opened.store.advance(lease, "run1", done=make_result("train"))
        assert opened.model().latest == {}

    def test_a_finished_run_is_closed(self, opened: Opened) -> None:
        lease = opened.started()
        opened.store.advance(lease, "run1", intent=make_intent("train"))
        for _ in range(2):
            opened.store.finish_run(lease, "run1", RunStatus.CANCELLED, "by hand", AT)
        assert opened.reader.runs() == [make_run("run1", status=RunStatus.CANCELLED, message="by hand", finished_at=AT)]
        assert opened.model().attempts["train"].status is AttemptStatus.INTERRUPTED
        with pytest.raises(StateError):
            opened.store.advance(lease, "run1", intent=make_intent("train"))
        with pytest.raises(StateError):
            opened.store.finish_run(lease, "run1", RunStatus.DONE, "", AT)

    def test_runs_of_other_models_go_on(self, opened: Opened) -> None:
        opened.started()
        opened.started("other", "iris")
        assert {run.status for run in opened.reader.runs()} == {RunStatus.RUNNING}
        assert [run.run_id for run in opened.reader.runs("iris")] == ["other"]
        assert len(opened.reader.runs(limit=1)) == 1

    def test_each_change_moves_the_serials(self, opened: Opened) -> None:
        lease = opened.started()
        other = opened.started("other", "iris")
        state, churn = opened.reader.lineage(), opened.model().serial
        opened.store.advance(other, "other", done=make_result("train"))
        assert opened.reader.lineage().serial == state.serial + 1
        assert opened.reader.lineage().lineage == state.lineage
        assert opened.model().serial == churn
        opened.store.advance(lease, "run1", done=make_result("train"))
        assert opened.model().serial > churn
        assert opened.reader.lineage().serial == state.serial + 2

    def test_what_is_not_json_is_refused_and_undone(self, opened: Opened) -> None:
        lease = opened.started()
        before = opened.model()
        with pytest.raises(Exception, match="facts of train cannot be recorded"):
            opened.store.advance(lease, "run1", done=make_result("train", facts={"f1": float("nan")}))
        assert opened.model() == before

    # ── leases ──

    def test_a_held_lease_is_refused_with_its_holder(self, opened: Opened) -> None:
        opened.store.acquire("churn", "ana@box pid 1 start 2 boot elsewhere", 60)
        with pytest.raises(LockedError, match=r"churn is locked by ana@box, pid 1 since 2026-01-01T00:00:00"):
            opened.store.acquire("churn", "ben", 60)
        assert opened.store.acquire("iris", "ben", 60).token == 1

    def test_a_lease_expires_unless_renewed(self, opened: Opened) -> None:
        first = opened.store.acquire("churn", "ana", 60)
        opened.clock.advance(50)
        first = opened.store.renew(first, 60)
        opened.clock.advance(50)
        with pytest.raises(LockedError):
            opened.store.acquire("churn", "ben", 60)
        opened.clock.advance(10)
        second = opened.store.acquire("churn", "ben", 60)
        assert second.token > first.token
        with pytest.raises(FencedError):
            opened.store.renew(first, 60)
        assert opened.store.leases() == [second]

    def test_an_expired_lease_that_nobody_took_still_writes(self, opened: Opened) -> None:
        lease = opened.started()
        opened.clock.advance(1000)
        opened.store.advance(lease, "run1", done=make_result("train"))
        assert opened.store.renew(lease, 60).token == lease.token

    def test_tokens_grow_over_release_and_removal(self, opened: Opened) -> None:
        first = opened.started()
        opened.store.release(first)
        assert opened.store.leases() == []
        opened.store.rm("churn", actor="ana")
        second = opened.store.acquire("churn", "ana", 60)
        assert second.token > first.token
        opened.store.release(first)
        assert opened.store.leases() == [second]

    def test_a_forced_release_fences_the_holder_at_once(self, opened: Opened) -> None:
        lease = opened.started()
        assert opened.store.force_release("churn", actor="ana") == lease
        with pytest.raises(FencedError):
            opened.store.advance(lease, "run1", done=make_result("train"))
        with pytest.raises(UsageError):
            opened.store.force_release("churn", actor="ana")
        assert opened.store.audit()[-1].event == "lease forced"

    def test_a_lost_lease_writes_nothing(self, opened: Opened) -> None:
        stale = opened.started()
        opened.clock.advance(61)
        lease = opened.started("run2")
        opened.store.add_release(lease, make_release(1))
        before, lineage = opened.model(), opened.reader.lineage()
        writes: list[Callable[[], None]] = [
            lambda: opened.store.start_run(stale, make_run("run3")),
            lambda: opened.store.advance(stale, "run1", done=make_result("train")),
            lambda: opened.store.advance(stale, "run2", done=make_result("train")),
            lambda: opened.store.advance(stale, "run2", intent=make_intent("train")),
            lambda: opened.store.fail(stale, "run2", make_intent("train", status=AttemptStatus.FAILED)),
            lambda: opened.store.finish_run(stale, "run2", RunStatus.DONE, "", AT),
            lambda: opened.store.add_release(stale, make_release(2)),
            lambda: opened.store.set_endpoint(
                stale, Endpoint("churn"), Endpoint("churn", 1, 1), actor="ana", reason="deploy"
            ),
        ]
        for write in writes:
            with pytest.raises(FencedError):
                write()
        assert opened.model() == before
        assert opened.reader.lineage() == lineage

    def test_a_lease_covers_its_own_model_only(self, opened: Opened) -> None:
        lease = opened.started()
        opened.started("other", "iris")
        with pytest.raises(StateError):
            opened.store.advance(lease, "other", done=make_result("train"))
        with pytest.raises(ValueError, match="does not cover"):
            opened.store.add_release(lease, make_release(1, "iris"))

    # ── releases and endpoints ──

    def test_a_release_is_recorded_once(self, opened: Opened) -> None:
        lease = opened.started()
        for _ in range(2):
            opened.store.add_release(lease, make_release(1))
        assert opened.reader.releases("churn") == [make_release(1)]
        assert opened.store.release_by_key("churn", "key1") == make_release(1)
        assert opened.store.release_by_key("churn", "key2") is None
        for other in (make_release(2, key="key1"), make_release(1, key="other"), make_release(1, run_id="other")):
            with pytest.raises(IntegrityError):
                opened.store.add_release(lease, other)
        assert opened.reader.releases() == [make_release(1)]
        assert len([e for e in opened.reader.audit() if e.event == "release registered"]) == 1

    def test_what_people_say_of_a_release_is_kept_for_that_artifact(self, opened: Opened) -> None:
        lease = opened.started()
        opened.store.add_release(lease, make_release(1))
        serial = opened.model().serial
        mine = make_release(1).artifact.digest
        yes = Approval("churn", 1, mine, True, "ana", "token", "fine")
        no = replace(yes, agrees=False, by="ben", reason="not fine")
        kept = [opened.store.approve(each) for each in (yes, no)]
        assert [(each.by, each.agrees) for each in kept] == [("ana", True), ("ben", False)]
        assert kept[0].sequence < kept[1].sequence and kept[0].at
        assert opened.store.approvals("churn") == opened.store.approvals("churn", 1) == kept
        assert opened.store.approvals("churn", 2) == opened.store.approvals("iris") == []
        assert opened.model().serial > serial
        events = [(e.actor, e.event, e.subject) for e in opened.reader.audit()][-2:]
        assert events == [("ana", "release approved", "churn"), ("ben", "release rejected", "churn")]
        for wrong in (replace(yes, artifact=digest("other")), replace(yes, version=2), replace(yes, model="iris")):
            with pytest.raises(StateError, match="not the artifact that was meant"):
                opened.store.approve(wrong)
        opened.store.release(lease)
        opened.store.rm("churn", actor="ana")
        assert opened.store.approvals("churn") == []

    def test_an_endpoint_changes_by_compare_and_swap(self, opened: Opened) -> None:
        lease = opened.started()
        for version in (1, 2):
            opened.store.add_release(lease, make_release(version))
        none = Endpoint("churn")
        first = replace(none, generation=1, stable=1, deployed=digest("deploy"))
        canary = replace(first, generation=2, candidate=2, weight=0.1)
        for before, after in ((none, first), (first, canary)):
            opened.store.set_endpoint(lease, before, after, actor="ana", reason="deploy")
            assert opened.model().endpoint == after
        for before in (none, first, replace(canary, weight=0.2)):
            after = replace(before, generation=before.generation + 1)
            with pytest.raises(StateError, match="changed meanwhile"):
                opened.store.set_endpoint(lease, before, after, actor="ben", reason="late")
        assert opened.model().endpoint == canary
        last = opened.reader.audit()[-1]
        assert (last.actor, last.event, last.subject) == ("ana", "endpoint changed", "churn")
        assert last.details["after"]["weight"] == 0.1  # type: ignore[index, call-overload]

    @pytest.mark.parametrize(
        "impossible",
        [
            {"stable": 1, "candidate": 2, "weight": 1.0},
            {"stable": 1, "weight": 0.5},
            {"stable": 1, "mirror": 0.5},
            {"stable": 1, "candidate": 2, "mirror": 1.5},
            {"stable": 1, "candidate": 1, "weight": 0.5},
            {"candidate": 2, "weight": 0.5},
            {"stable": 3},
            {"stable": 1, "candidate": 2, "weight": -0.1},
        ],
    )
    def test_an_impossible_endpoint_is_refused(self, opened: Opened, impossible: dict[str, Any]) -> None:
        lease = opened.started()
        for version in (1, 2):
            opened.store.add_release(lease, make_release(version))
        before = opened.model()
        with pytest.raises(IntegrityError):
            opened.store.set_endpoint(
                lease, Endpoint("churn"), Endpoint("churn", 1, **impossible), actor="ana", reason="deploy"
            )
        assert opened.model() == before

    # ── rollouts ──

    def test_a_rollout_changes_with_its_endpoint(self, opened: Opened) -> None:
        delivered = Delivered(opened)
        delivered.start(2)
        delivered.check()
        generations = [delivered.endpoint.generation]
        for decision in (Begin(), Pause("by hand"), Resume("by hand"), Move(1, "passed"), Begin(), Ask("passed")):
            opened.clock.advance(10)
            delivered.carry_out(decision)
            delivered.check()
            generations.append(delivered.endpoint.generation)
        assert generations == [2, 2, 2, 2, 3, 3, 3], "only what the router must know is a new generation"
        delivered.carry_out(Promote("approved"))
        delivered.check()
        assert delivered.endpoint.stable == 2
        events = [event for event in opened.reader.audit() if event.event.startswith("rollout")]
        assert [event.event for event in events] == ["rollout started", *["rollout changed"] * 7]
        assert events[-1].details["reason"] == "approved"
        assert events[-1].details["rollout"]["phase"] == "promoted"  # type: ignore[index, call-overload]

    def test_a_newer_candidate_supersedes(self, opened: Opened) -> None:
        delivered = Delivered(opened)
        delivered.start(2)
        opened.clock.advance(10)
        delivered.start(3, replace(CANARY, stages=(Stage(0.0, mirror=0.5),), analysis=None))
        delivered.check()
        newest, oldest = opened.reader.rollouts("churn")
        assert (newest.number, newest.candidate, newest.strategy.analysis) == (2, 3, None)
        assert (oldest.phase, oldest.reason) == (Phase.SUPERSEDED, "a newer candidate")
        delivered.carry_out(Abort("errors"))
        delivered.check()
        assert opened.store.rollouts("churn")[0].reason == "errors"

    def test_a_rollout_changes_by_compare_and_swap(self, opened: Opened) -> None:
        delivered = Delivered(opened)
        first = delivered.start(2)
        before = delivered.carry_out(Begin())
        serial = opened.reader.lineage()
        stale: list[tuple[Rollout | None, Rollout]] = [
            (first, replace(first, reason="late")),
            (None, replace(first, reason="again")),
            (replace(first, number=2), replace(first, number=2)),
        ]
        for change in stale:
            with pytest.raises(StateError, match="changed meanwhile"):
                opened.store.set_endpoint(
                    delivered.lease, delivered.endpoint, delivered.endpoint, actor="x", reason="", rollouts=[change]
                )
        old = replace(delivered.endpoint, generation=1)
        with pytest.raises(StateError, match="at generation 2"):
            opened.store.set_endpoint(
                delivered.lease, old, old, actor="x", reason="", rollouts=[(before, replace(before, reason="x"))]
            )
        with pytest.raises(ValueError, match="does not follow"):
            opened.store.set_endpoint(delivered.lease, old, old, actor="x", reason="")
        assert opened.reader.lineage() == serial
        delivered.check()

    def test_a_rollout_and_its_endpoint_never_disagree(self, opened: Opened) -> None:
        delivered = Delivered(opened)
        rollout = delivered.start(2)
        endpoint, serial = delivered.endpoint, opened.reader.lineage()
        moved = replace(endpoint, generation=endpoint.generation + 1)
        impossible: list[tuple[Endpoint, list[tuple[Rollout | None, Rollout]]]] = [
            (replace(moved, weight=0.5), []),
            (replace(moved, candidate=3), []),
            (replace(moved, candidate=None, weight=0.0), []),
            (replace(moved, mirror=0.5), []),
            (endpoint, [(rollout, replace(rollout, stage=1))]),
            (endpoint, [(None, replace(rollout, number=2))]),  # two that go on
            (endpoint, [(None, replace(rollout, number=2, phase=Phase.ABORTED, candidate=9))]),
            (endpoint, [(None, replace(rollout, number=2, phase=Phase.ABORTED, base=2))]),
        ]
        for after, changes in impossible:
            with pytest.raises(IntegrityError):
                opened.store.set_endpoint(delivered.lease, endpoint, after, actor="x", reason="", rollouts=changes)
        assert opened.reader.lineage() == serial
        delivered.check()

    def test_the_delivery_has_a_lease_of_its_own(self, opened: Opened) -> None:
        delivered = Delivered(opened)
        delivered.start(2)
        run, delivered.lease = delivered.lease, opened.store.acquire(delivery_of("churn"), "ben", 60)
        delivered.carry_out(Begin())
        opened.store.advance(run, "run1", done=make_result("train"))
        with pytest.raises(ValueError, match="does not cover"):
            opened.store.add_release(delivered.lease, make_release(4))
        opened.store.release(delivered.lease)
        with pytest.raises(FencedError):
            delivered.carry_out(Promote("by a holder that lost it"))
        delivered.lease = opened.store.acquire(delivery_of("iris"), "ben", 60)
        with pytest.raises(ValueError, match="does not cover"):
            delivered.carry_out(Promote("by another's"))
        delivered.check()

    def test_what_the_registry_was_not_told_is_known(self, opened: Opened) -> None:
        delivered = Delivered(opened)
        assert opened.reader.unmirrored() == {"churn": delivered.endpoint}
        serial = opened.reader.lineage()
        opened.store.set_mirrored(delivered.endpoint)
        assert opened.reader.unmirrored() == opened.store.unmirrored() == {}
        assert opened.reader.lineage() == serial, "it is no part of the state's content"
        delivered.start(2)
        assert opened.reader.unmirrored() == {"churn": delivered.endpoint}
        opened.store.set_mirrored(delivered.endpoint)
        delivered.carry_out(Move(1, "passed"))
        assert opened.reader.unmirrored() == {}, "weights are no business of the registry"

    # ── events from outside ──

    def test_an_event_is_kept_once_and_waits_in_order(self, opened: Opened) -> None:
        serial = opened.reader.lineage().serial
        second = make_event("2", kind=EventKind.WEBHOOK, event="push", received_at="")
        assert opened.store.put(make_event("1"))
        opened.clock.advance(1)
        assert opened.store.put(second)
        for again in (make_event("1"), make_event("1", kind=EventKind.WEBHOOK, reason="another", actor="ben")):
            assert not opened.store.put(again)
        assert opened.store.put(make_event("1", "iris")), "an id is unique within its model"
        for reader in (opened.reader, opened.store):
            waiting = reader.pending("churn")
            assert [replace(event, sequence=0) for event in waiting] == [
                make_event("1"),
                replace(second, received_at="2026-01-01T00:00:01.000000Z"),
            ]
            assert reader.pending() == [*waiting, *reader.pending("iris")]
            assert reader.events() == list(reversed(reader.pending()))
            assert reader.events("churn", 1) == [waiting[1]]
        sequences = [event.sequence for event in opened.reader.pending()]
        assert sequences == sorted(set(sequences))
        assert sequences[0] > 0
        assert opened.reader.lineage().serial == serial, "no plan gets stale by an event"
        received = [(event.actor, event.subject, event.details["id"]) for event in opened.reader.audit()]
        assert received == [("ana", "churn", "1"), ("ana", "churn", "2"), ("ana", "iris", "1")]

    def test_an_event_is_handled_once(self, opened: Opened) -> None:
        for id in "123":
            opened.store.put(make_event(id))
        opened.store.put(make_event("1", "iris"))
        lease = opened.started()
        opened.clock.advance(5)
        opened.store.handle(lease, ["3", "1"], "run1")
        opened.store.handle(lease, [], "run2")
        assert [event.id for event in opened.reader.pending("churn")] == ["2"]
        for refused in (["1"], ["2", "3"], ["2", "unknown"], ["2", "2"]):
            with pytest.raises(StateError):
                opened.store.handle(lease, refused, "run2")
        for reader in (opened.reader, opened.store):
            assert [event.id for event in reader.pending()] == ["2", "1"]
            handled = [event for event in reader.events("churn") if event.handled_at]
            assert [(e.id, e.handled_by, e.handled_at) for e in handled] == [
                ("3", "run1", "2026-01-01T00:00:05.000000Z"),
                ("1", "run1", "2026-01-01T00:00:05.000000Z"),
            ]
        assert not opened.store.put(make_event("1")), "also one that was handled is known"
        last = opened.reader.audit()[-1]
        assert (last.event, last.subject, last.details) == (
            "events handled",
            "churn",
            {"ids": ["3", "1"], "by": "run1"},
        )

    def test_only_the_holder_of_the_lease_handles(self, opened: Opened) -> None:
        opened.store.put(make_event("1"))
        stale = opened.started()
        opened.clock.advance(61)
        lease = opened.started("run2")
        with pytest.raises(FencedError):
            opened.store.handle(stale, ["1"], "run1")
        with pytest.raises(StateError):
            opened.store.handle(opened.store.acquire("iris", "ben", 60), ["1"], "run1")
        assert [event.id for event in opened.store.pending()] == ["1"]
        opened.store.handle(lease, ["1"], "run2")
        assert opened.reader.pending() == []

    def test_events_of_a_removed_model_go_with_it(self, opened: Opened) -> None:
        opened.store.release(opened.started())
        opened.store.put(make_event("1"))
        opened.store.put(make_event("1", "iris"))
        opened.store.rm("churn", actor="ana")
        assert [event.model for event in opened.reader.events()] == ["iris"]
        assert opened.store.put(make_event("1"))

    @pytest.mark.parametrize("changes", [{"id": ""}, {"model": ""}])
    def test_an_event_without_a_name_is_refused(self, opened: Opened, changes: dict[str, Any]) -> None:
        with pytest.raises(IntegrityError):
            opened.store.put(replace(make_event("1"), **changes))
        assert opened.reader.events() == []

    # ── what the triggers said ──

    def test_evaluations_in_a_row_that_say_the_same_are_one(self, opened: Opened) -> None:
        lease = opened.started()
        serial = opened.reader.lineage().serial
        opened.store.record(lease, make_evaluation("quiet"))
        for at in ("2026-01-02", "2026-01-03"):
            stored = opened.store.record(lease, make_evaluation("quiet", document={"at": at}, first_at=at, last_at=at))
        assert (stored.first_at, stored.last_at, stored.count) == (AT, "2026-01-03", 3)
        assert stored.document == {"at": "2026-01-03"}, "the newest figures"
        held = opened.store.record(lease, make_evaluation("quiet", status="held"))
        again = opened.store.record(lease, make_evaluation("quiet"))
        other = opened.store.record(opened.started("run2", "iris"), make_evaluation("quiet", "iris"))
        for reader in (opened.reader, opened.store):
            assert reader.evaluations("churn") == [again, held, stored]
            assert reader.evaluations("churn", 1) == [again]
            assert reader.evaluations() == [other, again, held, stored]
            assert reader.newest_evaluations(["churn", "iris", "none"]) == {"churn": again, "iris": other}
        assert opened.reader.models(["churn"])["churn"].serial == serial, "no plan gets stale by an evaluation"

    def test_a_due_evaluation_is_settled_once(self, opened: Opened) -> None:
        lease = opened.started()
        opened.store.record(lease, make_evaluation("due", status="due"))
        due = opened.store.record(lease, make_evaluation("due", status="due"))
        assert due.count == 2, "looked at again before it was settled"
        opened.clock.advance(5)
        opened.store.settle(lease, due.sequence, Aftermath.RELEASED, "run1")
        quiet = opened.store.record(lease, make_evaluation("quiet"))
        settled = replace(due, aftermath=Aftermath.RELEASED, run_id="run1", settled_at="2026-01-01T00:00:05.000000Z")
        for reader in (opened.reader, opened.store):
            assert reader.evaluations("churn", due_only=True) == [settled]
        for sequence in (due.sequence, quiet.sequence, due.sequence + 100):
            with pytest.raises(StateError):
                opened.store.settle(lease, sequence, Aftermath.FAILED)
        with pytest.raises(StateError):
            opened.store.settle(opened.started("run2", "iris"), due.sequence, Aftermath.FAILED)
        second = opened.store.record(lease, make_evaluation("due", status="due"))
        third = opened.store.record(lease, make_evaluation("due", status="due"))
        assert third.sequence == second.sequence != due.sequence, "what was settled is over"
        opened.store.settle(lease, second.sequence, Aftermath.NOTHING_NEW)
        assert opened.store.record(lease, make_evaluation("due", status="due")).count == 1
        said = [event.event for event in opened.reader.audit() if event.event.startswith("retrain")]
        assert said == ["retrain due", "retrain settled"] * 2 + ["retrain due"]

    def test_only_the_holder_of_the_lease_records_and_settles(self, opened: Opened) -> None:
        stale = opened.started()
        due = opened.store.record(stale, make_evaluation("due", status="due"))
        opened.clock.advance(61)
        opened.started("run2")
        with pytest.raises(FencedError):
            opened.store.record(stale, make_evaluation("quiet"))
        with pytest.raises(FencedError):
            opened.store.settle(stale, due.sequence, Aftermath.FAILED)
        with pytest.raises(ValueError, match="does not cover"):
            opened.store.record(stale, make_evaluation("quiet", "iris"))
        assert opened.reader.evaluations() == [due]

    def test_evaluations_do_not_grow_without_bound(self, opened: Opened) -> None:
        lease = opened.started()
        due = opened.store.record(lease, make_evaluation("due", status="due"))
        other = opened.store.record(opened.started("run2", "iris"), make_evaluation("quiet", "iris"))
        for number in range(600):
            newest = opened.store.record(lease, make_evaluation(f"quiet {number % 2}"))
        kept = opened.reader.evaluations("churn", 1000)
        assert (kept[0], kept[-1], len(kept)) == (newest, due, 501)
        assert opened.reader.evaluations("iris") == [other]

    def test_evaluations_of_a_removed_model_go_with_it(self, opened: Opened) -> None:
        lease = opened.started()
        opened.store.record(lease, make_evaluation("quiet"))
        opened.store.release(lease)
        other = opened.store.record(opened.started("run2", "iris"), make_evaluation("quiet", "iris"))
        opened.store.rm("churn", actor="ana")
        assert opened.reader.evaluations() == [other]

    # ── alerts ──

    def test_an_alert_is_one_record_and_receivers_are_remembered(self, opened: Opened) -> None:
        serial = opened.reader.lineage().serial
        lease = opened.store.acquire(alerts_of("churn"), "ana", 60)
        alert = Alert("churn", "RunFailed", "warning", "run 1 failed", "See it.", {"step": "train"})
        first, other = AlertRecord(alert, 1, AT, AT), AlertRecord(replace(alert, name="RolledBack"), 1, AT, AT)
        told = Told("churn", "ops", "", AT, 1, AT, {alert.fingerprint: (1, "firing")}, (AT,), 2, AT, "no answer")
        opened.store.keep_alerts(lease, [first, other], [told])
        resolved = replace(first, resolved_at="2026-01-02", alert=replace(alert, summary="run 2 failed"))
        opened.store.keep_alerts(lease, [resolved], [replace(told, sequence=2, alerts={}, next_at=None)])
        for reader in (opened.reader, opened.store):
            assert reader.alerts("churn") == reader.alerts() == [other, resolved]
            assert reader.told("churn") == [replace(told, sequence=2, alerts={}, next_at=None)]
            assert not reader.alerts("iris") and not reader.told("iris")
        assert opened.reader.lineage().serial == serial, "no plan gets stale by an alert"
        said = [event.event for event in opened.reader.audit() if event.event.startswith("alert")]
        assert said == ["alert firing", "alert firing", "alert resolved"]

    def test_only_the_holder_of_the_alerts_writes_them(self, opened: Opened) -> None:
        record = AlertRecord(Alert("churn", "RunFailed", "warning", "it failed"), 1, AT, AT)
        stale = opened.store.acquire(alerts_of("churn"), "ana", 60)
        opened.clock.advance(61)
        opened.store.acquire(alerts_of("churn"), "ben", 60)
        with pytest.raises(FencedError):
            opened.store.keep_alerts(stale, [record])
        with pytest.raises(ValueError, match="does not cover"):
            opened.store.keep_alerts(opened.started(), [record])
        assert opened.reader.alerts() == []

    def test_resolved_alerts_do_not_grow_without_bound_and_go_with_their_model(self, opened: Opened) -> None:
        opened.store.release(opened.started())
        lease = opened.store.acquire(alerts_of("churn"), "ana", 60)
        alert = Alert("churn", "RunFailed", "warning", "it failed")
        many = [replace(alert, labels={"run": str(number)}) for number in range(210)]
        over = [AlertRecord(each, 1, AT, AT, f"2026-01-02T{n:05}") for n, each in enumerate(many)]
        opened.store.keep_alerts(lease, [AlertRecord(alert, 1, AT, AT), *over], [Told("churn", "ops", "", AT)])
        kept = opened.reader.alerts("churn")
        assert (len(kept), kept[0].resolved_at, kept[1], kept[-1]) == (201, None, over[-1], over[10])
        opened.store.rm("churn", actor="ana")
        assert not opened.reader.alerts() and not opened.reader.told()

    # ── plans, taints, removal ──

    def test_a_plan_is_used_once(self, opened: Opened) -> None:
        opened.store.redeem("plan1", AT)
        with pytest.raises(StalePlanError, match="used before"):
            opened.store.redeem("plan1", AT)
        opened.store.redeem("plan2", AT)
        assert [event.subject for event in opened.reader.audit()] == ["plan1", "plan2"]

    def test_a_taint_stays_until_there_is_a_result(self, opened: Opened) -> None:
        lease = opened.started()
        opened.store.advance(lease, "run1", done=make_result("train"))
        for _ in range(2):
            opened.store.taint("churn", "train", actor="ana")
        assert opened.model().tainted == {"train"}
        opened.store.advance(lease, "run1", intent=make_intent("train", "2"))
        assert opened.model().tainted == {"train"}
        opened.store.advance(lease, "run1", done=make_result("train", "2"))
        assert opened.model().tainted == frozenset()
        with pytest.raises(UsageError, match="no result of a step trian"):
            opened.store.taint("churn", "trian", actor="ana")

    def test_a_removed_model_is_forgotten_but_not_its_audit(self, opened: Opened) -> None:
        lease = opened.started()
        opened.store.advance(lease, "run1", done=make_result("train"))
        opened.store.add_release(lease, make_release(1))
        opened.store.add_release(lease, make_release(2))
        rollout, endpoint = start(Endpoint("churn", 0, 1), 2, CANARY, 1, "b", opened.clock())
        assert rollout is not None
        opened.store.set_endpoint(
            lease, Endpoint("churn"), endpoint, actor="ana", reason="deploy", rollouts=[(None, rollout)]
        )
        opened.store.taint("churn", "train", actor="ana")
        with pytest.raises(LockedError):
            opened.store.rm("churn", actor="ana")
        opened.store.release(lease)
        serial = opened.model().serial
        opened.store.rm("churn", actor="ana")
        assert opened.reader.models() == {}
        assert opened.reader.runs() == []
        assert opened.reader.releases() == []
        assert opened.reader.rollouts() == []
        assert opened.reader.audit()[-1].event == "model removed"
        with pytest.raises(UsageError):
            opened.store.rm("churn", actor="ana")
        opened.started()
        assert opened.model().serial > serial

    # ── audit, garbage ──

    def test_the_audit_chain_tells_the_story(self, opened: Opened) -> None:
        lease = opened.started()
        opened.store.add_release(lease, make_release(1))
        kept = opened.store.audit_head()
        opened.store.set_endpoint(lease, Endpoint("churn"), Endpoint("churn", 1, 1), actor="ana", reason="deploy")
        opened.store.finish_run(lease, "run1", RunStatus.DONE, "", AT)
        events = opened.reader.audit()
        assert [event.event for event in events] == [
            "run started",
            "release registered",
            "endpoint changed",
            "run finished",
        ]
        assert verify_chain(events, kept, opened.reader.audit_head()) == ()
        assert opened.reader.audit(after=3) == events[3:]
        assert opened.reader.audit_head() == opened.store.audit_head() == ChainHead(4, events[-1].hash)

    def test_what_is_still_needed_is_kept(self, opened: Opened) -> None:
        lease = opened.started()
        results = [make_result("train", str(i)) for i in range(4)]
        released = make_result("split", "of the release")
        opened.store.advance(lease, "run1", done=released)
        opened.store.add_release(lease, make_release(1))
        opened.store.start_run(lease, make_run("run2"))
        opened.store.advance(lease, "run2", done=make_result("split", "new"))
        for result in results:
            opened.store.advance(lease, "run2", done=result)
        release = {make_release(1).artifact.digest, digest("d"), released.outputs["out"].digest}
        split = {make_result("split", "new").outputs["out"].digest}
        for keep, newest in ((0, results[3:]), (1, results[3:]), (3, results[1:])):
            expected = release | split | {result.outputs["out"].digest for result in newest}
            assert opened.reader.live_digests(keep) == opened.store.live_digests(keep) == expected
