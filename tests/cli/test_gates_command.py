"""Gates that ask for more than metrics, from a spec to exit codes. Whole applies: `ENGINE_SOAK=1`."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from cli_project import edit
from command_line import Call

pytestmark = pytest.mark.skipif(os.environ.get("ENGINE_SOAK") != "1", reason="whole applies: ENGINE_SOAK=1")
DATA = Path(__file__).parents[1] / "data"
GATES = """\
  validation:
    - {metric: accuracy, threshold: 0.6}
    - {champion: non_inferior, metric: accuracy, margin: 0.1}
"""
UP_TO_DATE = "Nothing to do: everything is up to date.\n"


def test_a_candidate_against_its_champion(project: Path, call: Call) -> None:
    spec = project / "specs/churn.yaml"
    edit(spec, "  validation: {metric: accuracy, threshold: 0.6}\n", GATES)
    edit(spec, "  deployment: {strategy: canary, initial_traffic: 10%}\n", "")
    first = call(project, "apply", "--auto-approve")
    assert first.code == 0 and "there is no other release to compare accuracy with (first_model: pass)" in first.out
    assert call(project, "plan").out.endswith(UP_TO_DATE)
    edit(spec, "C: 1.0", "C: 0.1")
    second = call(project, "apply", "--auto-approve")
    assert second.code == 0 and "of the champion, version 1:" in second.out
    assert call(project, "plan").out.endswith(UP_TO_DATE), "it is the champion now, and is not held against itself"
    edit(spec, "margin: 0.1", "margin: 0.0001")
    planned = json.loads(call(project, "plan", "--json").out)["models"][0]["actions"]
    assert [action["step"] for action in planned if action["action"] == "run"] == ["validate"], "measured before"
    edit(spec, "margin: 0.0001", "margin: 0.1")
    edit(spec, "C: 0.1", "C: 0.000001")
    third = call(project, "apply", "--auto-approve", "--json")
    document = json.loads(third.out)
    assert third.code == document["exit_code"] == 3
    assert [gate["verdict"] for gate in document["runs"][0]["gates"]][1] in ("fail", "inconclusive")
    assert "version 2" in document["runs"][0]["gates"][1]["text"]
    shown = call(project, "show", document["runs"][0]["run_id"])
    assert "of the champion, version 2" in shown.out
    edit(spec, "C: 0.000001", "C: 0.1")
    assert call(project, "rollback", "churn").code == 0
    assert call(project, "plan").out.endswith(UP_TO_DATE), "version 2 was held against version 1 before"


def test_a_champion_that_is_gone_denies_and_says_so(project: Path, call: Call) -> None:
    spec = project / "specs/churn.yaml"
    edit(spec, "  validation: {metric: accuracy, threshold: 0.6}\n", GATES)
    assert call(project, "apply", "--auto-approve").code == 0
    edit(spec, "id: customer\n", "id: customer\n    ignore: [calls]\n")
    data = project / "data/churn.csv"
    lines = [line.split(",") for line in data.read_text().splitlines()]
    data.write_text("".join(",".join(cell for n, cell in enumerate(line) if n != 2) + "\n" for line in lines))
    edit(spec, "    ignore: [calls]\n", "")
    came = call(project, "apply", "--auto-approve")
    assert (
        came.code == 3 and "version 1, could not be scored on these rows: the rows lack its feature calls" in came.out
    )


def test_adult_income_by_sex(project: Path, call: Call) -> None:
    shutil.copy(DATA / "adult_income.csv", project / "data/adult.csv")
    (project / "specs/churn.yaml").write_text(
        "model_spec:\n  name: adult\n  data: {source: data/adult.csv, target: income, missing: ['?']}\n"
        "  validation: {fairness: demographic_parity, by: sex, max_difference: 0.1}\n"
    )
    came = call(project, "apply", "--auto-approve", "--json")
    [run] = json.loads(came.out)["runs"]
    assert len(run["gates"]) == 1, run
    [gate] = run["gates"]
    assert came.code == 3 and gate["verdict"] == "fail"
    assert (
        0.15 < gate["value"] < 0.21
        and "difference 0.1" in gate["text"]
        and " > 0.1: selection rate Male" in gate["text"]
    )
