"""Whatever is missing, undefined, not a number or not finite: no gate takes it for a pass, and none raises."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from engine.core.verdict import Verdict
from engine.gates.asking import ASKS, ask_of, key_of
from engine.gates.judge import BLOCKS, GATES, judge, kind_of

COMPARED = {"champion": 3, "candidate": 0.9, "other": 0.8, "difference": 0.1, "low": 0.05, "high": 0.15, "reason": ""}
FIGURE = {"value": 0.01, "low": 0.005, "high": 0.02, "rows": 500, "predictions": 500}
GROUP = {"group": "a", "rows": 300, "small": False, "value": 0.9, "low": 0.8, "high": 0.95}
RATES = [{"group": name, "rows": 300, "small": False, "selection_rate": 0.3} for name in "ab"]

# A block, an answer with which it passes, and the numbers in it without which it may not.
PASSING: list[tuple[dict[str, Any], dict[str, Any], tuple[str, ...]]] = [
    ({"champion": "better", "metric": "roc_auc"}, COMPARED, ("candidate", "other", "difference", "low", "high")),
    ({"champion": "superior", "metric": "f1_score"}, COMPARED, ("candidate", "other", "difference", "low", "high")),
    (
        {"champion": "non_inferior", "metric": "rmse", "margin": 1},
        {**COMPARED, "difference": -0.1, "low": -0.15, "high": -0.05},
        ("candidate", "other", "difference", "low", "high"),
    ),
    ({"churn": 0.05}, {"champion": 3, **FIGURE}, ("value",)),
    ({"churn": 0.05, "bound": "cautious"}, {"champion": 3, **FIGURE}, ("value", "high")),
    (
        {"fairness": "demographic_parity", "by": "sex", "max_difference": 0.1},
        {"groups": RATES, "difference": FIGURE, "ratio": FIGURE},
        ("difference", "difference.value"),
    ),
    (
        {"fairness": "demographic_parity", "by": "sex", "min_ratio": 0.8, "bound": "cautious"},
        {"groups": RATES, "difference": FIGURE, "ratio": {"value": 0.9, "low": 0.85, "high": 0.95}},
        ("ratio", "ratio.value", "ratio.low"),
    ),
    (
        {"slices": {"by": "a", "metric": "accuracy", "threshold": 0.5}},
        {"groups": [GROUP]},
        ("groups", "groups.0.value"),
    ),
    (
        {"slices": {"by": "a", "metric": "accuracy", "threshold": 0.5, "bound": "cautious"}},
        {"groups": [GROUP]},
        ("groups", "groups.0.value", "groups.0.low"),
    ),
    ({"calibration": 0.05}, FIGURE, ("value", "rows")),
    ({"calibration": 0.05, "bound": "cautious"}, FIGURE, ("value", "rows", "high")),
    (
        {"robustness": "missing", "metric": "roc_auc", "max_loss": 0.05},
        {"candidate": 0.89, "other": 0.9, "difference": -0.01, "low": -0.02, "high": 0.0},
        ("candidate", "other", "difference", "low"),
    ),
    (
        {"leakage": "none"},
        {"rows": 500, "features": {"a": 0.6}, "duplicates": 0.0, "ids": [], "measure": "ROC AUC"},
        ("rows", "features", "features.a", "duplicates"),
    ),
    ({"latency_p99": "20ms"}, FIGURE, ("value", "predictions")),
    ({"latency_p99": "50ms", "bound": "cautious"}, FIGURE, ("value", "predictions", "high")),
    ({"cost_per_million": 1.0, "cpu_hour": 0.04}, {**FIGURE, "value": 1e-5}, ("value", "predictions")),
    ({"model_size": "1MB"}, {"value": 4096}, ("value",)),
    ({"value": "count(tp)", "min": 0}, FIGURE, ("value",)),
    ({"value": "count(tp)", "min": 0, "bound": "cautious"}, FIGURE, ("value", "low")),
    ({"function": "checks:profit", "min": 0}, {"said": 3.0}, ("said",)),
    ({"function": "checks:fine"}, {"said": True}, ()),
]
NO_NUMBERS: Mapping[str, Any] = {
    "gone": None,
    "nan": math.nan,
    "inf": math.inf,
    "-inf": -math.inf,
    "huge": 10**400,
    "text": "0.001",
    "list": [],
    "mapping": {},
}
EVALUATION = {"task": "binary", "rows": {"train": 2000, "holdout": 500}, "metrics": {}}


def verdict_of(block: Mapping[str, Any], answer: Any, **evaluation: Any) -> Verdict:
    """As the step judges it: the resolved block, and the answer under the block's own ask."""
    kind = kind_of(block)
    assert kind is not None
    resolved = BLOCKS[kind].model_validate(block).model_dump(mode="json", by_alias=True)
    ask = ask_of(resolved)
    assert ask is not None
    answers = {} if answer is None else {key_of(ask): answer}
    found, [judged] = judge([resolved], {**EVALUATION, "answers": answers, **evaluation})
    assert judged.result.verdict is found and judged.result.text
    assert found is Verdict.PASS or judged.result.remedy, "whoever is denied is told what to do"
    return found


def cases() -> Iterator[Any]:
    for number, (block, answer, decisive) in enumerate(PASSING):
        name = f"{number}-{kind_of(block)}"
        for place in decisive:
            for what, value in NO_NUMBERS.items():
                yield pytest.param(block, _with(answer, place, value), {}, id=f"{name}-{place}-{what}")
        yield pytest.param(block, None, {}, id=f"{name}-not-measured")
        for what, broken in (("list", []), ("text", "0.9"), ("empty", {})):
            yield pytest.param(block, broken, {}, id=f"{name}-answer-{what}")
        yield pytest.param(block, {"error": "ZeroDivisionError: division by zero"}, {}, id=f"{name}-error")
        for what, evaluation in (
            ("no-rows", {"rows": {"holdout": 0}}),
            ("rows-nan", {"rows": {"holdout": math.nan}}),
            ("failed", {"error": "3 of 500 predictions are not finite"}),
            ("no-answers", {"answers": None}),
        ):
            yield pytest.param(block, answer, evaluation, id=f"{name}-{what}")


def _with(answer: dict[str, Any], place: str, value: Any) -> dict[str, Any]:
    changed = copy.deepcopy(answer)
    *path, last = place.split(".")
    at: Any = changed
    for key in path:
        at = at[int(key) if isinstance(at, list) else key]
    at[int(last) if isinstance(at, list) else last] = value
    return changed


CASES = list(cases())
BY_BLOCK = [[case for case in CASES if str(case.id).startswith(f"{number}-")] for number in range(len(PASSING))]


def test_there_are_enough_cases_and_every_gate_that_asks_has_some() -> None:
    assert len(CASES) >= 400 and sum(map(len, BY_BLOCK)) == len(CASES)
    assert {kind_of(block) for block, _, _ in PASSING} == set(ASKS) <= set(GATES)


@pytest.mark.parametrize(("block", "answer", "decisive"), PASSING)
def test_with_every_number_in_place_it_passes(block: Any, answer: Any, decisive: Any) -> None:
    assert verdict_of(block, answer) is Verdict.PASS


@pytest.mark.parametrize("of_block", BY_BLOCK, ids=lambda found: str(found[0].id).rpartition("-")[0])
def test_no_case_passes(of_block: Any) -> None:
    for case in of_block:
        block, answer, evaluation = case.values
        assert verdict_of(block, answer, **evaluation) is not Verdict.PASS, case.id


@pytest.mark.parametrize("block", [{"champion": "better", "metric": "roc_auc"}, {"churn": 0.05}])
def test_without_a_champion_the_policy_decides(block: dict[str, Any]) -> None:
    assert verdict_of(block, {"champion": None}) is Verdict.PASS
    assert verdict_of({**block, "first_model": "fail"}, {"champion": None}) is Verdict.FAIL
    assert verdict_of(block, {"champion": None}, rows={"holdout": 0}) is Verdict.INCONCLUSIVE
    assert verdict_of(block, {"champion": 3, "error": "the rows lack its feature age"}) is Verdict.ERROR
