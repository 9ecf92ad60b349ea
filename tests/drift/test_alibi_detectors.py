"""alibi-detect's detectors by name: their numbers, their traps, and what is said where they cannot be had."""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest

from engine.adapters.detectors.find import check_block
from engine.errors import NotSupportedError, StepError, UsageError
from engine.spec.detectors import ALIBI_NAMES, NEEDS_TORCH, ONLINE
from engine.stats.drift import Column, DriftReport, Finding, profile_of

if importlib.util.find_spec("alibi_detect") is None:  # not imported: that takes seconds, of every worker
    pytest.skip("alibi-detect is not installed", allow_module_level=True)

ROWS = 1200
HAS_TORCH = importlib.util.find_spec("torch") is not None
ARGUMENTS: Mapping[str, Mapping[str, Any]] = {
    "CVMDriftOnline": {"ert": 300, "window_sizes": [40], "n_bootstraps": 1000},
    "FETDriftOnline": {"ert": 300, "window_sizes": [40], "n_bootstraps": 1000},
    "MMDDriftOnline": {"ert": 3000, "window_size": 40, "n_bootstraps": 3000},
    "LSDDDriftOnline": {"ert": 3000, "window_size": 40, "n_bootstraps": 3000},
}
SLOW = () if os.environ.get("ENGINE_SOAK") == "1" else ("CVMDriftOnline",)  # its start takes a minute
HERE = [name for name in ALIBI_NAMES if (HAS_TORCH or name not in NEEDS_TORCH) and name not in SLOW]


def block(name: str, arguments: Mapping[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    return {
        "type": "drift", "detector": f"alibi_detect.{name}", "alpha": 0.01, "min_effect": None, "columns": None,
        "predictions": True, "min_rows": 500, "arguments": dict(arguments or ARGUMENTS.get(name, {})), **more,
    }  # fmt: skip


def columns(seed: int, shift: float = 0.0, rows: int = ROWS) -> list[Column]:
    generator = np.random.default_rng(seed)
    cut = 0.5 + shift / 3
    return [
        Column("x", "numeric", generator.normal(shift, 1, rows)),
        Column("y", "numeric", generator.normal(shift, 1, rows)),
        Column("c", "categorical", np.where(generator.random(rows) < cut, "a", "b").astype(object)),
        Column("b", "boolean", generator.random(rows) < cut - 0.2),
        Column("score", "numeric", generator.random(rows), "prediction"),
    ]


def of(report: DriftReport, name: str) -> Finding:
    (found,) = [f for f in report.findings if f.name == name and f.test not in ("missing", "unseen")]
    return found


@pytest.mark.parametrize("name", HERE)
def test_each_detector_finds_a_shift_and_nothing_else(name: str) -> None:
    profile = profile_of(columns(1))
    same = check_block(profile, columns(2), block(name))
    if name not in ONLINE:  # one of those alarms after `ert` rows on average, drift or none
        assert same.verdict == "no_drift", same.text
        assert any(f.test == f"alibi_detect.{name}" and f.verdict == "no_drift" for f in same.findings)
    state = np.random.get_state()[1].tolist()
    moved = check_block(profile, columns(3, 0.8), block(name))
    assert moved.verdict == "drift"
    (found, *_) = [f for f in moved.drifted if f.test == f"alibi_detect.{name}"]
    assert name not in ONLINE or found.n < 100  # soon, and it says in which row
    assert moved == check_block(profile, columns(3, 0.8), block(name))
    assert np.random.get_state()[1].tolist() == state


def test_its_p_values_are_the_engine_s_own() -> None:
    """KSDrift is scipy's asymptotic test, in single precision; ChiSquareDrift corrects two by two for continuity."""
    profile = profile_of(columns(1))
    theirs = check_block(profile, columns(2, 0.1), block("KSDrift"))
    own = check_block(profile, columns(2, 0.1), block("KSDrift") | {"detector": "ks"})
    for name in ("x", "y", "score"):
        assert of(theirs, name).p == pytest.approx(of(own, name).p, rel=1e-6)
        assert of(theirs, name).statistic == pytest.approx(of(own, name).statistic, rel=1e-6)
    assert of(theirs, "c") == of(own, "c")  # what it cannot compare


def test_gaps_do_not_hide_drift() -> None:
    """Of itself a single NaN makes its p-value NaN, and "no drift"."""
    from alibi_detect.cd import KSDrift

    generator = np.random.default_rng(5)
    before, now = generator.normal(size=ROWS), generator.normal(3, 1, ROWS)
    now[7] = np.nan
    assert KSDrift(before[:, None]).predict(now[:, None])["data"]["is_drift"] == 0
    profile = profile_of([Column("x", "numeric", before)])
    report = check_block(profile, [Column("x", "numeric", now)], block("KSDrift"))
    assert report.verdict == "drift"
    assert of(report, "x").n == ROWS - 1


def test_few_rows_are_inconclusive_to_it_too() -> None:
    assert check_block(profile_of(columns(1)), columns(2, 9.0, rows=300), block("KSDrift")).verdict == "inconclusive"


def test_a_classifier_of_ones_own() -> None:
    arguments = {"model": "sklearn.ensemble.RandomForestClassifier", "model_params": {"n_estimators": 20}}
    report = check_block(profile_of(columns(1)), columns(2, 1.0), block("ClassifierDrift", arguments))
    assert of(report, "all features").verdict == "drift"
    with pytest.raises(StepError, match=r"estimator os\.system is not of an allowed package"):
        check_block(profile_of(columns(1)), columns(2), block("ClassifierDrift", {"model": "os.system"}))


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("KSDrft", {}, "no detector KSDrft"),
        ("KSDrift", {"p_val": 0.1}, "p_val of alibi_detect.KSDrift cannot be set"),
        ("KSDrift", {"alternativ": "less"}, "no argument alternativ"),
        ("CVMDriftOnline", {"ert": 10}, "needs window_sizes"),
    ],
)
def test_wrong_arguments_are_named(name: str, arguments: Mapping[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        check_block(profile_of(columns(1)), columns(2), block(name) | {"arguments": dict(arguments)})


def test_a_failure_inside_it_is_no_traceback() -> None:
    with pytest.raises(StepError, match=r"alibi_detect\.KSDrift failed"):
        check_block(profile_of(columns(1)), columns(2), block("KSDrift", {"alternative": "sideways"}))


def test_without_it_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "alibi_detect", None)
    monkeypatch.setattr("engine.adapters.detectors.alibi.find_spec", lambda name: None)
    with pytest.raises(NotSupportedError, match="not installed") as raised:
        check_block(profile_of(columns(1)), columns(2), block("KSDrift"))
    assert "pip install 'engine[alibi]'" in raised.value.remedy


@pytest.mark.skipif(HAS_TORCH, reason="PyTorch is installed")
@pytest.mark.parametrize("name", NEEDS_TORCH)
def test_without_pytorch_the_remedy_is_named(name: str) -> None:
    with pytest.raises(NotSupportedError, match="needs PyTorch") as raised:
        check_block(profile_of(columns(1)), columns(2), block(name))
    assert "pip install torch" in raised.value.remedy
