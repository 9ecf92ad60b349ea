"""`engine up`: changes of specs are applied, new data waits for its trigger, and what was due is settled once."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

from cli_project import edit, rows
from command_line import Call

from engine.adapters.state.reader import SqliteStateReader
from engine.app.workspace import Workspace
from engine.core.records import Aftermath, Event, EventKind, RunStatus

TRIGGER = 'retrain_trigger: {type: scheduled, cron: "0 0 * * 0"}'
ENGINE = [sys.executable, "-m", "engine"]


def reader(project: Path) -> SqliteStateReader:
    return SqliteStateReader(project / ".engine/state.db")


def runs(project: Path) -> list[RunStatus]:
    return [run.status for run in reader(project).runs("churn")]


def ask(project: Path) -> None:
    """Leave a request for a retrain in the inbox."""
    store = Workspace(project).store
    assert store.put(Event("one", "churn", EventKind.MANUAL, reason="to be sure"))
    store.close()


def test_data_waits_for_its_trigger_and_is_taken_once(applied: Path, call: Call) -> None:
    data, spec = applied / "data/churn.csv", applied / "specs/churn.yaml"
    data.write_text(rows(340))
    assert call(applied, "up", "--once").code == 0
    assert len(runs(applied)) == 1  # the schedule is not due: what is new waits
    edit(spec, TRIGGER, "retrain_trigger: {type: data, min_new_rows: 100}")
    told = call(applied, "controller", "--once")
    assert told.code == 0, told.err
    assert len(runs(applied)) == 1  # 40 new rows are too few, and a trigger alone is nothing to apply
    data.write_text(rows(420))
    told = call(applied, "controller", "--once")
    assert "due: " in told.out
    assert runs(applied) == [RunStatus.DONE, RunStatus.DONE]
    [due] = reader(applied).evaluations("churn", due_only=True)
    assert (due.aftermath, due.run_id) == (Aftermath.RELEASED, reader(applied).runs("churn")[0].run_id)
    assert "120" in str(reader(applied).runs("churn")[0].provenance["because"])
    assert call(applied, "controller", "--once").code == 0
    assert len(runs(applied)) == 2
    assert len(reader(applied).evaluations("churn", due_only=True)) == 1


def test_a_request_with_nothing_new_is_settled_and_said(applied: Path, call: Call) -> None:
    ask(applied)
    told = call(applied, "controller", "--once")
    assert "due, nothing new to train on" in told.out
    [due] = reader(applied).evaluations("churn", due_only=True)
    assert due.aftermath is Aftermath.NOTHING_NEW
    assert not reader(applied).pending("churn")
    assert len(runs(applied)) == 1


def test_mistakes_in_one_spec_stall_no_other(applied: Path, call: Call) -> None:
    (applied / "specs/broken.yaml").write_text("model_spec: {name: broken, taget: x}\n")
    edit(applied / "specs/churn.yaml", "C: 1.0", "C: 0.5")
    told = call(applied, "controller", "--once")
    assert (told.code, 'unknown key "taget"' in told.out) == (1, True)
    assert runs(applied) == [RunStatus.DONE, RunStatus.DONE]


def test_up_serves_follows_the_spec_and_drains(applied: Path) -> None:
    log = applied / "up.log"
    with log.open("w") as out:
        up = subprocess.Popen([*ENGINE, "up", "--port", "0"], cwd=applied, stdout=out, stderr=out)
    try:
        address = _wait(lambda: _address(log.read_text()), up, log)
        ready = f"{address}/readyz"
        _wait(lambda: _status(ready) == 200, up, log)
        edit(applied / "specs/churn.yaml", "C: 1.0", "C: 0.5")
        _wait(lambda: len(runs(applied)) == 2 and runs(applied)[0] is RunStatus.DONE, up, log)
    finally:
        up.send_signal(signal.SIGTERM)
        assert up.wait(60) == 0, log.read_text()
    assert _status(ready) == 0  # the gateway ended with it


def test_a_gateway_ends_when_its_controller_is_killed(applied: Path) -> None:
    log = applied / "up.log"
    with log.open("w") as out:
        up = subprocess.Popen([*ENGINE, "up", "--port", "0"], cwd=applied, stdout=out, stderr=out)
    address = _wait(lambda: _address(log.read_text()), up, log)
    up.kill()
    up.wait()
    end = time.monotonic() + 30
    while _status(f"{address}/healthz"):
        assert time.monotonic() < end, "the gateway outlives its parent"
        time.sleep(0.1)


def _address(text: str) -> str:
    return text.partition("Serving at ")[2].split()[0] if "Serving at " in text else ""


def _status(url: str) -> int:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


def _wait(happened, up: subprocess.Popen[bytes], log: Path):  # type: ignore[no-untyped-def]
    end = time.monotonic() + 90
    while not (found := happened()):
        assert up.poll() is None and time.monotonic() < end, log.read_text()
        time.sleep(0.1)
    return found
