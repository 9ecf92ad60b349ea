"""When guardrails of the user's own are asked, what stays of an answer, and what a server that hangs costs."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from engine.app.measuring import Measurements
from engine.app.observing import ServingFolder
from engine.core.canonical import utc
from engine.core.evidence import Measurement, Tally
from engine.core.records import Endpoint
from engine.core.rollout import Rollout, start
from engine.core.stages import Stage, Strategy
from engine.core.verdict import Verdict
from engine.serving.evidence_file import EvidenceFile
from engine.strategies.analysis import Analysis
from engine.testing.listening import WebServer

NOON = datetime(2026, 11, 23, 12, tzinfo=timezone.utc)
PASS = Measurement(verdict=Verdict.PASS)


@pytest.fixture
def web() -> Iterator[WebServer]:
    server = WebServer()
    server.says({"verdict": "pass"})
    yield server
    server.close()


def rollout(*urls: str, **options: Any) -> Rollout:
    """A canary that has begun, with a webhook of each of these addresses."""
    guardrails: list[Any] = [{"name": f"hook{n}", "webhook": url, **options} for n, url in enumerate(urls)]
    analysis = Analysis.model_validate({"guardrails": ["errors", *guardrails]}).model_dump(mode="json")
    strategy = Strategy("canary", (Stage(0.1), Stage(0.5)), analysis=analysis)
    made, _ = start(Endpoint("churn", 6, 3, deployed="a"), 4, strategy, 1, "b", NOON)
    assert made is not None
    return replace(made, began_at=utc(NOON))


def measurements(patience: float = 20.0) -> Measurements:
    return Measurements(lambda text: text, patience)


def test_nobody_is_asked_before_the_stage_has_begun(web: WebServer) -> None:
    given = measurements().of(replace(rollout(web.url), began_at=None), [], NOON)
    assert (dict(given), web.received) == ({}, [])


def test_a_delay_is_waited_for(web: WebServer) -> None:
    asked, late = measurements(), rollout(web.url, delay="1m")
    assert asked.of(late, [], NOON + timedelta(seconds=59)) == {}
    assert asked.of(late, [], NOON + timedelta(seconds=60)) == {"hook0": PASS}


def test_it_is_asked_once_in_an_interval_and_anew_in_another_stage(web: WebServer) -> None:
    asked, begun = measurements(), rollout(web.url, interval="1h")
    for _ in range(5):
        assert asked.of(begun, [], NOON) == {"hook0": PASS}
    assert len(web.received) == 1
    web.says({"verdict": "inconclusive"})
    following = replace(begun, stage=1, stage_generation=begun.stage_generation + 1)
    assert asked.of(following, [], NOON)["hook0"].verdict is Verdict.INCONCLUSIVE
    assert [request.json["stage"] for request in web.received] == [1, 2]


def test_it_is_asked_again_after_an_interval(web: WebServer) -> None:
    asked, begun = measurements(), rollout(web.url, interval=0.1)
    assert asked.of(begun, [], NOON) == {"hook0": PASS}
    web.says({"verdict": "fail"})
    end = time.monotonic() + 20
    while asked.of(begun, [], NOON)["hook0"].verdict is not Verdict.FAIL:
        assert time.monotonic() < end


def test_evidence_of_this_rollout_is_told(web: WebServer) -> None:
    begun = rollout(web.url)
    at = utc(NOON)
    tallies = [
        Tally("churn", begun.first_generation - 1, 3, "stable", 0.0, at, requests=500),
        Tally("churn", begun.first_generation, 3, "stable", 0.1, at, requests=90, errors=2),
        Tally("churn", begun.first_generation, 4, "candidate", 0.1, at, requests=10, errors=1),
        Tally("churn", begun.first_generation, 4, "candidate", 0.1, at, requests=5),
    ]
    measurements().of(begun, tallies, NOON)
    told = web.received[0].json["evidence"]
    assert {role: (counts["requests"], counts["errors"]) for role, counts in told.items()} == {
        "stable": (90, 2),
        "candidate": (15, 1),
    }


def test_a_server_that_hangs_delays_nobody(web: WebServer) -> None:
    over = threading.Event()

    def hang(_: Any) -> Any:
        over.wait(30)
        return 200, {}, b'{"verdict": "pass"}'

    slow = WebServer()
    slow.answer = hang
    try:
        asked, begun = measurements(patience=0.3), rollout(slow.url, web.url, timeout=20)
        before = time.monotonic()
        first = asked.of(begun, [], NOON)
        assert time.monotonic() - before < 5
        assert "hook0" not in first, "an answer that has not come is none"
        for _ in range(3):
            asked.of(begun, [], NOON)
        assert len(slow.received) == 1, "it is not asked twice at the same time"
        over.set()
        end = time.monotonic() + 20
        while asked.of(begun, [], NOON) != {"hook0": PASS, "hook1": PASS}:
            assert time.monotonic() < end
    finally:
        over.set()
        slow.close()


def test_what_fails_by_what_was_counted_does_not_wait(web: WebServer, tmp_path: Path) -> None:
    begun = rollout(web.url)
    tally = Tally("churn", begun.first_generation, 3, "stable", 0.5, utc(NOON), requests=900, keys=900)
    worse = replace(tally, version=4, role="candidate", errors=300, error_keys=300, timed=tally.requests - 300)
    folder = ServingFolder(tmp_path, measurements())
    assert folder.seen(begun, NOON).verdict is Verdict.INCONCLUSIVE
    assert len(web.received) == 1
    EvidenceFile(tmp_path / "evidence.db").add([tally, worse])
    assert ServingFolder(tmp_path, measurements()).seen(begun, NOON).verdict is Verdict.FAIL
    assert len(web.received) == 1


def test_whoever_only_looks_asks_nobody(web: WebServer, tmp_path: Path) -> None:
    assessment = ServingFolder(tmp_path).assessment(rollout(web.url), NOON)
    assert [each.text for each in assessment.guardrails if each.name == "hook0"] == ["hook0: not asked yet"]
    assert web.received == []
