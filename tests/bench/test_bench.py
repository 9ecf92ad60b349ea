"""The benchmarks' building blocks run, at tiny sizes. What they measure is not judged here."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from bench import idle, ledger, peers, snapshot
from bench.measure import SCRIPTS, Command, CommandError, in_turns, run_once
from bench.projects import Template, is_up_to_date, names, seed_project, spec_text, user_steps, write_table
from bench.report import Report, as_json, show

TINY = 2  # MiB


@pytest.mark.parametrize("steps", ["", user_steps(3, chain=True), user_steps(3, chain=False)])
def test_seeded_models_are_up_to_date(tmp_path: Path, steps: str) -> None:
    specs = {name: spec_text(name, steps=steps) for name in names(2)}

    folder = seed_project(tmp_path / "project", specs, Template({}))

    assert is_up_to_date(folder)
    (folder / "data" / "model_00001.csv").write_text("x0,target\n1,0\n")
    assert not is_up_to_date(folder)


def test_floor_reads_every_spec(tmp_path: Path) -> None:
    folder = seed_project(tmp_path / "project", {"a": spec_text("a")}, Template({}))

    run_once(Command("floor", [sys.executable, str(SCRIPTS / "floor.py"), "."], folder))

    (folder / "data" / "a.csv").unlink()
    with pytest.raises(CommandError, match=r"a\.csv"):
        run_once(Command("floor", [sys.executable, str(SCRIPTS / "floor.py"), "."], folder))


def test_commands_run_in_turns_after_a_warm_up(tmp_path: Path) -> None:
    def append(word: str) -> Command:
        return Command(word, ["sh", "-c", f"echo {word} >> order"], tmp_path)

    measured = in_turns([append("a"), append("b")], rounds=2, warm_up=1)

    assert (tmp_path / "order").read_text().split() == ["a", "b"] * 3
    assert {name: len(m.samples) for name, m in measured.items()} == {"a": 2, "b": 2}


def test_memory_is_that_of_the_command_and_not_of_this_process(tmp_path: Path) -> None:
    ballast = bytes(os.urandom(1) * (100 << 20))

    small = run_once(Command("small", ["true"], tmp_path))
    large = run_once(Command("large", [sys.executable, "-c", "len(b'x' * (200 << 20))"], tmp_path))

    assert small.peak_mib < 50 < 200 < large.peak_mib
    del ballast


def test_ledger_is_measured_step_by_step(tmp_path: Path) -> None:
    found = ledger.measure(tmp_path, 3)

    assert {name: len(seconds) for name, seconds in found.items()} == {"ledger": 3, "bare": 3}


def test_snapshot_of_a_small_file(tmp_path: Path) -> None:
    folder = snapshot.project(tmp_path / "project")
    data = folder / "data" / "big.csv"
    data.write_bytes(snapshot.random_file(tmp_path / "random", TINY << 20).read_bytes())

    run_once(Command("snapshot", snapshot.alone(data), folder))

    stored = [path for path in (folder / ".engine" / "artifacts").rglob("*") if path.is_file()]
    assert any(path.stat().st_size == TINY << 20 for path in stored)


def test_plain_script_trains(tmp_path: Path) -> None:
    write_table(tmp_path / "table.csv", 200, 4, 1)

    run_once(Command("train", [sys.executable, str(SCRIPTS / "train.py"), "table.csv"], tmp_path))


def test_terraform_project_is_up_to_date(tmp_path: Path) -> None:
    terraform = peers.find_terraform()
    if terraform is None:
        pytest.skip("terraform is not installed")
    folder = peers.terraform_project(tmp_path / "terraform", 2, terraform)

    run_once(Command("plan", [terraform, "plan", "-detailed-exitcode", "-input=false"], folder))


def test_report_says_which_targets_are_met(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = Report("demo", notes=["dvc: not installed, skipped"])
    report.add(in_turns([Command("true", ["true"], tmp_path)], rounds=1).values())
    report.compare("a / b", 0.2, 0.25)
    report.compare("c", 61.0, 60.0, "ms")
    report.compare("d", 3.0)

    show(report)
    text = capsys.readouterr().out
    document = json.loads(json.dumps(as_json([report], {})))

    assert "met" in text
    assert "missed" in text
    assert "dvc: not installed, skipped" in text
    assert [ratio["met"] for ratio in document["benchmarks"][0]["ratios"]] == [True, False, None]


def test_what_a_process_takes_is_its_familys(tmp_path: Path) -> None:
    busy = "import subprocess, sys; print(flush=True); subprocess.run([sys.executable, '-c', 'while True: pass'])"
    with subprocess.Popen([sys.executable, "-c", busy], stdout=subprocess.PIPE, start_new_session=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        while len(idle.family(process.pid)) < 2:
            pass
        share, mib = idle.watch(process.pid, 0.5)
        os.killpg(process.pid, signal.SIGKILL)
    assert share > 0.02
    assert mib > 2
