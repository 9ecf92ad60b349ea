"""What a gateway's files say of a candidate, and what they cannot say."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from engine.app.observing import STATUS, ServingFolder
from engine.core.canonical import utc
from engine.core.records import Endpoint
from engine.core.rollout import Readiness, Rollout, start
from engine.core.stages import Stage, Strategy
from engine.core.verdict import Verdict
from engine.strategies.analysis import Analysis

NOON = datetime(2026, 11, 23, 12, tzinfo=timezone.utc)
BLUE_GREEN = Strategy("blue_green", (Stage(0.0),))


def rollout(strategy: Strategy = BLUE_GREEN) -> Rollout:
    made, _ = start(Endpoint("churn", 6, 3, deployed="a"), 4, strategy, 1, "b", NOON)
    assert made is not None
    return made


def write(folder: Path, *, at: datetime = NOON, generation: int = 7, model: str = "churn", **entry: str) -> None:
    releases = {"3": {"state": "ready", "reason": "", "golden": "same"}, "4": entry}
    models: dict[str, Any] = {model: {"generation": generation, "releases": releases}}
    document = {"format_version": 1, "gateway": "g", "at": utc(at), "models": models}
    (folder / STATUS).write_text(json.dumps(document))


@pytest.mark.parametrize(
    ("status", "readiness", "verdict"),
    [
        ({"state": "ready", "golden": "same"}, Readiness.READY, Verdict.PASS),
        ({"state": "ready", "golden": "none"}, Readiness.READY, Verdict.INCONCLUSIVE),
        ({"state": "ready", "golden": "different"}, Readiness.FAILED, Verdict.FAIL),
        ({"state": "failed", "reason": "no such class"}, Readiness.FAILED, Verdict.FAIL),
        ({"state": "loading", "golden": "none"}, Readiness.LOADING, Verdict.INCONCLUSIVE),
        ({"state": "draining", "golden": "none"}, Readiness.LOADING, Verdict.INCONCLUSIVE),
        ({"state": "failed", "generation": 6}, Readiness.LOADING, Verdict.INCONCLUSIVE),
        ({"state": "ready", "golden": "same", "model": "other"}, Readiness.UNKNOWN, Verdict.INCONCLUSIVE),
        ({"state": "ready", "at": NOON - timedelta(seconds=6)}, Readiness.UNKNOWN, Verdict.INCONCLUSIVE),
        ({"state": "ready", "at": NOON + timedelta(seconds=6)}, Readiness.UNKNOWN, Verdict.INCONCLUSIVE),
        ({"state": "ready", "golden": "same", "at": NOON - timedelta(seconds=4)}, Readiness.READY, Verdict.PASS),
    ],
)
def test_a_status(tmp_path: Path, status: dict[str, Any], readiness: Readiness, verdict: Verdict) -> None:
    write(tmp_path, **status)
    seen = ServingFolder(tmp_path).seen(rollout(), NOON)
    assert (seen.readiness, seen.verdict) == (readiness, verdict)
    assert seen.why


@pytest.mark.parametrize("text", [None, "", "{", "[]", '{"at": 1}', '{"at": "now", "models": {}}', '{"models": {}}'])
def test_no_status(tmp_path: Path, text: str | None) -> None:
    if text is not None:
        (tmp_path / STATUS).write_text(text)
    assert ServingFolder(tmp_path).seen(rollout(), NOON).readiness is Readiness.UNKNOWN


def test_live_evidence_is_asked_for_by_an_analysis(tmp_path: Path) -> None:
    write(tmp_path, state="ready", golden="same")
    canary = Strategy("canary", (Stage(0.1),), analysis=Analysis(min_requests=50).model_dump())
    seen = ServingFolder(tmp_path).seen(rollout(canary), NOON)
    assert (seen.readiness, seen.verdict) == (Readiness.READY, Verdict.INCONCLUSIVE)
    assert seen.why == "0 of 50 requests in this stage"
