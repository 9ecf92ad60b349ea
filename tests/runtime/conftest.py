"""Steps for an executor to run: functions of this folder, in processes of their own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from engine.adapters.executors.processes import ProcessExecutor
from engine.ports import StepRequest


@pytest.fixture(scope="module")
def warm(monkeypatch_module: pytest.MonkeyPatch) -> Iterator[ProcessExecutor]:
    """One executor for a whole module, without libraries to import."""
    with ProcessExecutor(jobs=4, preload=()) as made:
        yield made


@pytest.fixture(scope="module")
def monkeypatch_module() -> Iterator[pytest.MonkeyPatch]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(Path(__file__).parent), prepend=":")
        patch.setenv("A_PASSWORD", "never shown")
        yield patch


@pytest.fixture
def request_of(tmp_path: Path) -> Callable[..., StepRequest]:
    """Makes the request to run a function of `executed_steps`."""

    def make(function: str, name: str = "step", **fields: Any) -> StepRequest:
        content: dict[str, Any] = {
            "step": name,
            "function": f"executed_steps:{function}",
            "settings": {},
            "inputs": {},
            "outputs": {},
            "facts": {},
            "project": tmp_path,
            "workdir": tmp_path / name,
            "log": tmp_path / f"{name}.log",
        }
        return StepRequest(**{**content, **fields})

    return make
