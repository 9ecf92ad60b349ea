"""What a `deployment` block comes to: its stages, and what is wrong with one."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from engine.cli.reasons import delivery_text
from engine.core.approval import Terms
from engine.core.stages import Stage, Strategy
from engine.kinds import KINDS, STRATEGIES


def resolved(strategy: str, **block: Any) -> dict[str, Any]:
    document: dict[str, Any] = (
        KINDS.strategies[strategy].model_validate({"strategy": strategy, **block}).model_dump(mode="json")
    )
    return document


def strategy(name: str, **block: Any) -> Strategy:
    return STRATEGIES[name](resolved(name, **block))


def weights(found: Strategy) -> list[float]:
    return [stage.weight for stage in found.stages]


def test_every_strategy_has_its_stages() -> None:
    assert set(STRATEGIES) == set(KINDS.strategies)


def test_recreate_has_no_stages() -> None:
    assert strategy("recreate") == Strategy("recreate")


def test_a_canary_without_steps_waits_for_a_person() -> None:
    found = strategy("canary", initial_traffic="20%", step_duration="5m")
    assert found.stages == (Stage(0.2, 300, hold=True),)
    assert not found.approval


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        ({"steps": ["10%", "25%", "50%", "100%"]}, [0.1, 0.25, 0.5]),
        ({"steps": ["25%", "50%"]}, [0.1, 0.25, 0.5]),
        ({"steps": [0.5]}, [0.1, 0.5]),
        ({"steps": ["100%"]}, [0.1]),
        ({"steps": {"by": "30%"}}, [0.1, 0.4, 0.7]),
        ({"steps": {"times": 3}}, [0.1, 0.3, 0.9]),
        ({"steps": {"times": 2}, "initial_traffic": "30%"}, [0.3, 0.6]),
    ],
)
def test_the_shares_of_a_canary(block: dict[str, Any], expected: list[float]) -> None:
    assert weights(strategy("canary", **block)) == pytest.approx(expected)


def test_each_step_of_a_canary_may_have_its_own_time_and_pause() -> None:
    found = strategy(
        "canary",
        steps=["10%", {"traffic": "25%", "duration": "1h"}, {"traffic": "50%", "pause": True}, "100%"],
        step_duration="10m",
        approval="required",
        analysis={"guardrails": ["errors"], "min_requests": 50},
    )
    assert found.stages == (Stage(0.1, 600), Stage(0.25, 3600), Stage(0.5, 600, hold=True))
    timed = strategy("canary", steps=[{"traffic": "10%", "pause": "5m"}, {"traffic": "20%", "pause": False}])
    assert timed.stages == (Stage(0.1, hold=True, hold_seconds=300), Stage(0.2))
    assert found.approval
    assert found.analysis is not None
    assert (found.analysis["guardrails"], found.analysis["min_requests"], found.analysis["alpha"]) == (
        ["errors"],
        50,
        0.05,
    )


def test_blue_green_flips_once_on_recorded_predictions() -> None:
    found = strategy("blue_green", approval="required")
    assert found == Strategy("blue_green", (Stage(0.0),), Terms(), keep_warm=3600)
    assert strategy("blue_green", keep_warm="10m").keep_warm == 600


def test_a_shadow_serves_nobody() -> None:
    found = strategy("shadow", sample="50%", duration="2h")
    assert found.stages == (Stage(0.0, 7200, mirror=0.5),)
    assert found.approval
    assert not strategy("shadow", then="promote").approval


def test_a_shadow_is_judged_by_its_copies() -> None:
    found = strategy("shadow", analysis={"guardrails": ["difference"], "max_difference": "5%"})
    assert found.analysis is not None
    assert (found.analysis["guardrails"], found.analysis["max_difference"]) == (["difference"], 0.05)


def test_a_test_ends_in_time() -> None:
    found = strategy("ab_test", metric="accuracy", traffic="30%", max_duration="7d", min_requests=50)
    assert found.stages == (Stage(0.3, limit=7 * 86400),)
    assert found.analysis == {"metric": "accuracy", "alpha": 0.05, "min_requests": 50}
    assert strategy("ab_test", metric="errors").stages[0].limit is None


@pytest.mark.parametrize(
    ("name", "block", "words"),
    [
        ("ab_test", {"metric": "conversion"}, "'accuracy', 'squared_error', 'errors' or 'latency'"),
        ("ab_test", {}, "Field required"),
        ("shadow", {"analysis": {"guardrails": ["accuracy"]}}, "'errors', 'latency', 'difference'"),
        ("shadow", {"analysis": {"guardrails": ["errors", "errors"]}}, "named twice"),
    ],
)
def test_mistakes_of_a_shadow_and_a_test(name: str, block: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        resolved(name, **block)


@pytest.mark.parametrize(
    ("block", "words"),
    [
        ({"steps": ["25%", "10%"]}, "must grow"),
        ({"steps": ["5%"]}, "below initial_traffic"),
        ({"steps": []}, "at least 1 item"),
        ({"steps": "50%"}, "list"),
        ({"steps": ["ten"]}, "not a percentage"),
        ({"steps": [{"trafic": "10%"}]}, "trafic"),
        ({"steps": {"by": "10%", "times": 2}}, "a share or by a factor"),
        ({"steps": {}}, "a share or by a factor"),
        ({"steps": {"by": "0.1%"}}, "more than 50"),
        ({"steps": ["50%", {"traffic": "100%", "pause": True}]}, "cannot be paused"),
        ({"steps": ["50%", {"traffic": 1, "duration": "1h"}]}, "cannot be paused"),
        ({"analysis": {"guardrails": []}}, "at least 1 item"),
        ({"analysis": {"guardrails": ["errors"], "report_only": ["errors"]}}, "named twice"),
        ({"analysis": {"max_error_ratio": 1}}, "greater than 1"),
        ({"approval": "perhaps"}, "required"),
        ({"steps": [{"traffic": "50%", "pause": "soon"}]}, "not a duration"),
        ({"steps": [{"traffic": "50%", "pause": 0}]}, "out of range"),
    ],
)
def test_mistakes_of_a_canary(block: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        resolved("canary", **block)


PERCENTS = st.integers(1, 99).map(lambda number: f"{number}%")


@given(
    PERCENTS, st.one_of(st.tuples(st.just("by"), st.floats(0.03, 0.9)), st.tuples(st.just("times"), st.floats(1.2, 9)))
)
def test_growth_ends_at_the_whole_traffic(first: str, rule: tuple[str, float]) -> None:
    try:
        document = resolved("canary", initial_traffic=first, steps=dict([rule]))
    except ValidationError as error:
        assert "more than 50" in str(error)
        return
    shares = [step["traffic"] for step in document["steps"]]
    assert shares == sorted(set(shares))
    assert (shares[0], shares[-1]) == (document["initial_traffic"], 1.0)
    assert weights(STRATEGIES["canary"](document)) == shares[:-1]


@pytest.mark.parametrize(
    ("name", "block", "text"),
    [
        ("canary", {}, "canary 10% → promote by hand"),
        ("canary", {"steps": ["10%", "25%", "50%", "100%"]}, "canary 10% → 25% → 50% → 100%"),
        ("canary", {"steps": ["25%"], "approval": "required"}, "canary 10% → 25% → approval → 100%"),
        ("canary", {"steps": [{"traffic": "50%", "pause": True}, 1]}, "canary 10% → 50% (pause) → 100%"),
        ("canary", {"steps": [{"traffic": "50%", "pause": "90m"}, 1]}, "canary 10% → 50% (pause 1h30m) → 100%"),
        ("blue_green", {}, "blue green → 100%"),
        ("blue_green", {"approval": "required"}, "blue green → approval → 100%"),
        ("recreate", {}, "recreate"),
        ("shadow", {"sample": "20%"}, "shadow of 20% → approval → 100%"),
        ("shadow", {"then": "promote"}, "shadow of 100% → 100%"),
        ("ab_test", {"metric": "squared_error"}, "ab test by squared error, 50% → 100%"),
    ],
)
def test_deliveries_in_words(name: str, block: dict[str, Any], text: str) -> None:
    assert delivery_text(resolved(name, **block)) == text
