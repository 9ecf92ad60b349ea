"""`engine apply`: agreement, progress in a pipe and on a terminal, interrupts, the end's summary, exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli_project import check_golden, edit, rows
from command_line import Call
from terminal import Terminal

from engine.cli.outcome import exit_code
from engine.core.records import RunStatus
from engine.errors import EngineError, LockedError
from engine.runtime.apply import Result
from engine.runtime.walk import Outcome

SLOW = """\
  steps:
    - name: slow
      run: python slow.py ${inputs.data} ${outputs.side}
      inputs: {data: data}
      outputs: {side: side.txt}
"""
AFTER = """\
    - name: after
      run: cp ${inputs.side} ${outputs.copy}
      inputs: {side: slow.side}
      outputs: {copy: copy.txt}
"""


def test_without_a_terminal_it_refuses(project: Path, call: Call) -> None:
    came = call(project, "apply")
    assert came.code == 1
    assert "--auto-approve" in came.err
    assert not (project / ".engine/state.db").exists()
    assert call(project, "apply", "--json").code == 1


def test_nothing_to_do_asks_nobody(applied: Path, call: Call) -> None:
    came = call(applied, "apply")
    assert (came.code, came.err) == (0, "")
    assert came.out.endswith("Nothing to do: everything is up to date.\n")


def test_lines_in_a_pipe(applied: Path, call: Call) -> None:
    edit(applied / "specs/churn.yaml", "threshold: 0.6", "threshold: 0.65")
    came = call(applied, "apply", "--auto-approve")
    assert (came.code, came.err) == (0, "")
    progress = came.out.partition("Plan: ")[2].partition("\n")[2].partition("mlflow ui")[0]
    check_golden("apply_lines.txt", progress)


def test_a_gate_stops_it(applied: Path, call: Call) -> None:
    edit(applied / "specs/churn.yaml", "threshold: 0.6", "threshold: 0.999")
    came = call(applied, "apply", "--auto-approve")
    assert came.code == 3
    assert "churn: stopped by a gate" in came.out
    assert "what was live stays live" in came.out
    again = call(applied, "apply", "--auto-approve")
    assert again.code == 3
    check_golden("plan_stopped.txt", call(applied, "plan").out)
    assert call(applied, "plan", "--detailed-exitcode").code == 0


def test_a_broken_data_contract_stops_it_before_training(applied: Path, call: Call) -> None:
    expect = """\
    expect:
      rows: {min: 500}
      columns: {calls: {between: [0, 8]}, months: {type: integer}, plan: {in: [a, b]}}
"""
    edit(applied / "specs/churn.yaml", "    id: customer\n", "    id: customer\n" + expect)
    came = call(applied, "apply", "--auto-approve")
    assert came.code == 3
    assert "stopped by the data contract" in came.out
    assert "churn: train skipped because of check_data" in came.out
    assert "Nothing was trained; what was live stays live" in came.out
    again = call(applied, "apply", "--auto-approve", "--json")
    document = json.loads(again.out)
    assert (again.code, document["exit_code"]) == (3, 3)
    check_golden("plan_contract.txt", call(applied, "plan").out)
    run = json.loads(call(applied, "history", "--json").out)["runs"][0]
    shown = call(applied, "show", run["run_id"]).out
    assert "fail  the number of rows is 300, at least 500 expected" in shown
    edit(applied / "specs/churn.yaml", "min: 500", "min: 300")
    edit(applied / "specs/churn.yaml", "in: [a, b]", "in: [a, b, c]")
    edit(applied / "specs/churn.yaml", "[0, 8]", "[0, 9]")
    came = call(applied, "apply", "--auto-approve")
    assert came.code == 0
    assert "300 rows, 5 columns, 4 checks of the contract passed" in came.out
    assert "train skipped" not in came.out and "Nothing to do" not in came.out


def test_a_failing_step_shows_its_log(applied: Path, call: Call) -> None:
    (applied / "slow.py").write_text("print('about to fail'); raise SystemExit('no such luck')\n")
    edit(applied / "specs/churn.yaml", "  training:\n", SLOW + "  training:\n")
    came = call(applied, "apply", "--auto-approve")
    assert came.code == 1
    assert "│ about to fail" in came.out
    assert "│ no such luck" in came.out
    assert "engine apply" in came.out.splitlines()[-3:][0] + came.out
    run = json.loads(call(applied, "history", "--json").out)["runs"][0]
    assert run["status"] == "failed"
    assert "about to fail" in call(applied, "show", run["run_id"], "--log", "slow").out


def test_json_of_an_apply(applied: Path, call: Call) -> None:
    (applied / "data/churn.csv").write_text(rows(320))
    document = json.loads(call(applied, "apply", "--auto-approve", "--json").out)
    assert (document["format_version"], document["exit_code"]) == (1, 0)
    [run] = document["runs"]
    assert (run["model"], run["status"], run["error"]) == ("churn", "done", None)
    assert {step["status"] for step in run["steps"]} == {"done"}
    assert run["release"]["version"] == 2
    assert run["endpoint"]["candidate"] == 2
    assert run["endpoint"]["weight"] == 0.1
    assert 0.6 <= run["metrics"]["accuracy"]["value"] <= 1
    assert run["gates"][0]["verdict"] == "pass"
    idle = json.loads(call(applied, "apply", "--json").out)
    assert idle["runs"][0]["run_id"] is None
    assert {step["status"] for step in idle["runs"][0]["steps"]} == {"reused"}


def test_a_model_that_is_held(applied: Path, call: Call) -> None:
    from engine.adapters.state import holder
    from engine.app.workspace import open_workspace

    store = open_workspace(applied).store
    store.acquire("churn", holder.this_process(), 60)
    edit(applied / "specs/churn.yaml", "threshold: 0.6", "threshold: 0.65")
    came = call(applied, "apply", "--auto-approve", "--target", "validate")
    assert came.code == 4
    assert "churn is locked by" in came.out
    assert "pid" in call(applied, "lock", "list").out
    assert call(applied, "lock", "release", "churn").code == 0
    assert call(applied, "lock", "list").out == "Nobody holds a model.\n"
    store.close()
    assert call(applied, "apply", "--auto-approve", "--target", "validate").code == 0


def test_the_worst_of_several_models_wins() -> None:
    def result(status: RunStatus, error: EngineError | None = None) -> Result:
        return Result("m", "r", status, "", Outcome(), error)

    done, stopped = result(RunStatus.DONE), result(RunStatus.STOPPED)
    locked = result(RunStatus.FAILED, LockedError("m", "ana", "noon"))
    failed = result(RunStatus.FAILED, EngineError("no"))
    assert exit_code([]) == exit_code([done]) == 0
    assert exit_code([done, stopped]) == 3
    assert exit_code([stopped, locked]) == 4
    assert exit_code([locked, failed, stopped]) == 1
    assert exit_code([result(RunStatus.CANCELLED)]) == 1


def test_a_person_says_no(project: Path) -> None:
    terminal = Terminal(project, "apply")
    terminal.wait_for(r"Apply\? \[y/N\]")
    terminal.type("\n")
    assert terminal.close() == 1
    assert "nothing was changed" in terminal.text
    assert not (project / ".engine/state.db").exists()


def test_a_person_says_yes_and_watches(applied: Path) -> None:
    edit(applied / "specs/churn.yaml", "threshold: 0.6", "threshold: 0.65")
    terminal = Terminal(applied, "apply")
    terminal.wait_for(r"Apply\? \[y/N\]")
    terminal.type("y\n")
    assert terminal.close() == 0, terminal.text
    assert "✓ validate done in" in terminal.text
    assert "✓ deploy done in" in terminal.text
    assert "version 1 is live" in terminal.text
    assert "\x1b[?25l" in terminal.raw, "a live view hides the cursor"
    assert terminal.raw.rindex("\x1b[?25h") > terminal.raw.rindex("\x1b[?25l"), "and shows it again"


@pytest.fixture
def slow(applied: Path) -> Path:
    """A project with a step that makes a file `begun` and runs until there is a file `go`, and one after it."""
    (applied / "slow.py").write_text(
        "import pathlib, sys, time\n"
        "project = pathlib.Path(__file__).resolve().parent\n"
        "project.joinpath('begun').touch()\n"
        "while not project.joinpath('go').exists():\n"
        "    time.sleep(0.01)\n"
        "open(sys.argv[2], 'w').write('done')\n"
    )
    edit(applied / "specs/churn.yaml", "  training:\n", SLOW + AFTER + "  training:\n")
    return applied


@pytest.mark.slow
def test_the_first_ctrl_c_lets_steps_finish(slow: Path, call: Call) -> None:
    terminal = Terminal(slow, "apply", "--auto-approve", "--target", "after")
    terminal.wait_for(r"slow +\d\.\d s")
    terminal.wait_for_file(slow / "begun")
    terminal.type("\x03")
    terminal.wait_for("Finishing the running steps. Ctrl-C again to stop them at once.")
    (slow / "go").touch()
    assert terminal.close() == 1
    assert "slow done in" in terminal.text
    assert "after started" not in terminal.text
    assert "after done" not in terminal.text
    assert "churn: cancelled" in terminal.text
    assert "To go on: engine apply" in terminal.text
    assert call(slow, "apply", "--auto-approve", "--target", "after").code == 0


@pytest.mark.slow
def test_the_second_ctrl_c_stops_at_once(slow: Path, call: Call) -> None:
    terminal = Terminal(slow, "apply", "--auto-approve", "--target", "slow")
    terminal.wait_for(r"slow +\d\.\d s")
    terminal.wait_for_file(slow / "begun")
    terminal.type("\x03")
    terminal.wait_for("Finishing the running steps.")
    terminal.type("\x03")
    assert terminal.close() == 1
    assert "churn: cancelled" in terminal.text
    run = json.loads(call(slow, "history", "--json").out)["runs"][0]
    assert run["status"] == "cancelled"
