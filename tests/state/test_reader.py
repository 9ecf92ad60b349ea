"""The plan's reader sees what the store sees, needs only the standard library, and changes nothing."""

from __future__ import annotations

import os
import pickle
import shutil
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.adapters.state.reader import SqliteStateReader
from engine.adapters.state.store import SqlStateStore
from engine.core.canonical import canonical_json, digest
from engine.core.records import AttemptStatus, Endpoint, Lease, Lineage, ModelState, RunStatus
from engine.core.verdict import Verdict
from engine.errors import UsageError
from engine.testing.state_contract import AT, make_intent, make_release, make_result, make_run

STEPS = st.sampled_from(["train", "evaluate", "validate"])
CONTENT = st.sampled_from(["1", "2", "3"])
FACTS = st.dictionaries(
    st.sampled_from(["rows", "f1", "é"]), st.one_of(st.integers(0, 9), st.floats(0, 1), st.none()), max_size=2
)
EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("intent"), STEPS, CONTENT),
        st.tuples(st.just("done"), STEPS, CONTENT, FACTS, st.sampled_from([None, *Verdict])),
        st.tuples(st.just("fail"), STEPS, CONTENT),
        st.tuples(st.just("run")),
        st.tuples(st.just("finish")),
        st.tuples(st.just("release")),
        st.tuples(st.just("deploy")),
        st.tuples(st.just("taint"), STEPS),
        st.tuples(st.just("model")),
    ),
    max_size=25,
)


class History:
    """Carries out events on a store, and remembers what planning must see of it."""

    def __init__(self, store: SqlStateStore) -> None:
        self.store = store
        self.runs = self.releases = self.models = 0
        self.expected: dict[str, ModelState] = {}
        self.next_model()

    def next_model(self) -> None:
        self.models += 1
        self.name = f"model{self.models}"
        self.lease: Lease = self.store.acquire(self.name, "ana", 60)
        self.endpoint = Endpoint(self.name)
        self.releases = 0
        self.next_run()

    def next_run(self) -> None:
        self.runs += 1
        self.run = f"run{self.runs}"
        self.store.start_run(self.lease, make_run(self.run, self.name))
        old = self.expected.get(self.name, ModelState(self.name))
        attempts = {
            step: replace(a, status=AttemptStatus.INTERRUPTED) if a.status is AttemptStatus.INTENT else a
            for step, a in old.attempts.items()
        }
        self.expected[self.name] = replace(old, spec_digest=digest(self.name), attempts=attempts)

    def carry_out(self, event: tuple[Any, ...]) -> None:
        kind, *arguments = event
        getattr(self, f"on_{kind}")(*arguments)

    def remember(self, **changes: Any) -> None:
        self.expected[self.name] = replace(self.expected[self.name], **changes)

    def on_intent(self, step: str, content: str) -> None:
        old = self.expected[self.name]
        intent = make_intent(step, content, self.run)
        open_ = old.attempts.get(step)
        if open_ is not None and open_.status is AttemptStatus.INTENT and open_ != intent:
            return  # a step has one open intent at a time
        self.store.advance(self.lease, self.run, intent=intent)
        self.remember(attempts={**old.attempts, step: intent})

    def on_done(self, step: str, content: str, facts: dict[str, Any], verdict: Verdict | None) -> None:
        self.next_run()  # a run has one result of a step and fingerprint
        old = self.expected[self.name]
        result = make_result(step, content, self.run, facts=facts, verdict=verdict)
        self.store.advance(self.lease, self.run, done=result)
        self.remember(
            latest={**old.latest, step: result},
            attempts={name: attempt for name, attempt in old.attempts.items() if name != step},
            durations={**old.durations, step: (1.5, *old.durations.get(step, ()))[:5]},
            tainted=old.tainted - {step},
        )

    def on_fail(self, step: str, content: str) -> None:
        self.next_run()
        failed = make_intent(step, content, self.run, status=AttemptStatus.FAILED, message="boom")
        self.store.fail(self.lease, self.run, failed)
        self.remember(attempts={**self.expected[self.name].attempts, step: failed})

    def on_run(self) -> None:
        self.next_run()

    def on_finish(self) -> None:
        self.store.finish_run(self.lease, self.run, RunStatus.DONE, "", AT)
        self.next_run()

    def on_release(self) -> None:
        self.releases += 1
        self.store.add_release(self.lease, make_release(self.releases, self.name, run_id=self.run))

    def on_deploy(self) -> None:
        if self.releases:
            after = replace(self.endpoint, generation=self.endpoint.generation + 1, stable=self.releases)
            self.store.set_endpoint(self.lease, self.endpoint, after, actor="ana", reason="deploy")
            self.endpoint = after
            self.remember(endpoint=after)

    def on_taint(self, step: str) -> None:
        old = self.expected[self.name]
        if step in old.latest:
            self.store.taint(self.name, step, actor="ana")
            self.remember(tainted=old.tainted | {step})

    def on_model(self) -> None:
        self.next_model()


@settings(max_examples=40, deadline=None)
@given(EVENTS)
def test_any_history_reads_the_same_both_ways(events: list[tuple[Any, ...]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = SqlStateStore(f"sqlite:///{folder}/state.db")
        reader = SqliteStateReader(Path(folder) / "state.db")
        history = History(store)
        for event in events:
            history.carry_out(event)
        assert reader.lineage() == store.lineage()
        found = reader.models()
        assert found == store.models()
        assert {name: replace(state, serial=0) for name, state in found.items()} == history.expected
        assert reader.model_serials() == store.model_serials() == {m.name: m.serial for m in found.values()}
        assert max(reader.model_serials().values()) == reader.lineage().serial
        for run in reader.runs(limit=1000):
            assert reader.steps_of(run.run_id) == store.steps_of(run.run_id)
        for step in ("train", "evaluate", "validate"):
            for content in "123":
                wanted = (history.name, step, digest(content))
                assert reader.result(*wanted) == store.result(*wanted)
        for name in (
            "runs",
            "releases",
            "rollouts",
            "open_rollouts",
            "unmirrored",
            "audit",
            "leases",
            "list_models",
            "live_digests",
            "audit_head",
        ):
            assert getattr(reader, name)() == getattr(store, name)()
        store.close()
        reader.close()


def test_a_missing_state_is_empty_and_stays_missing(tmp_path: Path) -> None:
    reader = SqliteStateReader(tmp_path / "state.db")
    assert reader.lineage() == Lineage("", 0)
    assert reader.models() == {}
    assert reader.models(["churn"]) == {"churn": ModelState("churn")}
    assert reader.model_serials() == {}
    assert reader.live_digests() == frozenset()
    assert list(tmp_path.iterdir()) == []
    SqlStateStore(f"sqlite:///{tmp_path}/state.db")
    assert reader.lineage().lineage


def test_reading_imports_no_database_library(tmp_path: Path) -> None:
    code = f"""
import sys
from pathlib import Path
from engine.adapters.state.reader import SqliteStateReader
SqliteStateReader(Path("{tmp_path}/state.db")).models()
assert not {{"sqlalchemy", "alembic", "tenacity", "filelock", "pydantic"}} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_reading_does_not_wait_for_a_writer(tmp_path: Path) -> None:
    store = SqlStateStore(f"sqlite:///{tmp_path}/state.db")
    lease = store.acquire("churn", "ana", 60)
    store.start_run(lease, make_run("run1"))
    reader = SqliteStateReader(tmp_path / "state.db")
    seen = []

    def in_the_middle(tx: Any) -> None:
        tx.execute("UPDATE models SET spec_digest = :digest", {"digest": "changed"})
        seen.append(reader.models()["churn"].spec_digest)

    store._database.write(in_the_middle)
    assert seen == [digest("churn")]
    assert reader.models()["churn"].spec_digest == "changed"


def test_a_state_in_a_folder_that_cannot_be_written_is_read() -> None:
    folder = Path(tempfile.mkdtemp())
    try:
        store = SqlStateStore(f"sqlite:///{folder}/state.db")
        store.redeem("plan", AT)
        store.close()
        expected = store.lineage()
        store.close()
        (folder / "state.db").chmod(0o444)
        folder.chmod(0o555)
        if os.geteuid() == 0:
            os.seteuid(65534)
        assert SqliteStateReader(folder / "state.db").lineage() == expected
    finally:
        if os.getuid() == 0:
            os.seteuid(0)
        folder.chmod(0o755)
        shutil.rmtree(folder)


def test_a_stored_result_is_a_result_like_any_other(tmp_path: Path) -> None:
    store = SqlStateStore(f"sqlite:///{tmp_path}/state.db")
    lease = store.acquire("churn", "ana", 60)
    store.start_run(lease, make_run("run1"))
    plain = make_result("train", verdict=Verdict.FAIL)
    store.advance(lease, "run1", done=plain)
    stored = SqliteStateReader(tmp_path / "state.db").models()["churn"].latest["train"]
    assert stored == plain
    assert plain == stored
    assert stored != replace(plain, facts={})
    assert repr(plain).removeprefix("StepResult") in repr(stored)
    assert pickle.loads(pickle.dumps(stored)) == plain
    assert replace(stored, summary="4 rows") == replace(plain, summary="4 rows")
    assert canonical_json(stored.components) == canonical_json(plain.components)
    with pytest.raises(AttributeError):
        stored.colour  # type: ignore[attr-defined]  # noqa: B018


def test_a_backup_is_a_state_of_its_own(tmp_path: Path) -> None:
    store = SqlStateStore(f"sqlite:///{tmp_path}/state.db")
    lease = store.acquire("churn", "ana", 60)
    store.start_run(lease, make_run("run1"))
    store.backup(tmp_path / "copy.db")
    before = store.models()
    store.advance(lease, "run1", done=make_result("train"))
    assert SqliteStateReader(tmp_path / "copy.db").models() == before
    with pytest.raises(UsageError, match="exists already"):
        store.backup(tmp_path / "copy.db")
    with pytest.raises(Exception, match="cannot be written"):
        store.backup(tmp_path / "nowhere" / "copy.db")
