"""Rollouts through a real gateway, under load with labels: a good candidate climbs, bad ones are sent away by the
guardrail that they offend, and no client gets an error. The long version on real data: docs/demo_delivery.py.
"""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from served import MISCHIEF, ROW, TWIN, Client, Gateway

from engine.app.observing import ServingFolder
from engine.app.workspace import open_workspace
from engine.core.records import Endpoint
from engine.core.rollout import Phase, Rollout, start, supersede
from engine.core.stages import Stage, Strategy
from engine.runtime.deliver import Again, Delivery
from engine.runtime.leases import LeaseKeeper
from engine.strategies.analysis import Analysis

PATIENCE = 60.0  # seconds for a rollout
PAUSE = 0.004  # seconds between two requests of a client
LIMITS = {"min_requests": 20, "max_latency_ratio": 1.5, "max_drop": 0.3}
RAISE, NAN, SLOW = -1, -2, -5  # months at which the mischievous release does so


def begin(folder: Path, candidate: int, stages: tuple[Stage, ...], guardrail: str, errors: float) -> None:
    """As `deploy` does it."""
    workspace = open_workspace(folder)
    store = workspace.store
    before: Endpoint | None = store.models(["churn"])["churn"].endpoint
    assert before is not None
    analysis = Analysis.model_validate({"guardrails": [guardrail], "max_error_rate": errors, **LIMITS}).model_dump(
        mode="json"
    )
    last = next(iter(store.rollouts("churn", 1)), None)
    now = datetime.now(timezone.utc)
    strategy = Strategy("canary", stages, analysis=analysis)
    rollout, after = start(before, candidate, strategy, last.number + 1 if last else 1, "fingerprint", now)
    ended = [(last, supersede(last, "a newer candidate", now))] if last is not None and last.is_open else []
    lease = store.acquire("churn", "test", 30)
    try:
        changes = [*ended, (None, rollout)]
        store.set_endpoint(lease, before, after, actor="test", reason="test", rollouts=changes)  # type: ignore[arg-type]
    finally:
        store.release(lease)
        store.close()


class Load:
    """Clients that never pause. `months` says what a request asks for, `actual` what an answer turns out to be."""

    def __init__(self, gateway: Gateway, months: Callable[[random.Random], int], actual: Callable[[Any], str]) -> None:
        self._gateway, self._months, self._actual = gateway, months, actual
        self.failed: list[str] = []
        self.answered: Counter[int] = Counter()

    def ask(self, seed: int, over: threading.Event) -> None:
        chance = random.Random(seed)
        with closing(Client(self._gateway.address)) as client:
            labels = []
            while not over.wait(PAUSE):
                key = {"x-routing-key": f"{seed} {chance.random()}"}
                answer = client.predict({**ROW, "months": self._months(chance)}, key)
                if answer.status != 200:
                    self.failed.append(f"{answer.status} {answer.body.decode()}")
                    continue
                self.answered[answer.json["version"]] += 1
                labels.append({"id": answer.json["ids"][0], "actual": self._actual(answer.json)})
                if len(labels) == 20:
                    told = client.ask("POST", "/v1/models/churn/feedback", {"feedback": labels})
                    assert told.status == 200, told.body
                    labels = []


@contextmanager
def loaded(load: Load, clients: int = 4) -> Iterator[None]:
    over = threading.Event()
    threads = [threading.Thread(target=load.ask, args=(seed, over)) for seed in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join()


def carried(gateway: Gateway) -> Rollout:
    """Carried on until it ends, pass by pass; the registry's aliases do not follow."""
    workspace = open_workspace(gateway.folder)
    store, deadline = workspace.store, time.monotonic() + PATIENCE
    keeper = LeaseKeeper(store, "test", threading.Event())
    delivery = Delivery(
        store,
        workspace.registry,
        ServingFolder(gateway.serving),
        keeper.hold_endpoint,
        lambda: datetime.now(timezone.utc),
        "test",
    )
    try:
        while isinstance(came := delivery.advance("churn"), Again):
            assert time.monotonic() < deadline, came
            time.sleep(min(came.seconds, 0.3))
        return next(iter(store.rollouts("churn", 1)))
    finally:
        keeper.close()
        store.close()


def usual(_: random.Random) -> int:
    return 3


def test_a_good_candidate_climbs_to_the_end(live: Gateway) -> None:
    load = Load(live, usual, lambda _: "yes")
    with loaded(load):
        begin(live.folder, TWIN, (Stage(0.1), Stage(0.25), Stage(0.5)), "errors", errors=0.2)
        rollout = carried(live)
        live.effective(stable=TWIN)
    assert (rollout.phase, load.failed) == (Phase.PROMOTED, []), rollout.reason
    assert {tally.weight for tally in live.tallies() if tally.role == "candidate"} == {0.1, 0.25, 0.5}
    assert load.answered[TWIN] > 0


@pytest.mark.parametrize(
    ("months", "guardrail"), [(RAISE, "errors"), (NAN, "errors"), (SLOW, "latency"), (3, "accuracy")]
)
def test_a_bad_candidate_is_sent_away(live: Gateway, months: int, guardrail: str) -> None:
    """It fails one request in twenty, answers NaN, is sometimes slow, or knows nothing."""
    share = {RAISE: 0.05, SLOW: 0.3}.get(months, 1.0)
    guess = random.Random(0)

    def actual(answer: Any) -> str:
        said = str(answer["predictions"][0])
        right = guardrail != "accuracy" or answer["version"] == 1 or guess.random() < 0.5
        return said if right else {"yes": "no", "no": "yes"}[said]

    load = Load(live, lambda chance: months if chance.random() < share else 3, actual)
    with loaded(load):
        begin(live.folder, MISCHIEF, (Stage(0.5),), guardrail, errors=0.01)
        rollout = carried(live)
        live.effective(stable=1)
    assert (rollout.phase, load.failed) == (Phase.ABORTED, []), rollout.reason
    assert rollout.reason.startswith(f"{guardrail}:"), rollout.reason
