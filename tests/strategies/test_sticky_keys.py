"""Twenty requests of each key, all alike, to releases that are equal: a key counts once, so nothing is seen in them.

What counts is what the gateway's own counters say; the judge is the one that decides rollouts. `ENGINE_SOAK=1`
simulates 500 rollouts.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any

import numpy as np
import pytest

from engine.core import endpoint as endpoints
from engine.core.canonical import utc
from engine.core.evidence import BINS, Tally
from engine.core.records import Endpoint
from engine.core.rollout import Rollout, start
from engine.core.stages import Stage, Strategy
from engine.core.verdict import Verdict
from engine.serving.counting import Keys, Part, Slot, Totals
from engine.serving.routing import hash_of, place_of
from engine.serving.wire import Reply
from engine.strategies.analysis import Analysis
from engine.strategies.assess import assess

SOAK = os.environ.get("ENGINE_SOAK") == "1"
ROLLOUTS = 500 if SOAK else 12
LOOKS = 10
KEYS = 60  # new ones before each look
REQUESTS = 20  # of each key
WEIGHT = 0.5
STRICT = {"max_latency_ratio": 1.001, "max_drop": 0.001}  # whatever is surely worse fails
ALL = ["errors", "latency", "prediction_shift", "accuracy"]
NOON = datetime(2026, 11, 23, 12, tzinfo=timezone.utc)


def begun() -> Rollout:
    analysis = Analysis.model_validate({"guardrails": ALL, **STRICT}).model_dump(mode="json")
    live = endpoints.deploy(Endpoint("churn"), 1, fingerprint="a")
    rollout, _ = start(live, 2, Strategy("canary", (Stage(WEIGHT),), analysis=analysis), 1, "b", NOON)
    assert rollout is not None
    return rollout


def traffic(seed: int, *, sticky: bool) -> Iterator[list[Tally]]:
    """What was counted before each look. Of a key all requests fail or none, and latency and score are nearly the same.

    sticky: whether the counters are told which key a request is of; they are told of routing alone otherwise.
    """
    chance = np.random.default_rng(seed)
    keys = Keys()
    slots = {
        role: Slot(Part("churn", 2, version, role, WEIGHT), None, Totals(), keys)  # type: ignore[arg-type]
        for version, role in ((1, "stable"), (2, "candidate"))
    }
    for look in range(LOOKS):
        labels: Counter[tuple[str, bool]] = Counter()
        for number in range(KEYS):
            key = hash_of("churn", 2, f"{seed}-{look}-{number}".encode())
            role = "candidate" if place_of(key) < WEIGHT else "stable"
            slot, told = slots[role], key if sticky else None
            fails, right = chance.random() < 0.1, bool(chance.random() < 0.5)
            usual, score = float(np.exp(chance.normal(np.log(0.05), 0.7))), float(chance.random())
            reply = Reply(1, 200, 1, score, score * score, bytes([int(score * BINS)]), b"")
            for noise in np.exp(chance.normal(0, 0.1, REQUESTS)):
                if fails:
                    slot.failed(told, fell_back=True)
                elif slot.succeeded(reply, usual * float(noise), told):
                    labels[role, right] += 1
        at = utc(NOON + timedelta(seconds=look))
        tallies = [tally for slot in slots.values() if (tally := slot.take(at)) is not None]
        yield [with_labels(tally, labels[tally.role, True], labels[tally.role, False]) for tally in tallies]


def with_labels(tally: Tally, right: int, wrong: int) -> Tally:
    losses = {"loss_sum": float(wrong), "loss_squares": float(wrong)}
    return replace(tally, labelled=right + wrong, correct=right, **losses)


def alarms(rollouts: int, *, sticky: bool) -> Counter[str]:
    """In how many rollouts each guardrail fails, or the split is found wrong, at some look."""
    found: Counter[str] = Counter()
    rollout = begun()
    for seed in range(rollouts):
        tallies: list[Tally] = []
        raised = set()
        for flush in traffic(seed, sticky=sticky):
            tallies += flush
            said = assess(rollout, tallies).guardrails
            raised |= {each.name for each in said if each.verdict in (Verdict.FAIL, Verdict.ERROR)}
        found.update(raised)
    return found


@pytest.mark.slow
def test_requests_of_one_key_are_one_observation(record_property: Any) -> None:
    once = alarms(ROLLOUTS, sticky=True)
    each = alarms(min(ROLLOUTS, 100), sticky=False)
    record_property("by_key", dict(once))
    record_property("by_request", dict(each))
    print(f"of {ROLLOUTS} by key: {dict(once)}; of {min(ROLLOUTS, 100)} by request: {dict(each)}")
    assert all(once[name] <= 0.05 * ROLLOUTS for name in (*ALL, "split"))
    assert all(each[name] >= 0.25 * min(ROLLOUTS, 100) for name in (*ALL, "split")), "the test can fail"
