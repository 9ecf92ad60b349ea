"""What a plan promises of a canary, and that the canary keeps it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.app.cache import Cache
from engine.app.detecting import BASE_RATE, RISK, Detection, detection_of, planned_detection
from engine.cli.reasons import detection_text
from engine.kinds import KINDS
from engine.stats.error_process import log_e_process


def block(strategy: str = "canary", **fields: Any) -> dict[str, Any]:
    model = KINDS.strategies[strategy].model_validate({"strategy": strategy, **fields})
    document: dict[str, Any] = model.model_dump(mode="json")
    return document


def test_the_first_step_counts_with_the_share_of_alpha_that_errors_have(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache.db")
    found = planned_detection(block(steps=["25%", "100%"], initial_traffic="25%"), cache)
    assert found is not None
    assert found == detection_of({"guardrails": ["errors"], "alpha": 0.025}, 0.25, cache)
    alone = planned_detection(block(initial_traffic="25%", analysis={"guardrails": ["errors"]}), cache)
    assert alone is not None
    assert alone.requests < found.requests


def test_the_number_is_kept(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache.db")
    first = planned_detection(block(), cache)
    assert first is not None
    with closing(sqlite3.connect(tmp_path / "cache.db")) as connection, connection:
        connection.execute("UPDATE documents SET value = '7' WHERE key LIKE 'detectable %'")
    assert planned_detection(block(), cache) == Detection(first.weight, 7)


@pytest.mark.parametrize(
    "without",
    [block("recreate"), block("blue_green"), block("shadow"), block(analysis={"guardrails": ["latency"]})],
)
def test_what_detects_no_errors_promises_nothing(without: dict[str, Any], tmp_path: Path) -> None:
    assert planned_detection(without, Cache(tmp_path / "cache.db")) is None


@pytest.mark.parametrize(
    ("requests", "words"), [(47104, "about 48,000 requests at 10%"), (950, "950 requests"), (7, "7 requests")]
)
def test_in_words(requests: int, words: str) -> None:
    text = detection_text(Detection(0.1, requests))
    assert text.startswith("a doubled error rate (1% → 2%) shows after about ")
    assert words in text


def test_the_promise_is_kept(tmp_path: Path) -> None:
    """Of 400 simulated canaries at least 95 in 100 are sent away by then; the power is 98 %."""
    found = detection_of({"guardrails": ["errors", "latency"], "alpha": 0.05}, 0.1, Cache(tmp_path / "cache.db"))
    assert found is not None
    chance, looks = np.random.default_rng(0), 50
    each = found.requests // looks
    mine = chance.binomial(each, 0.1, (400, looks))
    candidate, stable = chance.binomial(mine, RISK * BASE_RATE), chance.binomial(each - mine, BASE_RATE)
    caught = log_e_process(np.full(looks, 0.1), stable, candidate).max(axis=-1) >= np.log(1 / 0.025)
    assert caught.mean() >= 0.95
