"""The demonstration of the loop that heals, in real time: minutes, and so for the soak alone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from engine.adapters.state.reader import SqliteStateReader
from engine.core.records import Aftermath
from engine.core.rollout import Phase

DEMO = Path(__file__).parents[2] / "docs/demo_loop.py"


@pytest.mark.skipif(os.environ.get("ENGINE_SOAK") != "1", reason="takes six minutes: ENGINE_SOAK=1")
def test_the_loop_heals_on_real_data_with_nobody_at_the_keyboard(tmp_path: Path) -> None:
    project = tmp_path / "electricity"
    told = subprocess.run([sys.executable, str(DEMO), str(project)], capture_output=True, text=True, check=False)
    assert told.returncode == 0, f"less than five points, or a request that failed: {told.stdout[-3000:]}{told.stderr}"
    state = SqliteStateReader(project / ".engine/state.db")
    due = state.evaluations("electricity", due_only=True)
    assert Aftermath.RELEASED in {each.aftermath for each in due}
    promoted = [each for each in state.rollouts("electricity") if each.phase is Phase.PROMOTED]
    assert len(promoted) >= 3
    assert {each.aftermath for each in state.evaluations("untouched", due_only=True)} == set()
    assert [each.version for each in state.releases("untouched")] == [1]
