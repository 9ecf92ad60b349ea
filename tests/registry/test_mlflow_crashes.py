"""Killed at every boundary and called again: one run, one model, one version."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from engine.adapters.registries.mlflow import MlflowRegistry
from engine.adapters.registries.mlflow_store import prepare_store
from engine.errors import EngineError, TransientError, UsageError
from engine.ports import RegisterRequest

pytestmark = [  # MLflow, used here as anybody would use it, uses what its dependencies deprecate
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]
Requests = Callable[..., RegisterRequest]

POINTS = ["register.model", "register.version"]  # tests/crash kills at each of them, through the command line


@pytest.fixture
def armed(store: Path, client: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., MlflowRegistry]]:
    """Makes a registry of its own whose process has a failpoint armed."""
    made: list[MlflowRegistry] = []

    def make(failpoints: str) -> MlflowRegistry:
        monkeypatch.setenv("ENGINE_FAILPOINTS", failpoints)
        made.append(MlflowRegistry(f"sqlite:///{store}", timeout=120.0))
        monkeypatch.delenv("ENGINE_FAILPOINTS")
        made[-1].prefetch()
        return made[-1]

    yield make
    for one in made:
        one.close()


def test_killed_anywhere_and_done_again(
    registry: MlflowRegistry, armed: Callable[..., MlflowRegistry], model: str, request_for: Requests, client: Any
) -> None:
    for point in POINTS:
        name = f"{model}_{point.partition('.')[2]}"
        with pytest.raises(TransientError, match=r"was ended by SIGKILL") as raised:
            armed(f"{point}=kill").register(request_for(name, "k"))
        assert "registered" in raised.value.message
        made = registry.register(request_for(name, "k"))
        assert registry.find(name, "k") == made
        assert_one_of_each(client, name, made.run_id)


def assert_one_of_each(client: Any, name: str, run_id: str) -> None:
    experiment = client.get_experiment_by_name(name).experiment_id
    assert [run.info.run_id for run in client.search_runs([experiment])] == [run_id]
    assert [run.info.status for run in client.search_runs([experiment])] == ["FINISHED"]
    models = client.search_logged_models([experiment])
    assert [str(m.status) for m in models] == ["READY"]
    versions = client.search_model_versions(f"name = '{name}'")
    assert [(int(v.version), v.run_id, v.source) for v in versions] == [(1, run_id, f"models:/{models[0].model_id}")]
    outputs = client.get_run(run_id).outputs.model_outputs
    assert [output.model_id for output in outputs] == [models[0].model_id]
    assert len(client.get_metric_history(run_id, "f1_score")) == 1


def test_killed_before_aliases_move(
    registry: MlflowRegistry, armed: Callable[..., MlflowRegistry], model: str, request_for: Requests
) -> None:
    registry.register(request_for(model, "k"))
    other = armed("register.alias=kill")
    with pytest.raises(TransientError, match="Aliases may not have been moved"):
        other.set_aliases(model, {"champion": 1})
    assert registry.aliases(model) == {}
    other.close()
    registry.set_aliases(model, {"champion": 1})
    assert registry.aliases(model) == {"champion": 1}


def test_io_error_is_told_and_mended_by_another_try(
    armed: Callable[..., MlflowRegistry], model: str, request_for: Requests, client: Any
) -> None:
    registry = armed("register.model=enospc")
    with pytest.raises(EngineError, match="No space left on device"):
        registry.register(request_for(model, "k"))
    made = registry.register(request_for(model, "k"))  # the failpoint goes off once
    assert_one_of_each(client, model, made.run_id)


def test_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    registry = MlflowRegistry(f"sqlite:///{tmp_path}/file/mlflow.db")
    with pytest.raises(UsageError, match="File exists"):
        registry.find("m", "k")


def test_store_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_text("not a database, but as long as the header of one would be " * 9)
    registry = MlflowRegistry(f"sqlite:///{tmp_path}/mlflow.db")
    try:
        with pytest.raises(EngineError, match="file is not a database"):
            registry.find("m", "k")
    finally:
        registry.close()


def test_hanging_process_is_killed_at_the_deadline(
    registry: MlflowRegistry, armed: Callable[..., MlflowRegistry], model: str, request_for: Requests
) -> None:
    hanging = armed("register.created=stop")
    registry.register(request_for(model, "k1"))
    hanging.find(model, "k1")
    hanging.timeout = 8.0  # from here on: starting may take longer on a busy machine
    with pytest.raises(TransientError, match=r"did not answer in time .*may have been registered"):
        hanging.register(request_for(model, "k2"))
    assert registry.register(request_for(model, "k2")).version == 2


def test_two_processes_at_once(
    registry: MlflowRegistry, armed: Callable[..., MlflowRegistry], model: str, request_for: Requests
) -> None:
    registry.register(request_for(model, "k0"))
    other = armed("")
    jobs = [(one, request_for(model, f"k{number}")) for number, one in enumerate([registry, other] * 4, start=1)]
    with ThreadPoolExecutor(4) as pool:
        made = list(pool.map(lambda job: job[0].register(job[1]), jobs))
        assert sorted(m.version for m in made) == list(range(2, 10))
        moves = [(one, {"champion": m.version, "challenger": 1}) for (one, _), m in zip(jobs, made, strict=True)]
        list(pool.map(lambda move: move[0].set_aliases(model, move[1]), moves))
    assert registry.aliases(model)["challenger"] == 1


def test_new_stores_appear_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path = tmp_path / "new" / "mlflow.db"
    both = [MlflowRegistry(f"sqlite:///{path}", timeout=120.0) for _ in range(2)]
    try:
        for registry in both:
            registry.prefetch()
        assert [registry.find("m", "k") for registry in both] == [None, None]
        assert [p.name for p in path.parent.iterdir()] == ["mlflow.db"]
    finally:
        for registry in both:
            registry.close()


def test_empty_store_is_kept_and_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    schemas = []
    for name in ("made", "copied", "made again"):
        path = tmp_path / name / "mlflow.db"
        prepare_store(f"sqlite:///{path}")
        with closing(sqlite3.connect(path)) as connection:
            schemas.append(connection.execute("SELECT type, name FROM sqlite_master ORDER BY name").fetchall())
        assert [p.name for p in path.parent.iterdir()] == ["mlflow.db"]
        (template,) = (tmp_path / "cache" / "engine").iterdir()
        if name == "copied":
            template.write_bytes(template.read_bytes()[:4096])
    assert schemas[0] == schemas[1] == schemas[2]


def test_cancelled_from_another_thread(armed: Callable[..., MlflowRegistry], model: str, request_for: Requests) -> None:
    registry = armed("register.search=stop")
    registry.find(model, "k")
    timer = threading.Timer(0.5, registry.cancel)
    timer.start()
    with pytest.raises(TransientError, match="ended by SIGKILL"):
        registry.register(request_for(model, "k"))
    timer.join()
