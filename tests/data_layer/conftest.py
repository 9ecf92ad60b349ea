"""Contexts as a worker would give them to a step."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from real_data import MakeContext

from engine.ports import StepContext


@pytest.fixture
def make_context(tmp_path: Path) -> MakeContext:
    """A context with the settings of `data`, its inputs by role, and every output in `tmp_path/out`."""

    def make(
        data: Mapping[str, Any],
        inputs: Mapping[str, Path] | None = None,
        outputs: Mapping[str, str] | None = None,
        task: str = "auto",
        secrets: Mapping[str, str] | None = None,
    ) -> StepContext:
        (tmp_path / "out").mkdir(exist_ok=True)
        (tmp_path / "scratch").mkdir(exist_ok=True)
        settings = {
            "format": None,
            "missing": None,
            "ignore": [],
            "target": "target",
            "positive": None,
            "id": None,
            "timestamp": None,
            "group": None,
            "table": None,
            "split": {"strategy": "auto", "holdout": 0.2, "seed": 42},
        }
        return StepContext(
            step="step",
            settings={"data": {**settings, **data}, "training": {"task": task}},
            inputs=inputs or {},
            outputs={role: tmp_path / "out" / name for role, name in (outputs or {}).items()},
            facts={},
            project=tmp_path,
            scratch=tmp_path / "scratch",
            progress=lambda done, total, text: None,
            resolve=(secrets or {}).__getitem__,
        )

    return make
