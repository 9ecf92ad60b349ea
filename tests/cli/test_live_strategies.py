"""A shadow and an A/B test from apply to their end, with a gateway's status and evidence written by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cli_project import edit
from command_line import Call
from test_delivery_commands import gateway

from engine.core.evidence import BINS, Tally
from engine.serving.evidence_file import EvidenceFile

CANARY = "{strategy: canary, initial_traffic: 10%}"
HISTOGRAM = (100,) * BINS


def evidence(folder: Path, role: str, weight: float, correct: int) -> None:
    """2,000 requests to each release, all answered, and labelled."""
    serving = folder / ".engine/serving"
    serving.mkdir(exist_ok=True)
    common: dict[str, Any] = {
        "requests": 2000, "keys": 2000, "timed": 2000, "labelled": 2000, "scores": HISTOGRAM,
        "latency_sum": 20.0, "latency_squares": 0.21, "log_sum": -9210.0, "log_squares": 42450.0,
    }  # fmt: skip
    at = "2026-11-23T12:00:00.000000Z"
    stable = Tally("churn", 1_000, 1, "stable", weight, at, correct=1400, **common)
    mine = Tally("churn", 1_000, 2, role, weight, at, correct=correct, **common)
    EvidenceFile(serving / "evidence.db").add([stable, mine])


@pytest.mark.slow
def test_a_shadow_is_reported_and_waits_for_approval(candidate: Path, call: Call) -> None:
    edit(candidate / "specs/churn.yaml", CANARY, "{strategy: shadow, duration: 1s}")
    assert call(candidate, "apply", "--auto-approve").code == 0
    shown = call(candidate, "rollout", "status", "churn").out
    assert "shadow stage 1 of 1 (no traffic, copies of 100%), progressing" in shown
    assert "0 of 500 copies in this stage" in shown
    evidence(candidate, "shadow", 0.0, correct=1900)
    with gateway(candidate):
        while (document := json.loads(call(candidate, "rollout", "status", "churn", "--json").out))["rollout"][
            "phase"
        ] == "progressing":
            assert call(candidate, "reconcile").code == 0
        shown = call(candidate, "rollout", "status", "churn").out
        assert document["rollout"]["phase"] == "awaiting_approval"
        assert {each["name"]: each["verdict"] for each in document["evidence"]["guardrails"]} == {
            "errors": "pass",
            "latency": "pass",
            "difference": "pass",
            "prediction_shift": "pass",
        }
        assert "100 of 2,000 copies predict otherwise (5.00%;" in shown
        assert "version 2 is live" in call(candidate, "promote", "churn").out


@pytest.mark.slow
def test_a_shadow_goes_live_by_itself_where_the_spec_says_so(candidate: Path, call: Call) -> None:
    edit(candidate / "specs/churn.yaml", CANARY, "{strategy: shadow, duration: 1s, then: promote}")
    evidence(candidate, "shadow", 0.0, correct=1000)
    with gateway(candidate):
        came = call(candidate, "apply", "--auto-approve", "--wait")
    assert (came.code, came.err) == (0, "")
    assert came.out.endswith("churn: version 2, shadow promoted: every stage is passed\n")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("correct", "options", "code", "words"),
    [
        (1700, "", 0, "ab test promoted: every stage is passed"),
        (1100, "", 3, "ab test aborted: accuracy: -0.150"),
        (1400, ", max_duration: 1s", 3, "ab test aborted: its time is up: accuracy: +0.000"),
    ],
)
def test_a_test_ends(candidate: Path, call: Call, correct: int, options: str, code: int, words: str) -> None:
    edit(candidate / "specs/churn.yaml", CANARY, f"{{strategy: ab_test, metric: accuracy{options}}}")
    evidence(candidate, "candidate", 0.5, correct)
    with gateway(candidate):
        came = call(candidate, "apply", "--auto-approve", "--wait")
    assert (came.code, words in came.out) == (code, True), came.out
    live = json.loads(call(candidate, "status", "--json").out)["models"][0]["endpoint"]
    assert (live["stable"], live["candidate"]) == (1 if code else 2, None)


def test_a_metric_that_live_traffic_does_not_give(candidate: Path, call: Call) -> None:
    edit(candidate / "specs/churn.yaml", CANARY, "{strategy: ab_test, metric: conversion}")
    came = call(candidate, "plan")
    assert came.code == 1
    assert "accuracy, squared_error, errors, latency" in came.err


def test_a_plan_and_a_status_say_what_the_canary_detects(candidate: Path, call: Call) -> None:
    words = "a doubled error rate (1% → 2%) shows after about"
    shown = call(candidate, "rollout", "status", "churn").out
    assert words in shown
    document = json.loads(call(candidate, "rollout", "status", "churn", "--json").out)
    assert document["detects"]["weight"] == 0.1
    assert words not in call(candidate, "plan").out, "nothing is deployed"
    edit(candidate / "specs/churn.yaml", CANARY, "{strategy: canary, initial_traffic: 20%}")
    assert f"{words} " in call(candidate, "plan").out
    [model] = json.loads(call(candidate, "plan", "--json").out)["models"]
    [deploy] = [action for action in model["actions"] if action["step"] == "deploy"]
    assert deploy["detects"]["weight"] == 0.2
    assert deploy["detects"]["requests"] < document["detects"]["requests"]
