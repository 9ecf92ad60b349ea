"""`engine drift check`: a batch in a file against the live release, and what its exit code says."""

from __future__ import annotations

import json
from pathlib import Path

from cli_project import rows
from command_line import Call


def test_a_batch_against_the_live_release(project: Path, call: Call) -> None:
    (project / "data" / "churn.csv").write_text(rows(700))
    assert call(project, "apply", "--auto-approve").code == 0
    same, moved = project / "same.csv", project / "moved.csv"
    same.write_text(rows(600, seed=1))
    head, *lines = rows(600, seed=2).splitlines()
    cells = [line.split(",") for line in lines]
    moved.write_text("\n".join([head, *(",".join([c[0], str(int(c[1]) // 2), *c[2:]]) for c in cells)]))

    outcome = call(project, "drift", "check", "churn", "--data", str(same))
    assert (outcome.code, outcome.out.splitlines()[1]) == (0, "no drift in 3 columns, 600 rows")
    outcome = call(project, "drift", "check", "churn", "--data", str(moved), "--json")
    said = json.loads(outcome.out)
    assert (outcome.code, said["verdict"], said["version"]) == (2, "drift", 1)
    found = said["checks"]["auto"]["findings"]
    assert [each["name"] for each in found if each["verdict"] == "drift"] == ["months"]
    named = call(project, "drift", "check", "churn", "--data", str(moved), "--detector", "psi")
    assert (named.code, "months" in named.out.splitlines()[1]) == (2, True)

    same.write_text(rows(90))
    outcome = call(project, "drift", "check", "churn", "--data", str(same))
    assert (outcome.code, "inconclusive: 90 rows, 500 are needed" in outcome.out) == (3, True)
    for argv, wrong in (
        (("churn", "--data", "nowhere.csv"), "there is no file nowhere.csv"),
        (("chrn", "--data", str(same)), "no model chrn"),
        (("churn", "--data", str(same), "--version", "9"), "churn has no version 9"),
        (("churn", "--data", str(same), "--detector", "kss"), 'Did you mean "ks"?'),
        (("churn", "--data", str(same), "--detector", "adwin"), "adwin watches errors over time"),
        (("churn", "--data", str(project / "engine.yaml")), "engine.yaml"),
    ):
        outcome = call(project, "drift", "check", *argv)
        assert (outcome.code, wrong in outcome.err) == (1, True), outcome.err
