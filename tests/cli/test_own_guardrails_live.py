"""Guardrails of the user's own and growing steps from apply to their end, with a gateway's files written by hand."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_project import edit
from command_line import Call
from test_delivery_commands import gateway
from test_live_strategies import CANARY, evidence

from engine.testing.listening import WebServer

ANALYSIS = "{min_requests: 1, max_error_rate: 50%, guardrails: [errors]}"


@pytest.fixture
def web() -> Iterator[WebServer]:
    server = WebServer()
    yield server
    server.close()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("verdict", "code", "words"),
    [("pass", 0, "blue green promoted"), ("fail", 3, "blue green aborted: fraud: too many chargebacks")],
)
def test_a_webhook_decides_a_flip(
    candidate: Path, call: Call, web: WebServer, monkeypatch: pytest.MonkeyPatch, verdict: str, code: int, words: str
) -> None:
    monkeypatch.setenv("FRAUD_URL", f"{web.url}?key=hidden")
    web.says({"verdict": verdict, "reason": "too many chargebacks"})
    own = "{name: fraud, webhook: '${env:FRAUD_URL}'}"
    edit(candidate / "specs/churn.yaml", CANARY, f"{{strategy: blue_green, analysis: {{guardrails: [{own}]}}}}")
    with gateway(candidate):
        came = call(candidate, "apply", "--auto-approve", "--wait")
    assert (came.code, words in came.out) == (code, True), came.out
    assert web.received[0].json["candidate"] == 2
    state = b"".join(path.read_bytes() for path in (candidate / ".engine").glob("state.db*"))
    assert b"FRAUD_URL" in state
    assert b"hidden" not in state, "a secret stays a reference"
    assert "hidden" not in came.out + came.err


@pytest.mark.slow
@pytest.mark.parametrize(
    ("growth", "shares"), [("{by: 40%}", ["10%", "50%", "90%"]), ("{times: 3}", ["10%", "30%", "90%"])]
)
def test_growing_steps_from_apply_to_their_end(candidate: Path, call: Call, growth: str, shares: list[str]) -> None:
    edit(candidate / "specs/churn.yaml", CANARY, f"{{strategy: canary, steps: {growth}, analysis: {ANALYSIS}}}")
    evidence(candidate, "candidate", 0.5, correct=1400)
    with gateway(candidate):
        came = call(candidate, "apply", "--auto-approve", "--wait")
    assert (came.code, came.err) == (0, "")
    assert re.findall(r"canary stage \d of 3 \((\d+%)\), progressing", came.out) == shares
    assert came.out.endswith("churn: version 2, canary promoted: every stage is passed\n")


@pytest.mark.slow
def test_a_pause_with_a_time_and_one_without(candidate: Path, call: Call) -> None:
    steps = "[{traffic: 10%, pause: 1s}, {traffic: 50%, pause: true}, 100%]"
    edit(candidate / "specs/churn.yaml", CANARY, f"{{strategy: canary, steps: {steps}, analysis: {ANALYSIS}}}")
    evidence(candidate, "candidate", 0.5, correct=1400)
    assert call(candidate, "apply", "--auto-approve").code == 0
    said = set()
    with gateway(candidate):
        while "paused: the stage is passed and waits for somebody" not in (
            shown := call(candidate, "rollout", "status", "churn").out
        ):
            said.add(shown.splitlines()[0])
            assert call(candidate, "reconcile").code == 0
        assert any("stage 1 of 2 (10%), paused: the stage is passed and pauses for 1 s" in line for line in said), said
        assert "canary stage 2 of 2 (50%)" in shown
        assert "version 2 is live" in call(candidate, "rollout", "resume", "churn").out
