"""`make demo-delivery` as a person runs it. Compact versions of its rollouts: tests/serving/test_bad_candidates.py."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

DEMO = Path(__file__).parents[2] / "docs/demo_delivery.py"


@pytest.mark.slow
@pytest.mark.skipif(os.environ.get("ENGINE_SOAK") != "1", reason="minutes; ENGINE_SOAK=1 runs it")
def test_a_good_release_goes_live_and_four_bad_ones_are_sent_away(tmp_path: Path) -> None:
    came = subprocess.run(
        [sys.executable, str(DEMO), str(tmp_path / "churn")], capture_output=True, text=True, timeout=900, check=False
    )
    assert came.returncode == 0, came.stdout + came.stderr
    assert "version 2, canary promoted" in came.stdout
    for version, guardrail in ((3, "errors"), (4, "latency"), (5, "errors"), (6, "accuracy")):
        assert re.search(rf"version {version}, canary aborted: {guardrail}:", came.stdout)
    assert re.search(r"[\d,]+ requests answered, 0 failed", came.stdout)
