"""Gates: a boundary passes, nothing unproved ever does, and blocks say what is wrong with them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from engine.core.verdict import Verdict
from engine.errors import StateError
from engine.gates import baseline, champion, fairness, latency, slices, threshold
from engine.gates.judge import BLOCKS, judge
from engine.gates.result import at_least, at_most
from engine.spec.metrics import METRICS
from engine.steps.validate import retrain, summary


def evaluation(**values: Any) -> dict[str, Any]:
    metrics = {
        name: value if isinstance(value, Mapping) else {"value": value, "low": value - 0.03, "high": value + 0.03}
        for name, value in values.items()
    }
    return {
        "format_version": 1,
        "task": "binary",
        "rows": {"train": 400, "holdout": 100},
        "metrics": metrics,
        "baseline": {"roc_auc": 0.5, "f1_score": 0.0, "rmse": 3.0},
    }


def verdict(block: Mapping[str, Any], given: Mapping[str, Any]) -> Verdict:
    return judge([block], given)[0]


NEVER_A_NUMBER = st.one_of(
    st.none(),
    st.sampled_from([math.nan, math.inf, -math.inf, 10**400, "0.99", True, [], {}]),
)
BLOCKS_FOR_F1 = st.sampled_from(
    [
        {"metric": "f1_score", "threshold": 0.0},
        {"metric": "f1_score", "min": 0.0, "max": 1.0},
        {"metric": "f1_score", "max": 1.0},
        {"metric": "f1_score", "threshold": 0.0, "bound": "lower"},
        {"baseline": "better", "metric": "f1_score"},
    ]
)


@given(BLOCKS_FOR_F1, NEVER_A_NUMBER, NEVER_A_NUMBER, st.booleans())
def test_what_is_not_a_number_never_passes(block: dict[str, Any], value: Any, end: Any, reason: bool) -> None:
    entry: dict[str, Any] = {"value": value, "low": end, "high": end}
    if reason:
        entry["reason"] = "no row of the class"
    assert verdict(block, evaluation(f1_score=entry)) in (Verdict.ERROR, Verdict.INCONCLUSIVE)


@given(
    BLOCKS_FOR_F1,
    st.sampled_from(
        [
            {},
            {"metrics": {}},
            {"metrics": None},
            {"metrics": {"f1_score": None}},
            {"metrics": {"f1_score": 0.99}},
            {"rows": {"holdout": 0}},
            {"rows": {"holdout": math.nan}},
            {"rows": None},
            {"error": "3 of 100 predictions are not finite"},
        ]
    ),
)
def test_what_is_missing_never_passes(block: dict[str, Any], gap: dict[str, Any]) -> None:
    given = {**evaluation(f1_score=0.9), **gap} if gap else {}
    assert verdict(block, given) in (Verdict.ERROR, Verdict.INCONCLUSIVE)


@given(BLOCKS_FOR_F1, NEVER_A_NUMBER)
def test_an_interval_that_is_not_one_never_proves(block: dict[str, Any], end: Any) -> None:
    given = evaluation(f1_score={"value": 0.9, "low": end, "high": end})
    cautious = block.get("bound") == "lower" or "baseline" in block
    assert (verdict(block, given) is Verdict.PASS) is not cautious


@given(st.floats(0, 1), st.floats(0, 1))
def test_a_threshold_is_a_comparison(value: float, limit: float) -> None:
    found = verdict({"metric": "f1_score", "threshold": limit}, evaluation(f1_score=value))
    if abs(value - limit) > 1e-8:
        assert found is (Verdict.PASS if value > limit else Verdict.FAIL)
    else:
        assert found in (Verdict.PASS, Verdict.FAIL)


@given(st.floats(-1e9, 1e9, allow_nan=False))
def test_equal_is_enough(limit: float) -> None:
    assert at_least(limit, limit) and at_most(limit, limit)
    assert not at_least(math.nan, limit) and not at_most(math.nan, limit)


def test_boundaries_without_surprises_of_floats() -> None:
    assert verdict({"metric": "f1_score", "threshold": 0.85}, evaluation(f1_score=0.85)) is Verdict.PASS
    assert verdict({"metric": "f1_score", "threshold": 0.85}, evaluation(f1_score=0.80 + 0.05)) is Verdict.PASS
    assert verdict({"metric": "f1_score", "max": 0.3}, evaluation(f1_score=0.1 + 0.2)) is Verdict.PASS
    close = judge([{"metric": "f1_score", "threshold": 0.85}], evaluation(f1_score=0.849999))
    assert close[0] is Verdict.FAIL
    assert close[1][0].result.text == "f1_score 0.849999 [0.820, 0.880] < 0.85"


def test_less_is_better_turns_a_threshold_into_a_ceiling() -> None:
    given = evaluation(rmse=3.0)
    assert verdict({"metric": "rmse", "threshold": 3}, given) is Verdict.PASS
    assert verdict({"metric": "rmse", "threshold": 2.9}, given) is Verdict.FAIL
    assert verdict({"metric": "rmse", "min": 3.1}, given) is Verdict.FAIL
    assert verdict({"metric": "rmse", "min": 1, "max": 2}, given) is Verdict.FAIL
    assert verdict({"metric": "rmse", "min": 1, "max": 4}, given) is Verdict.PASS


def test_the_cautious_end_is_judged_on_request() -> None:
    given = evaluation(f1_score=0.86, rmse=3.0)
    assert verdict({"metric": "f1_score", "threshold": 0.85}, given) is Verdict.PASS
    assert verdict({"metric": "f1_score", "threshold": 0.85, "bound": "lower"}, given) is Verdict.FAIL
    assert verdict({"metric": "rmse", "threshold": 3.01, "bound": "lower"}, given) is Verdict.FAIL


def test_averages() -> None:
    given = evaluation(f1_score={"value": 0.9, "low": 0.8, "high": 0.95, "average": "binary"})
    given["by_average"] = {"f1_score": {"macro": {"value": 0.7, "low": 0.6, "high": 0.8}}}
    assert verdict({"metric": "f1_score", "threshold": 0.85, "average": "binary"}, given) is Verdict.PASS
    assert verdict({"metric": "f1_score", "threshold": 0.85, "average": "macro"}, given) is Verdict.FAIL
    assert verdict({"metric": "f1_score", "threshold": 0.5, "average": "micro"}, given) is Verdict.ERROR


def test_the_baseline_must_be_beaten_beyond_chance() -> None:
    block = {"baseline": "better"}
    assert verdict(block, evaluation(roc_auc=0.6)) is Verdict.PASS
    assert verdict(block, evaluation(roc_auc=0.52)) is Verdict.INCONCLUSIVE
    assert verdict(block, evaluation(roc_auc=0.5)) is Verdict.FAIL
    given = {**evaluation(rmse=2.0), "task": "regression"}
    assert verdict(block, given) is Verdict.PASS
    assert verdict(block, {**evaluation(rmse=3.01), "task": "regression"}) is Verdict.FAIL
    assert verdict(block, {**evaluation(roc_auc=0.9), "baseline": {"roc_auc": math.nan}}) is Verdict.INCONCLUSIVE


def test_texts() -> None:
    _, judged = judge(
        [{"metric": "f1_score", "threshold": 0.85}, {"metric": "accuracy", "min": "60%", "on_failure": "alert"}],
        evaluation(f1_score=0.61234, accuracy={"value": 0.59961, "low": None, "high": None}),
    )
    assert judged[0].result.text == "f1_score 0.612 [0.582, 0.642] < 0.85"
    assert judged[0].result.remedy.startswith("Improve the data")
    assert summary(judged) == "f1_score 0.612 [0.582, 0.642] < 0.85; accuracy 0.5996 < 0.6 (alert only)"
    assert summary([]) == "no gates, so nothing was proved"


def test_advisory_gates_never_decide() -> None:
    given = evaluation(f1_score=0.9, accuracy=0.1)
    advice = {"metric": "accuracy", "threshold": 0.5, "on_failure": "alert"}
    assert judge([{"metric": "f1_score", "threshold": 0.5}, advice], given)[0] is Verdict.PASS
    assert judge([advice], given)[0] is Verdict.INCONCLUSIVE
    assert judge([], given)[0] is Verdict.INCONCLUSIVE
    assert judge([{"metric": "f1_score", "threshold": 0.95}, {"metric": "mcc", "min": 0}], given)[0] is Verdict.FAIL


def test_retraining_helps_only_if_every_failed_gate_asks_for_it() -> None:
    given = evaluation(f1_score=0.6, accuracy=0.6)
    again = {"metric": "f1_score", "threshold": 0.7, "on_failure": "retrain"}
    stop = {"metric": "accuracy", "threshold": 0.7}
    assert retrain(judge([again], given)[1])
    assert not retrain(judge([again, stop], given)[1])
    assert retrain(judge([again, {**stop, "threshold": 0.5}], given)[1])
    assert not retrain(judge([{**again, "threshold": 0.5}], given)[1])


@pytest.mark.parametrize(
    ("kind", "block", "what"),
    [
        ("metric", {"metric": "f1_scor", "threshold": 0.8}, "f1_scor"),
        ("metric", {"metric": "f1_score"}, "no limit"),
        ("metric", {"metric": "f1_score", "threshold": math.nan}, "finite"),
        ("metric", {"metric": "f1_score", "threshold": math.inf}, "finite"),
        ("metric", {"metric": "f1_score", "threshold": 85}, "outside the range"),
        ("metric", {"metric": "f1_score", "threshold": True}, "finite"),
        ("metric", {"metric": "f1_score", "threshold": "many"}, "not a number"),
        ("metric", {"metric": "f1_score", "threshold": 0.5, "min": 0.4}, "stands alone"),
        ("metric", {"metric": "f1_score", "min": 0.5, "max": 0.4}, "above max"),
        ("metric", {"metric": "accuracy", "min": 0.5, "average": "macro"}, "no average"),
        ("metric", {"metric": "f1_score", "min": 0.5, "retries": 3}, "on_failure: retrain only"),
        ("metric", {"metric": "f1_score", "min": 0.5, "on_failure": "retrain", "retries": 11}, "10"),
        ("metric", {"metric": "f1_score", "min": 0.5, "minimum": 0.5}, "Extra inputs"),
        ("baseline", {"baseline": "worse"}, "better"),
        ("champion", {"champion": "non_inferior", "metric": "roc_auc"}, "needs a margin"),
        ("champion", {"champion": "better", "metric": "roc_auc", "margin": 0.1}, "non_inferior only"),
        ("champion", {"champion": "non_inferior", "metric": "roc_auc", "margin": 0}, "not above 0"),
        ("fairness", {"fairness": "equal_opportunity", "by": "gender"}, "one limit"),
        ("fairness", {"fairness": "equal_opportunity", "by": "gender", "max_difference": 2}, "at most 100%"),
        ("slices", {"slices": {"by": "plan", "metric": "f1_score", "threshold": 7}}, "outside the range"),
        ("slices", {"slices": {"by": [], "metric": "f1_score", "threshold": 0.5}}, "by"),
        ("slices", {"slices": {"metric": "f1_score", "threshold": 0.5}}, "needs its groups"),
        ("slices", {"slices": {"by": "plan", "find": 3, "metric": "f1_score", "threshold": 0.5}}, "needs its groups"),
        ("robustness", {"robustness": "missing", "metric": "f1_score", "max_loss": 0}, "not above 0"),
        ("value", {"value": "count(tp)"}, "one limit"),
        ("value", {"value": "tp", "min": 0}, "outside of an aggregate"),
        ("value", {"value": "__import__('os').system('x')", "min": 0}, "the expression"),
        ("value", {"value": "1 + 1", "min": 0}, "reads nothing"),
        ("function", {"function": "checks:profit", "min": 0, "max": 1}, "two limits"),
        ("function", {"function": "profit", "min": 0}, "not a function"),
        ("leakage", {"leakage": "some"}, "none"),
        ("cost_per_million", {"cost_per_million": 1}, "cpu_hour"),
        ("calibration", {"calibration": 0}, "more than 0%"),
        ("latency_p99", {"latency_p99": "soon"}, "not a duration"),
    ],
)
def test_blocks_that_make_no_sense(kind: str, block: dict[str, Any], what: str) -> None:
    with pytest.raises(ValidationError, match=what):
        BLOCKS[kind].model_validate(block)


def test_blocks_of_the_design_are_valid() -> None:
    assert threshold.Block.model_validate({"metric": "f1_score", "threshold": 0.85}).floor == 0.85
    assert threshold.Block.model_validate({"metric": "f1", "threshold": "85%"}).floor == 0.85
    retried = threshold.Block.model_validate({"metric": "f1_score", "threshold": 0.8, "on_failure": "retrain"})
    assert retried.retries == 2
    again = threshold.Block.model_validate(retried.model_dump(mode="json"))
    assert again == retried
    champion.Block.model_validate({"champion": "non_inferior", "metric": "roc_auc", "margin": 0.005})
    fairness.Block.model_validate({"fairness": "equal_opportunity", "by": "gender", "max_difference": 0.1})
    slices.Block.model_validate({"slices": {"by": "plan", "metric": "f1_score", "threshold": 0.75}})
    assert latency.Block.model_validate({"latency_p99": "20ms"}).latency_p99 == 0.02
    assert baseline.Block.model_validate({"baseline": "better"}).metric is None


def test_a_block_of_no_kind_is_refused() -> None:
    with pytest.raises(StateError):
        judge([{"threshold": 0.5}], evaluation())


def test_every_metric_can_be_gated() -> None:
    for name, metric in METRICS.items():
        limit = metric.low if metric.low is not None else 0.0
        result = verdict({"metric": name, "min": limit}, evaluation(**{name: limit}))
        assert result is Verdict.PASS
