"""Every model registry that needs no server keeps the contract; the one with a server is in tests/registry."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine.adapters.registries.mlflow import MlflowRegistry
from engine.ports import RegisterRequest
from engine.testing.registry import InMemoryRegistry, ModelRegistryContract, RequestFor


@pytest.fixture
def request_for(tmp_path: Path) -> RequestFor:
    """Requests for a model whose bytes no registry opens."""
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "model.pkl").write_bytes(b"opaque")
    meta = {"format": "pickle", "features": [{"name": "age", "kind": "numeric"}], "classes": [0, 1]}
    (folder / "meta.json").write_text(json.dumps(meta))

    def make(model: str, key: str) -> RegisterRequest:
        return RegisterRequest(
            model=model,
            experiment=model,
            key=key,
            run_name="run",
            model_dir=folder,
            params={"n_estimators": 100},
            metrics={"f1_score": 0.5},
            tags={"engine.model": model},
            datasets=[],
            files={},
            requirements=[],
        )

    return make


@pytest.fixture
def model(request: pytest.FixtureRequest) -> str:
    """A name of its own for each test, since starting MLflow anew for each takes seconds."""
    return str(request.node.name)


class TestInMemory(ModelRegistryContract):
    @pytest.fixture
    def registry(self) -> InMemoryRegistry:
        return InMemoryRegistry()


@pytest.fixture(scope="module")
def mlflow_on_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowRegistry]:
    registry = MlflowRegistry(f"sqlite:///{tmp_path_factory.mktemp('store') / 'mlflow.db'}", timeout=120.0)
    registry.prefetch()
    yield registry
    registry.close()


class TestMlflowOnSqlite(ModelRegistryContract):
    @pytest.fixture
    def registry(self, mlflow_on_sqlite: MlflowRegistry) -> MlflowRegistry:
        return mlflow_on_sqlite
