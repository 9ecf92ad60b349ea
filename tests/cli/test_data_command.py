"""`engine data`: what is proposed passes on the file and fails on corrupted copies; what differs between snapshots."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
import yaml
from cli_project import make_project, rows
from command_line import Call

from engine.app.contracts import Reading, propose_contract
from engine.core.verdict import Verdict

DATA = Path(__file__).parent.parent / "data"
FILES = {
    "telco_customer_churn.csv": ("Contract", "tenure", "TotalCharges"),
    "adult_income.csv": ("sex", "age", "hours_per_week"),
}


def table(name: str, most: int = 3000) -> list[list[str]]:
    import csv

    with (DATA / name).open(newline="") as file:
        return [row for _, row in zip(range(most), csv.reader(file), strict=False)]


def written(path: Path, lines: list[list[str]]) -> Path:
    import csv

    with path.open("w", newline="") as file:
        csv.writer(file).writerows(lines)
    return path


def corrupted(lines: list[list[str]], how: str, category: str, whole: str, number: str) -> list[list[str]]:
    """A copy with one thing broken."""
    head, body = lines[0], [list(row) for row in lines[1:]]
    place = {name: index for index, name in enumerate(head)}
    some = random.Random(0).sample(range(len(body)), 40)
    match how:
        case "categories":
            body[some[0]][place[category]] = "Wkly"
        case "words among numbers":
            body[some[0]][place[number]] = "unknown"
        case "fractions":
            body[some[0]][place[whole]] = "3.5"
        case "range":
            body[some[0]][place[number]] = "99999999"
        case "gaps":
            for row in some:
                body[row][place[whole]] = " "
        case "a column":
            return [[cell for name, cell in zip(head, row, strict=True) if name != whole] for row in lines]
        case "rows":
            body = body[: len(body) // 3]
        case "shifted":
            body[some[0]] = [*body[some[0]][1:], body[some[0]][0]]
    return [head, *body]


@pytest.mark.parametrize("name", FILES)
def test_what_is_proposed_passes_and_fails_on_corrupted_copies(tmp_path: Path, call: Call, name: str) -> None:
    lines = table(name)
    path = written(tmp_path / name, lines)
    text = call(tmp_path, "data", "profile", str(path)).out
    contract = yaml.safe_load(text)["data"]["expect"]
    project = make_project(tmp_path / "project")
    spec = {"model_spec": {"name": "churn", "data": {"target": lines[0][-1], "expect": contract}}}
    (project / "specs/churn.yaml").write_text(yaml.safe_dump(spec))
    assert call(project, "validate").code == 0
    assert call(project, "data", "check", "churn", "--data", str(path)).code == 0
    ways = ["categories", "words among numbers", "fractions", "range", "gaps", "a column", "rows", "shifted"]
    for way in ways:
        broken = written(tmp_path / "broken.csv", corrupted(lines, way, *FILES[name]))
        came = call(project, "data", "check", "churn", "--data", str(broken))
        assert (came.code, came.err) == (3, ""), way
        assert came.out.startswith("fail  "), way


def test_a_proposal_of_personal_columns_names_no_value(tmp_path: Path) -> None:
    path = written(tmp_path / "t.csv", [["name", "plan"], *([f"Ada{i % 3}", "pro"] for i in range(60))])
    found = propose_contract(path, Reading(personal=("name",)))
    assert found.contract["columns"]["name"] == {"length": [2, 8], "missing": {"max": "0%"}}
    assert found.report.verdict is Verdict.PASS


def test_odd_tables_get_a_contract_that_they_pass(tmp_path: Path) -> None:
    odd: list[list[str]] = [
        ["nothing", "same", "big", "tiny", "when", "flag", "code", "Ja", "no"],
        *(
            ["", "5", str(10**17 + i), "1e-300", f"2024-01-{i + 1:02}", "true", f"A{i}-x", "é ü", "on"]
            for i in range(25)
        ),
    ]
    found = propose_contract(written(tmp_path / "odd.csv", odd), Reading())
    assert found.report.verdict is Verdict.PASS, [f.text for f in found.report.broken]
    assert {"keys": [["big"], ["code"]]}.items() <= found.contract.items()
    one = propose_contract(written(tmp_path / "one.csv", [["x", "y"], ["1", "a"]]), Reading())
    assert one.report.verdict is Verdict.PASS


def test_without_rows_nothing_is_proposed(tmp_path: Path, call: Call) -> None:
    came = call(tmp_path, "data", "profile", str(written(tmp_path / "t.csv", [["a", "b"]])))
    assert came.code == 1
    assert "has no rows" in came.err
    assert call(tmp_path, "data", "profile", "nowhere.csv").code == 1


def difference(call: Call, folder: Path, *arguments: str) -> dict[str, Any]:
    came = call(folder, "data", "diff", *arguments, "--json")
    assert came.code == 0, came.err
    document: dict[str, Any] = json.loads(came.out)
    return document


def test_two_files(tmp_path: Path, call: Call) -> None:
    old = [["id", "plan", "calls"], ["1", "a", "5"], ["2", "b", "6"], ["3", "b", "7"]]
    new = [["id", "plan", "extra"], ["1", "a", "x"], ["2", "c", "x"]]
    a, b = written(tmp_path / "a.csv", old), written(tmp_path / "b.csv", new)
    assert "the same 3 rows" in call(tmp_path, "data", "diff", str(a), str(a)).out
    shuffled = written(tmp_path / "s.csv", [["calls", "plan", "id"], ["7", "b", "3"], ["5", "a", "1"], ["6", "b", "2"]])
    assert "the same 3 rows" in call(tmp_path, "data", "diff", str(a), str(shuffled)).out
    found = difference(call, tmp_path, str(a), str(b))
    assert found["rows"] == {"before": 3, "after": 2}
    assert {(c["column"], c["what"], c["before"], c["after"]) for c in found["changes"]} >= {
        ("calls", "column", "there", "gone"),
        ("extra", "column", "not there", "new"),
        ("plan", "rows with b", 2, 0),
        ("plan", "rows with c", 0, 1),
        ("id", "largest", 3.0, 2.0),
    }
    masked = difference(call, tmp_path, str(a), str(b), "--personal", "plan")
    assert not [c for c in masked["changes"] if c["column"] == "plan"]


def test_snapshots_of_runs_and_releases(applied: Path, call: Call) -> None:
    later = applied / "data/later.csv"
    later.write_text(rows(310))
    run = json.loads(call(applied, "history", "--json").out)["runs"][0]["run_id"]
    for what in ("churn@1", "churn", run):
        found = difference(call, applied, what, str(later))
        assert (found["shared"], found["new"], found["gone"]) == (300, 10, 0)
    text = call(applied, "data", "diff", "churn@1", "data/later.csv").out
    assert text.startswith("rows  300 → 310: 300 stayed, 10 new, 0 gone")
    assert call(applied, "data", "diff", "churn@9", "data/later.csv").code == 1
