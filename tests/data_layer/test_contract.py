"""Contracts held against tables: what passes, what is reported, and what never passes."""

from __future__ import annotations

import gzip
import json
from datetime import datetime, timedelta, timezone
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from real_data import DATA, MakeContext

from engine.core.contract import ContractReport
from engine.core.verdict import Verdict
from engine.spec.contract import Contract
from engine.steps import check_data, table_files
from engine.steps.contract import Setting, check_file
from engine.steps.repeats import Repeats

NOW = datetime(2026, 3, 1, 12, tzinfo=timezone.utc)


def held(path: Path, contract: dict[str, Any], *, missing: list[str] | None = None, **setting: Any) -> ContractReport:
    resolved = Contract.model_validate(contract).model_dump(mode="json", by_alias=True, exclude_defaults=True)
    with TemporaryDirectory() as folder:
        report = check_file(path, resolved, Setting(NOW, Path(folder), **setting), None, missing)
        assert not list(Path(folder).iterdir())
    return report


def csv(tmp_path: Path, text: str, name: str = "t.csv") -> Path:
    path = tmp_path / name
    path.write_text(text)
    return path


def column(tmp_path: Path, values: list[str], rules: dict[str, Any], **setting: Any) -> dict[str, Any]:
    """The findings on one column, by check: (verdict, violations)."""
    path = csv(tmp_path, "x,n\n" + "".join(f'"{value}",{i}\n' for i, value in enumerate(values)))
    found = held(path, {"columns": {"x": rules}}, **setting).findings
    return {f.check: (f.verdict.value, f.violations) for f in found if f.column == "x"}


def test_telcos_blanks_are_reported_before_anything_is_learned(tmp_path: Path) -> None:
    report = held(
        DATA / "telco_customer_churn.csv",
        {"columns": {"TotalCharges": {"type": "number", "missing": {"max": "0%"}}}},
    )
    assert report.verdict is Verdict.FAIL
    [blank] = report.broken
    assert (blank.name, blank.violations, blank.looked) == ("TotalCharges.missing", 11, 7043)
    assert blank.text == (
        "TotalCharges: 11 of 7,043 rows (0.2%) missing "
        "(row 489: blank ' '; row 754: blank ' '; row 937: blank ' '; row 1,083: blank ' '; row 1,341: blank ' '; …)"
    )


@pytest.mark.parametrize(
    ("values", "rules", "check", "broken"),
    [
        (["1", "2.0", "+3", "1e3"], {"type": "integer"}, "type", 0),
        (["1", "2.5", "x", "inf", "007"], {"type": "integer"}, "type", 4),
        (["1", "2.5", "-.5", "1e-3", " 7 "], {"type": "number"}, "type", 0),
        (["1", "2,5", "0x10", "1_000", "-Infinity", "-0.5", "-05"], {"type": "number"}, "type", 5),
        (["true", "FALSE", "True"], {"type": "boolean"}, "type", 0),
        (["true", "yes", "1"], {"type": "boolean"}, "type", 2),
        (["2024-02-29", "2023-02-29", "01/02/2024", "2024-01-31T10:00:00Z"], {"type": "date"}, "type", 2),
        (["31.01.2024", "31.02.2024"], {"type": "date"}, "type", 1),
        (["18", "100", "17.99", "100.01", "x", "inf"], {"between": [18, 100]}, "between", 4),
        (["18", "1e300"], {"between": [18, None]}, "between", 0),
        (["2024-01-01", "2024-06-30", "2023-12-31"], {"between": ["2024-01-01", None]}, "between", 1),
        (["a", "b", "A", "a "], {"in": ["a", "b"]}, "in", 2),
        (["1", "1.0", "2", "one"], {"in": [1, 2]}, "in", 1),
        (["true", "True"], {"in": [True]}, "in", 1),
        (["a", "b"], {"not_in": ["b", 0]}, "not_in", 1),
        (["AB-1", "xAB-1", "AB-"], {"matches": "^[A-Z]{2}-[0-9]+$"}, "matches", 2),
        (["é", "ab", "abcd"], {"length": [1, 3]}, "length", 1),
        (["a", "b", "a", "a"], {"unique": True}, "unique", 2),
        (["a", "b", "a"], {"distinct": {"max": 1}}, "distinct", 1),
        (["1", "2", "6"], {"mean": [3, 3]}, "mean", 0),
        (["1", "2", "6"], {"mean": [None, 2.9]}, "mean", 1),
        (["1", " ", "", "NA", "?"], {"missing": {"max": 0.8}}, "missing", 4),
    ],
)
def test_checks(tmp_path: Path, values: list[str], rules: dict[str, Any], check: str, broken: int) -> None:
    verdict, violations = column(tmp_path, values, rules)[check]
    assert violations == broken
    assert verdict == ("pass" if not broken or rules.get("missing") else "fail")


def test_missing_values_are_for_missing_alone(tmp_path: Path) -> None:
    found = column(tmp_path, ["5", "", " ", "?"], {"type": "number", "between": [0, 9], "missing": {"max": "50%"}})
    assert found == {"type": ("pass", 0), "between": ("pass", 0), "missing": ("fail", 3)}


def test_what_stands_for_missing_is_what_the_spec_says(tmp_path: Path) -> None:
    rules = {"type": "number", "between": [0, 9], "missing": {"max": "25%"}}
    found = column(tmp_path, ["5", "3", "-99", "4"], rules)
    assert found["between"] == ("fail", 1)
    path = csv(tmp_path, "x\n5\n3\n-99\n4\n")
    assert held(path, {"columns": {"x": rules}}, missing=["-99"]).verdict is Verdict.PASS


@pytest.mark.parametrize(
    "rules",
    [{"type": "number"}, {"between": [0, 9]}, {"in": ["a"]}, {"matches": "a"}, {"length": [1, 2]}, {"unique": True},
     {"mean": [0, 1]}],
)  # fmt: skip
def test_a_check_without_a_value_to_look_at_does_not_pass(tmp_path: Path, rules: dict[str, Any]) -> None:
    [(verdict, _)] = column(tmp_path, ["", " ", "?"], rules).values()
    assert verdict == "inconclusive"
    path = csv(tmp_path, "x\n,\n".replace(",", '""'))
    assert held(path, {"columns": {"x": rules}}).verdict is not Verdict.PASS


def test_no_values_at_all_pass_only_where_the_contract_says_so(tmp_path: Path) -> None:
    found = column(tmp_path, ["", ""], {"type": "number", "missing": {"max": "100%"}})
    assert found == {"type": ("pass", 0), "missing": ("pass", 2)}


@pytest.mark.parametrize("text", ["x\n", "x,y\n"])
def test_an_empty_table_never_passes(tmp_path: Path, text: str) -> None:
    for contract in ({"rows": {"max": 9}}, {"columns": {"x": {"missing": {"max": "100%"}}}}, {"keys": [["x"]]}):
        report = held(csv(tmp_path, text), contract)
        assert report.verdict is Verdict.FAIL
        assert report.broken[0].text == "the data has no rows"


def test_tolerance_is_a_share_of_the_values(tmp_path: Path) -> None:
    values = [str(i) for i in range(99)] + ["x"]
    assert column(tmp_path, values, {"type": "integer", "tolerance": "1%"})["type"] == ("pass", 1)
    assert column(tmp_path, values, {"type": "integer", "tolerance": "0.9%"})["type"] == ("fail", 1)


def test_everything_is_reported_at_once(tmp_path: Path) -> None:
    path = csv(tmp_path, "age,plan,extra\n17,basic,1\n200,free,2\nx,pro,3\n17,basic,1\n")
    report = held(
        path,
        {
            "rows": {"min": 1000},
            "other_columns": "forbid",
            "keys": [["age", "plan"]],
            "columns": {
                "age": {"type": "integer", "between": [18, 100]},
                "plan": {"in": ["basic", "pro"]},
                "signed_up": {"type": "date"},
                "maybe": {"type": "date", "required": False},
            },
        },
    )
    assert [finding.name for finding in report.broken] == [
        "rows", "signed_up.exists", "other_columns", "age.type", "age.between", "plan.in", "age + plan.key",
    ]  # fmt: skip
    texts = {finding.name: finding.text for finding in report.broken}
    assert texts["rows"] == "the number of rows is 4, at least 1,000 expected"
    between = "row 1: 17; row 2: 200; row 3: x; row 4: 17"
    assert texts["age.between"] == f"age: 4 of 4 values (100%) not between 18 and 100 ({between})"
    assert texts["age + plan.key"].endswith("repeating an earlier one (row 4 that of row 1)")


def test_values_about_persons_are_in_no_report(tmp_path: Path) -> None:
    path = csv(tmp_path, "name,age\nAda Secret,1\nBob Secret,2\n")
    contract = {
        "columns": {"name": {"matches": "^x$", "length": [1, 3], "in": ["x"]}},
        "checks": [{"name": "odd", "expression": "name == 'x' or age > 5"}],
    }
    report = held(path, contract, personal=frozenset({"name"}))
    assert len(report.broken) == 4
    assert "Secret" not in json.dumps(report.to_json())
    assert "row 2" in json.dumps(report.to_json())


def test_conditions_over_columns(tmp_path: Path) -> None:
    path = csv(tmp_path, "total,monthly,plan\n10,5,a\n4,5,a\n,5,a\nx,5,b\n3,9,b\n")
    rules = [
        {"name": "adds_up", "expression": "total >= monthly"},
        {"name": "by_plan", "expression": 'plan == "a" or monthly in [5, 9]'},
    ]
    contract: dict[str, Any] = {"columns": {"total": {"missing": {"max": 1.0}, "type": "number"}}, "checks": rules}
    found = {f.check: f for f in held(path, contract).findings}
    assert (found["adds_up"].violations, found["adds_up"].looked) == (3, 4)  # a value that is no number is one
    assert [example.row for example in found["adds_up"].examples] == [2, 4, 5]
    assert found["by_plan"].verdict is Verdict.PASS
    mixed = held(path, {"checks": [{"name": "mixed", "expression": "plan > monthly"}]})
    assert mixed.verdict is Verdict.ERROR
    empty = held(csv(tmp_path, "a,b\n1,\n2,\n"), {"checks": [{"name": "vacuous", "expression": "a < b"}]})
    assert empty.verdict is Verdict.INCONCLUSIVE


def test_keys(tmp_path: Path) -> None:
    path = csv(tmp_path, "a,b\n1,2\n12,\n1,2\n11,2\n")
    found = {f.check: f for f in held(path, {"keys": [["a", "b"]]}).findings}
    assert (found["key"].violations, found["key"].looked) == (1, 3)
    assert found["key_missing"].violations == 1
    assert held(csv(tmp_path, "a,b\n1,23\n12,3\n"), {"keys": [["a", "b"]]}).verdict is Verdict.PASS


def test_freshness(tmp_path: Path) -> None:
    path = csv(tmp_path, "at\n2026-02-27T12:00:00Z\n2026-02-20T00:00:00Z\n")
    fresh = {"freshness": {"column": "at", "max_age": "2d"}}
    assert held(path, fresh).verdict is Verdict.PASS
    stale = held(path, {"freshness": {"max_age": "47h"}}, timestamp="at")
    assert stale.broken[0].text == ("at: the newest row is of 2026-02-27 12:00:00, 2d ago, at most 1d23h expected")
    assert held(csv(tmp_path, "at\nx\n"), fresh).verdict is Verdict.INCONCLUSIVE


def test_files_with_types_keep_them(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    when = datetime(2026, 1, 1)
    table = pa.table(
        {
            "whole": pa.array([1, 2, None]),
            "float": pa.array([1.0, float("nan"), float("inf")]),
            "digits": pa.array(["1", "2", "3"]),
            "flag": pa.array([True, None, False]),
            "when": pa.array([when, None, when + timedelta(days=1)]),
            "plan": pa.array(["a", "b", "a"]).dictionary_encode(),
            "list": pa.array([[1], [2], None]),
        }
    )
    pq.write_table(table, path)
    rules: dict[str, Any] = {
        "whole": {"type": "integer", "between": [1, 2], "missing": {"max": 0.4}},
        "float": {"type": "number", "missing": {"max": 0.0}},
        "digits": {"type": "number"},
        "flag": {"type": "boolean", "in": [True, False]},
        "when": {"type": "date", "between": ["2026-01-01", "2026-01-02"]},
        "plan": {"in": ["a", "b"], "type": "text"},
        "list": {"type": "text"},
    }
    broken = {f.name: f.violations for f in held(path, {"columns": rules}).broken}
    assert broken == {"float.type": 1, "float.missing": 1, "digits.type": 3, "list.type": 2}


def test_lines_of_json_may_lack_a_column_and_change_its_type(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table_files, "_BLOCK", 16)
    path = tmp_path / "t.jsonl"
    path.write_text('{"a": 1, "b": "x"}\n{"a": "two", "b": "y"}\n{"b": "z"}\n')
    report = held(path, {"columns": {"a": {"type": "integer", "missing": {"max": 0.0}}, "b": {"length": [1, 1]}}})
    assert {f.name: (f.violations, f.examples[0].row) for f in report.broken} == {
        "a.type": (1, 2),
        "a.missing": (1, 3),
    }


def test_batches_give_what_the_whole_gives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    contract = {
        "columns": {
            "customerID": {"unique": True, "distinct": {"max": 7}},
            "TotalCharges": {"type": "number", "missing": {"max": 0.0}, "mean": [0, 1]},
            "tenure": {"between": [0, 71], "distinct": {"min": 99}},
        },
        "keys": [["gender", "tenure", "Contract", "MonthlyCharges"]],
        "checks": [{"name": "adds_up", "expression": "TotalCharges > MonthlyCharges"}],
    }
    path = DATA / "telco_customer_churn.csv"
    whole = held(path, contract)
    monkeypatch.setattr(table_files, "_BLOCK", 1 << 16)
    monkeypatch.setattr(Repeats.__init__, "__defaults__", (500,))
    parted = held(path, contract)
    assert [f for f in whole.findings if f.check != "mean"] == [f for f in parted.findings if f.check != "mean"]
    assert len(whole.broken) == 7
    folder = tmp_path / "folder"
    folder.mkdir()
    text = path.read_text()
    head, _, rows = text.partition("\n")
    lines = rows.splitlines(keepends=True)
    (folder / "a.csv").write_text(head + "\n" + "".join(lines[:3000]))
    with gzip.open(folder / "b.csv.gz", "wt") as file:
        file.write(head + "\n" + "".join(lines[3000:]))
    assert [f.text for f in held(folder, contract).findings] == [f.text for f in parted.findings]


def test_the_step_stops_with_a_verdict_and_keeps_the_report(make_context: MakeContext, tmp_path: Path) -> None:
    contract = {"columns": {"TotalCharges": {"type": "number", "missing": {"max": 0.0}}, "gender": {"in": ["Male"]}}}
    data = {"target": "Churn", "expect": contract, "personal": ["gender"]}
    context = make_context(data, {"data": DATA / "telco_customer_churn.csv"}, {"profile": "profile.json"})
    outcome = check_data.run(context)
    assert outcome.verdict is Verdict.FAIL
    assert [gate["name"] for gate in outcome.facts["gates"]] == ["TotalCharges.missing", "gender.in"]
    assert "(row 1: (personal);" in outcome.facts["gates"][1]["text"]
    kept = json.loads(context.outputs["profile"].read_text())["contract"]
    assert ContractReport.from_json(kept).verdict is Verdict.FAIL
    contract["columns"]["TotalCharges"]["missing"]["max"] = 0.002
    contract["columns"]["gender"]["in"] = ["Male", "Female"]
    outcome = check_data.run(context)
    assert outcome.verdict is Verdict.PASS
    assert outcome.summary == "7,043 rows, 21 columns, 4 checks of the contract passed"
    assert "values" not in json.loads(context.outputs["profile"].read_text())["columns"]["gender"]
