"""Suites of Great Expectations, run by Great Expectations where it is installed."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from real_data import DATA, MakeContext

from engine.core.verdict import Verdict
from engine.errors import StepError
from engine.steps import check_data

TELCO = DATA / "telco_customer_churn.csv"


def suite(tmp_path: Path, *expectations: tuple[str, dict[str, Any]], kind: str = "type") -> Path:
    path = tmp_path / "suite.json"
    listed = [{kind: name, "kwargs": kwargs, "meta": {}} for name, kwargs in expectations]
    path.write_text(json.dumps({"name": "churn", "expectations": listed}))
    return path


def run(make_context: MakeContext, path: Path) -> Any:
    data = {"target": "Churn", "expect": {"suite": "suite.json"}, "personal": ["customerID"]}
    return check_data.run(make_context(data, {"data": TELCO, "suite": path}, {"profile": "profile.json"}))


def test_without_the_library_it_is_said(
    make_context: MakeContext, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "great_expectations", None)
    with pytest.raises(StepError, match="not installed") as caught:
        run(make_context, suite(tmp_path, ("expect_column_to_exist", {"column": "Churn"})))
    assert "pip install" in caught.value.remedy
    (tmp_path / "suite.json").write_text("[]")
    with pytest.raises(StepError, match="no suite of Great Expectations"):
        run(make_context, tmp_path / "suite.json")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["type", "expectation_type"])
def test_a_suite_is_run_as_it_is(make_context: MakeContext, tmp_path: Path, kind: str) -> None:
    pytest.importorskip("great_expectations")
    good = suite(
        tmp_path,
        ("expect_column_values_to_be_between", {"column": "tenure", "min_value": 0, "max_value": 72}),
        ("expect_column_values_to_not_be_null", {"column": "TotalCharges", "mostly": 0.99}),
        kind=kind,
    )
    assert run(make_context, good).verdict is Verdict.PASS
    bad = suite(
        tmp_path,
        ("expect_column_values_to_not_be_null", {"column": "TotalCharges"}),
        ("expect_column_values_to_match_regex", {"column": "customerID", "regex": "^7"}),
        ("expect_column_to_exist", {"column": "nowhere"}),
        ("expect_column_values_to_be_between", {"column": "nowhere", "min_value": 0}),
        kind=kind,
    )
    outcome = run(make_context, bad)
    assert outcome.verdict is Verdict.FAIL
    texts = [gate["text"] for gate in outcome.facts["gates"]]
    assert len(texts) == 4
    assert "for 11 of 7,043 (0.2%)" in texts[0]
    assert "7590" not in texts[1] and "(personal)" in texts[1]
    assert outcome.facts["gates"][3]["verdict"] == "error"


@pytest.mark.filterwarnings("ignore")
def test_an_empty_suite_proves_nothing(make_context: MakeContext, tmp_path: Path) -> None:
    pytest.importorskip("great_expectations")
    assert run(make_context, suite(tmp_path)).verdict is Verdict.INCONCLUSIVE
