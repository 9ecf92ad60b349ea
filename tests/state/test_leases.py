"""Leases and fencing against a small model of them, in any order of events."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from engine.adapters.state.reader import SqliteStateReader
from engine.adapters.state.store import SqlStateStore
from engine.core.records import Lease
from engine.errors import FencedError, LockedError
from engine.testing.state_contract import FakeClock, make_result, make_run


class Leases(RuleBasedStateMachine):
    """Three holders and time passing; the model is: the newest token, whose it is, and until when."""

    granted: Bundle[Lease] = Bundle("granted")

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.clock = FakeClock()
        self.store = SqlStateStore(f"sqlite:///{self.folder}/state.db", self.clock)
        self.reader = SqliteStateReader(self.folder / "state.db")
        self.token = 0
        self.holder: str | None = None
        self.expires = 0.0
        self.elapsed = 0.0
        self.runs = 0
        self.written: list[str] = []

    def teardown(self) -> None:
        self.store.close()
        self.reader.close()
        shutil.rmtree(self.folder)

    @rule(seconds=st.sampled_from([1.0, 30.0, 61.0]))
    def pass_time(self, seconds: float) -> None:
        self.clock.advance(seconds)
        self.elapsed += seconds

    @rule(target=granted, holder=st.sampled_from(["ana", "ben", "eva"]))
    def acquire(self, holder: str) -> Lease:
        if self.holder is not None and self.elapsed < self.expires:
            with pytest.raises(LockedError) as refused:
                self.store.acquire("churn", holder, 60)
            assert refused.value.holder == self.holder
            return Lease("churn", holder, self.token + 1, "", "")  # a lease that was never granted
        lease = self.store.acquire("churn", holder, 60)
        assert lease.token > self.token
        self.token, self.holder, self.expires = lease.token, holder, self.elapsed + 60
        return lease

    def holds(self, lease: Lease) -> bool:
        return (lease.token, lease.holder) == (self.token, self.holder)

    @rule(lease=granted)
    def renew(self, lease: Lease) -> None:
        if self.holds(lease):
            self.store.renew(lease, 60)
            self.expires = self.elapsed + 60
        else:
            with pytest.raises(FencedError):
                self.store.renew(lease, 60)

    @rule(lease=consumes(granted))
    def release(self, lease: Lease) -> None:
        self.store.release(lease)
        if self.holds(lease):
            self.holder = None

    @rule()
    def force(self) -> None:
        if self.holder is not None:
            self.store.force_release("churn", actor="admin")
            self.token, self.holder = self.token + 1, None

    @rule(lease=granted)
    def write(self, lease: Lease) -> None:
        self.runs += 1
        name = f"run{self.runs}"
        if self.holds(lease):
            self.store.start_run(lease, make_run(name))
            self.store.advance(lease, name, done=make_result("train", name))
            self.written.append(name)
        else:
            with pytest.raises(FencedError):
                self.store.start_run(lease, make_run(name))
            if self.written:
                with pytest.raises(FencedError):
                    self.store.advance(lease, self.written[-1], done=make_result("train", name))

    @invariant()
    def only_the_holders_writes_are_there(self) -> None:
        assert [run.run_id for run in self.reader.runs(limit=1000)] == self.written[::-1]
        held = [] if self.holder is None else [(self.holder, self.token)]
        assert [(lease.holder, lease.token) for lease in self.reader.leases()] == held


TestLeases = Leases.TestCase
TestLeases.settings = settings(max_examples=30, stateful_step_count=25, deadline=None)


def test_a_dead_holder_of_this_host_is_replaced_at_once(tmp_path: Path) -> None:
    import re

    from engine.adapters.state.holder import this_process

    store = SqlStateStore(f"sqlite:///{tmp_path}/state.db")
    dead = re.sub(r"pid \d+", "pid 4194304", this_process())
    first = store.acquire("churn", dead, 3600)
    second = store.acquire("churn", this_process(), 3600)
    assert second.token > first.token
    with pytest.raises(FencedError):
        store.renew(first, 60)
    with pytest.raises(LockedError):
        store.acquire("churn", dead, 3600)
