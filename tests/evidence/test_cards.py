"""Model cards: made from the record, logged to MLflow, safe to show."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from command_line import Call

from engine.core.canonical import canonical_json
from engine.core.release_record import approval_rows, slices_in, slices_of
from engine.steps.card import Subject, card_of, html, markdown


def test_a_card_tells_all_and_is_logged(made: Path, call: Call, tmp_path: Path) -> None:
    text = call(made, "card", "churn@2").out
    for head in ("Model", "Data", "Training", "Metrics", "Verdict", "Drift reference", "Limits", "History"):
        assert f"\n## {head}\n" in text
    for told in ("Who leaves within a month", "dvc:data/churn.csv@v2", "| accuracy | 0.875 |", "churn@1", "72 rows"):
        assert told in text
    assert "Written" in call(made, "card", "churn", "--out", str(tmp_path / "card.html")).out
    page = (tmp_path / "card.html").read_text()
    assert page.count("data:image/png;base64,") == 4 and "<script" not in page
    with sqlite3.connect(made / ".engine/mlflow.db") as database:
        [[place], *_] = database.execute("SELECT artifact_uri FROM runs ORDER BY start_time DESC").fetchall()
    logged = Path(place.removeprefix("file://"))
    assert (logged / "card.md").read_text().startswith("# Model card: churn\n")
    assert "data:image/png" in (logged / "card.html").read_text()


def test_texts_from_outside_are_only_text() -> None:
    evil = "<script>alert(1)</script> | [x](javascript:y)\n# head"
    document = {"name": "m", "description": evil, "labels": {evil: evil}, "data": {"source": evil}}
    card = card_of(Subject(document, {"profile": {"columns": {evil: {"kind": evil, "values": {evil: 1}}}}}, None))
    page, text = html(card), markdown(card)
    assert "<script>" not in page and "<script>" not in text
    assert "\n# head" not in text and "[x](" not in text
    assert "No slices were measured" in text and "Fairness between groups was not judged" in text


def test_slices_and_fairness_that_gates_measured() -> None:
    groups = [
        {"group": "basic", "rows": 40, "small": False, "value": 0.7, "low": 0.6, "high": 0.8},
        {"group": "pro", "rows": 3, "small": True, "value": None, "low": None, "high": None},
    ]
    ask = {"gate": "slices", "by": "plan", "metric": "f1_score"}
    examination = {"answers": {canonical_json(ask): {"groups": groups}, canonical_json({"gate": "leakage"}): {}}}
    gates = [{"gate": "fairness", "verdict": "fail", "text": "demographic_parity by sex 0.18 > 0.1", "binding": False}]
    subject = Subject({"name": "m"}, {}, {"verdict": "pass", "gates": gates}, slices=slices_in(examination))
    text = markdown(card_of(subject))
    assert "| plan = basic: f1\\_score | 0.7 | \\[0.6, 0.8\\] |" in text
    assert "| plan = pro: f1\\_score | undefined |  |" in text
    assert "## Fairness" in text and "was not judged" not in text
    assert "did not pass, and was let through" in text
    record = {"reports": {"examination": examination}}
    assert slices_of(record)["plan = basic: f1_score"]["rows"] == 40


def test_who_approved_it_is_told() -> None:
    event = {"at": "2026-11-24T10:00:00Z", "actor": "ana", "event": "release approved", "details": {"reason": "fit"}}
    [row] = approval_rows({"approvals": [event]})
    assert row == ("2026-11-24T10:00:00Z", "ana", "approved", "fit")
    assert "| ana | approved | fit |" in markdown(card_of(Subject({"name": "m"}, {}, None, approvals=[row])))
