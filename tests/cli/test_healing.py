"""When healing fails: the gates keep a bad candidate out, and a release below its floor goes back by itself."""

from __future__ import annotations

import asyncio
import json
import random
from pathlib import Path

from cli_project import edit, rows
from command_line import Call

from engine.adapters.state.reader import SqliteStateReader
from engine.app.workspace import Workspace
from engine.core.records import Aftermath, Event, EventKind, RunStatus
from engine.serving.counting import Part
from engine.serving.feedback import Desk, Label
from engine.serving.prediction_log import PredictionLog
from engine.serving.prediction_log_format import ASSIGNED, id_text
from engine.serving.settings import LogSettings
from engine.serving.signature import Signature
from engine.serving.wire import OWN, Reply, Request

SIGNATURE = Signature((("months", "numeric"), ("calls", "numeric"), ("plan", "categorical")), ("no", "yes"), "yes")


def reader(project: Path) -> SqliteStateReader:
    return SqliteStateReader(project / ".engine/state.db")


def stable(project: Path) -> int | None:
    endpoint = reader(project).models(["churn"])["churn"].endpoint
    assert endpoint is not None
    return endpoint.stable


def predict_badly(project: Path, version: int, count: int) -> None:
    """Log predictions of a release, all of which turn out wrong."""
    folder = project / ".engine/serving"
    log = PredictionLog(folder / "log", LogSettings())
    generator, ids = random.Random(version), []
    said = Reply(0, 200, 1, 0.9, 0.81, b"\x0f", b'"predictions":["yes"],"probabilities":[{"no":0.1,"yes":0.9}]')
    for _ in range(count):
        row = {"months": generator.randint(0, 60), "calls": generator.randint(0, 9), "plan": generator.choice("abc")}
        asked = Request(0, OWN, 0, json.dumps({"instances": [row]}).encode())
        place = Part("churn", 9, version, "stable", 1.0)
        ids.append(id_text(log.add(place, SIGNATURE, asked, said, 0.004, None, ASSIGNED)))
    asyncio.run(log.flush())
    log.close()
    desk = Desk(folder, "churn")
    assert desk.take([Label(each, "no") for each in ids]).accepted == count
    desk.close()


def test_a_candidate_that_fails_its_gates_is_said_and_the_champion_stays(applied: Path, call: Call) -> None:
    lines = rows(400).splitlines()
    noise = [line.rpartition(",")[0] + random.Random(n).choice([",yes", ",no"]) for n, line in enumerate(lines[1:])]
    (applied / "data/churn.csv").write_text("\n".join([lines[0], *noise]) + "\n")
    store = Workspace(applied).store
    store.put(Event("one", "churn", EventKind.MANUAL, reason="to be sure"))
    store.close()
    told = call(applied, "controller", "--once")
    [due] = reader(applied).evaluations("churn", due_only=True)
    assert due.aftermath is Aftermath.STOPPED
    assert reader(applied).runs("churn")[0].status is RunStatus.STOPPED
    assert "stopped (retrain)" in told.out
    assert (stable(applied), len(reader(applied).releases("churn"))) == (1, 1)
    call(applied, "controller", "--once")
    assert len(reader(applied).runs("churn")) == 2, "the same data is not tried again"


def test_a_release_below_its_floor_goes_back_by_itself_and_not_forth(candidate: Path, call: Call) -> None:
    assert call(candidate, "promote", "churn").code == 0
    watch = "{metric: accuracy, threshold: 60%, on_breach: rollback}"
    spec = candidate / "specs/churn.yaml"
    edit(spec, "  deployment:", f"  monitoring: {{window: {{rows: 500}}, metrics: [{watch}]}}\n  deployment:")
    predict_badly(candidate, 2, 500)
    told = call(candidate, "controller", "--once")
    assert "rolled back to version 1" in told.out, told.out + told.err
    assert stable(candidate) == 1
    [event] = [each for each in reader(candidate).audit() if "breach" in str(each.details.get("reason") or "")]
    assert event.subject == "churn"
    predict_badly(candidate, 1, 500)
    told = call(candidate, "controller", "--once")
    assert "no release was stable before version 1" in told.out, "two that both breach do not take turns"
    assert stable(candidate) == 1
