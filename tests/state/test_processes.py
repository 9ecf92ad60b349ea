"""Many processes on one state, and processes killed in the middle: what was acknowledged is there, once."""

from __future__ import annotations

import multiprocessing
import os
import resource
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.context import ForkServerContext, ForkServerProcess
from pathlib import Path
from typing import Any

import pytest

from engine.adapters.state.holder import this_process
from engine.adapters.state.reader import SqliteStateReader
from engine.adapters.state.store import SqlStateStore
from engine.core.audit import verify_chain
from engine.core.records import Lease, RunStatus
from engine.errors import EngineError, LockedError, StateError
from engine.testing.state_contract import AT, make_intent, make_result, make_run

Work = Callable[..., None]


@pytest.fixture(scope="module")
def processes() -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["engine.adapters.state.store", "engine.testing.state_contract"])
    return context


def start(context: ForkServerContext, work: Work, *arguments: Any) -> ForkServerProcess:
    process = context.Process(target=work, args=arguments)
    process.start()
    return process


def join(processes: list[ForkServerProcess], exit_code: int = 0) -> None:
    for process in processes:
        process.join(120)
        assert process.exitcode == exit_code


def acknowledge(path: Path, what: str) -> None:
    with path.open("a") as file:
        file.write(what + "\n")


def acknowledged(path: Path) -> list[str]:
    return path.read_text().split() if path.exists() else []


# ── many at once ─────────────────────────────────────────────────────────────────────────────────────────────


def create(barrier: Any, folder: Path) -> None:
    barrier.wait()
    store = SqlStateStore(f"sqlite:///{folder}/state.db")
    acknowledge(folder / "seen", store.lineage().lineage)


def test_fifty_processes_create_one_state(processes: ForkServerContext, tmp_path: Path) -> None:
    barrier = processes.Barrier(50)
    join([start(processes, create, barrier, tmp_path) for _ in range(50)])
    seen = acknowledged(tmp_path / "seen")
    assert len(seen) == 50
    assert set(seen) == {SqliteStateReader(tmp_path / "state.db").lineage().lineage}
    assert not list(tmp_path.glob(".state.db.*"))


def compete(folder: Path, name: str, rounds: int) -> None:
    store = SqlStateStore(f"sqlite:///{folder}/state.db")
    for i in range(rounds):
        lease = wait_for_lease(store)
        run = f"{name}-{i}"
        store.start_run(lease, make_run(run))
        store.advance(lease, run, intent=make_intent("train", run))
        store.advance(lease, run, done=make_result("train", run))
        store.finish_run(lease, run, RunStatus.DONE, "", AT)
        store.release(lease)
        acknowledge(folder / "acknowledged", run)


def wait_for_lease(store: SqlStateStore) -> Lease:
    while True:
        try:
            return store.acquire("churn", this_process(), 60)
        except LockedError:
            time.sleep(0.001)


def test_racing_holders_never_overlap(processes: ForkServerContext, tmp_path: Path) -> None:
    join([start(processes, compete, tmp_path, f"p{i}", 15) for i in range(6)])
    reader = SqliteStateReader(tmp_path / "state.db")
    runs = reader.runs(limit=1000)
    assert sorted(run.run_id for run in runs) == sorted(acknowledged(tmp_path / "acknowledged"))
    assert len(runs) == 90
    assert {run.status for run in runs} == {RunStatus.DONE}  # an overlap would have interrupted one
    assert verify_chain(reader.audit(), reader.audit_head()) == ()
    tokens = [event.details["token"] for event in reader.audit() if event.event == "run started"]
    assert tokens == list(range(1, 91))


def write_own_model(folder: Path, model: str) -> None:
    store = SqlStateStore(f"sqlite:///{folder}/state.db")
    lease = store.acquire(model, this_process(), 60)
    store.start_run(lease, make_run(model, model))
    for i in range(60):
        store.advance(lease, model, done=make_result("train", str(i)))


def test_writers_of_other_models_wait_for_each_other(processes: ForkServerContext, tmp_path: Path) -> None:
    names = [f"model{i}" for i in range(8)]
    join([start(processes, write_own_model, tmp_path, name) for name in names])
    reader = SqliteStateReader(tmp_path / "state.db")
    assert {name: len(reader.steps_of(name)[0]) for name in names} == dict.fromkeys(names, 60)
    assert reader.lineage().serial == 8 * 61


# ── killed in the middle ─────────────────────────────────────────────────────────────────────────────────────


def work_until_killed(folder: Path, failpoints: str) -> None:
    os.environ["ENGINE_FAILPOINTS"] = failpoints
    store = SqlStateStore(f"sqlite:///{folder}/state.db")
    lease = store.acquire("churn", this_process(), 3600)
    store.start_run(lease, make_run("run1"))
    for i in range(20):
        store.advance(lease, "run1", done=make_result(f"step{i}"), intent=make_intent(f"step{i + 1}"))
        acknowledge(folder / "acknowledged", f"step{i}")


@pytest.mark.parametrize("nth", [3, 4, 9])
@pytest.mark.parametrize(("point", "unheard"), [("state.commit", 0), ("state.committed", 1)])
def test_what_was_acknowledged_survives_a_kill(
    processes: ForkServerContext, tmp_path: Path, point: str, nth: int, unheard: int
) -> None:
    join([start(processes, work_until_killed, tmp_path, f"{point}=kill@{nth}")], -signal.SIGKILL)
    reader = SqliteStateReader(tmp_path / "state.db")
    heard = acknowledged(tmp_path / "acknowledged")
    model = reader.models(["churn"])["churn"]
    # The first two transactions take the lease and start the run.
    assert heard == [f"step{i}" for i in range(nth - 3)]
    assert set(model.latest) == {f"step{i}" for i in range(nth - 3 + unheard)}
    assert set(model.attempts) <= {f"step{len(model.latest)}"}
    assert verify_chain(reader.audit(), reader.audit_head()) == ()
    # The dead process's lease does not stand in the way, and its run is closed by the next.
    store = SqlStateStore(f"sqlite:///{tmp_path}/state.db")
    lease = store.acquire("churn", this_process(), 60)
    store.start_run(lease, make_run("run2"))
    assert [run.status for run in store.runs()] == [RunStatus.RUNNING, RunStatus.INTERRUPTED]


def test_a_kill_while_creating_leaves_no_half_state(processes: ForkServerContext, tmp_path: Path) -> None:
    join([start(processes, work_until_killed, tmp_path, "state.create=kill")], -signal.SIGKILL)
    assert not (tmp_path / "state.db").exists()
    assert SqliteStateReader(tmp_path / "state.db").lineage().serial == 0
    assert SqlStateStore(f"sqlite:///{tmp_path}/state.db").lineage().lineage


# ── a disk that is full ──────────────────────────────────────────────────────────────────────────────────────


def work_until_full(folder: Path) -> None:
    store = SqlStateStore(f"sqlite:///{folder}/state.db")
    lease = store.acquire("churn", this_process(), 3600)
    store.start_run(lease, make_run("run1"))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, resource.RLIM_INFINITY))
    try:
        for i in range(1000):
            store.advance(lease, "run1", done=make_result(f"step{i}"))
            acknowledge(folder / "acknowledged", f"step{i}")
    except EngineError as error:
        assert "Nothing was changed" in error.remedy
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        store.advance(lease, "run1", done=make_result("afterwards"))
        acknowledge(folder / "acknowledged", "afterwards")


def test_a_file_that_cannot_grow_loses_nothing(processes: ForkServerContext, tmp_path: Path) -> None:
    join([start(processes, work_until_full, tmp_path)])
    heard = acknowledged(tmp_path / "acknowledged")
    assert heard[-1] == "afterwards"
    assert 10 < len(heard) < 1000
    assert set(SqliteStateReader(tmp_path / "state.db").models()["churn"].latest) == set(heard)


@pytest.mark.parametrize("action", ["enospc", "eio"])
def test_a_commit_that_fails_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, action: str) -> None:
    store = SqlStateStore(f"sqlite:///{tmp_path}/state.db")
    lease = store.acquire("churn", "ana", 60)
    store.start_run(lease, make_run("run1"))
    before = store.models()
    monkeypatch.setattr("engine.failpoints._hits", {})
    monkeypatch.setenv("ENGINE_FAILPOINTS", f"state.commit={action}")
    with pytest.raises(EngineError) as failed:
        store.advance(lease, "run1", done=make_result("train"))
    assert "Nothing was changed" in failed.value.remedy
    assert store.models() == SqliteStateReader(tmp_path / "state.db").models() == before
    store.advance(lease, "run1", done=make_result("train"))
    assert set(store.models()["churn"].latest) == {"train"}


def test_a_state_that_cannot_be_created_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.failpoints._hits", {})
    monkeypatch.setenv("ENGINE_FAILPOINTS", "state.create=enospc")
    with pytest.raises(EngineError, match="cannot be created"):
        SqlStateStore(f"sqlite:///{tmp_path}/state.db")
    assert [path.name for path in tmp_path.iterdir() if not path.name.endswith(".lock")] == []


@pytest.mark.parametrize("replaced", [False, True])
def test_a_write_into_a_removed_file_is_refused(tmp_path: Path, replaced: bool) -> None:
    path = tmp_path / "state.db"
    store = SqlStateStore(f"sqlite:///{path}")
    lease = store.acquire("churn", "ana", 60)
    for leftover in tmp_path.glob("state.db*"):
        leftover.unlink()
    if replaced:
        SqlStateStore(f"sqlite:///{path}").close()
    with pytest.raises(StateError, match="removed or replaced"):
        store.start_run(lease, make_run("run1"))
    if not replaced:
        with pytest.raises(StateError, match="removed or replaced"):
            store.lineage()
        assert not path.exists()


def test_threads_share_a_store(tmp_path: Path) -> None:
    store = SqlStateStore(f"sqlite:///{tmp_path}/state.db")
    lease = store.acquire("churn", "ana", 60)
    store.start_run(lease, make_run("run1"))

    def work(thread: int) -> None:
        for i in range(20):
            store.advance(lease, "run1", done=make_result(f"step{thread}-{i}"))
            assert f"step{thread}-{i}" in store.models()["churn"].latest

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    assert len(SqliteStateReader(tmp_path / "state.db").models()["churn"].latest) == 80
