"""The loop that heals, days in seconds: real prices through a real gateway, and time passes when the test says so.

The controller, the gateway with its model processes, training and the registry are the real ones; they share a clock
that the test moves by half an hour for each row. What a retrain costs in this time is what it costs a market of
half-hours: nothing. `docs/demo_loop.py` is the same in real time.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pandas as pd
import pytest
from served import Client, Gateway

from engine.app.controller import Controller, Options
from engine.app.delivering import service
from engine.app.inspecting import verify_audit
from engine.app.retraining import Note
from engine.app.workspace import Workspace
from engine.core.canonical import utc
from engine.core.records import Aftermath, RunStatus
from engine.core.rollout import Phase
from engine.testing.clocks import SharedClock
from engine.testing.models import model_in

ELEC2 = Path(__file__).parents[1] / "data/elec2.csv"
SOAK = os.environ.get("ENGINE_SOAK") == "1"
HALF_HOUR, DAY = 1800.0, 48  # seconds; rows
BEGIN = datetime(1996, 5, 7, tzinfo=timezone.utc)  # before the log's files were written: those tell real time
SPEC = """\
model_spec:
  name: prices
  data:
    {source: data/prices.csv, target: class, ignore: [date], feedback: true, window: {rows: 2000}}
  training: {estimator: sklearn.linear_model.LogisticRegression}
  retrain_trigger:
    any_of:
      - {type: performance, metric: accuracy, drop: 5%, min_labels: 250, persistence: 1 of 1}
      - {type: drift, min_rows: 480, persistence: 2 of 3}
  validation: {metric: accuracy, threshold: 60%}
  deployment:
    strategy: canary
    initial_traffic: 50%
    steps: [50%, 100%]
    step_duration: 12h
    analysis: {guardrails: [errors, accuracy], min_requests: 30, max_error_rate: 10%, max_drop: 20%}
  monitoring: {window: {rows: 480}, labels: {delay: 1d, min: 250}}
"""
Row = Mapping[str, str]


@dataclass
class Market:
    """A project, its controller and gateway, and the clock that they share."""

    workspace: Workspace
    controller: Controller
    gateway: Gateway
    client: Client
    clock: SharedClock
    sent: int = 0

    def live_through(self, day: Sequence[Row]) -> list[Mapping[str, object]]:
        """Ask for each row of a day as its half-hour comes; the answers."""
        answers = []
        for row in day:
            self.clock.move(HALF_HOUR)
            said = self.client.ask("POST", "/v1/models/prices/predict", {"instances": [features(row)]})
            assert said.status == 200, said
            answers.append(said.json)
        self.sent += len(day)
        return answers

    def tell(self, answers: Sequence[Mapping[str, object]], day: Sequence[Row]) -> None:
        """What became of a day's predictions."""
        labels = [
            {"id": answer["ids"][0], "actual": row["class"]}  # type: ignore[index]
            for answer, row in zip(answers, day, strict=True)
        ]
        said = self.client.ask("POST", "/v1/models/prices/feedback", {"feedback": labels})
        assert said.json["accepted"] == len(labels)

    def work(self) -> None:
        """Have the controller do what is due, once the gateway has written down what it knows."""
        self.gateway.wait(lambda: self.gateway.metric("prediction_log_records_total") == self.sent)
        now = utc(self.clock())
        self.gateway.wait(lambda: self.gateway.status().get("at", "") >= now)
        assert not self.controller.work()
        rollout = self.workspace.store.open_rollout("prices")
        if rollout is not None and rollout.began_at is None:
            ready = str(rollout.candidate)
            self.gateway.wait(lambda: self.gateway.model()["releases"].get(ready, {}).get("state") == "ready")
            assert not self.controller.work()


def features(row: Row) -> dict[str, float]:
    """What a model is asked with."""
    return {name: float(value) for name, value in row.items() if name not in ("date", "class")}


def days(stream: Sequence[Row]) -> Iterator[Sequence[Row]]:
    """The rows of each day."""
    return (stream[start : start + DAY] for start in range(0, len(stream), DAY))


@pytest.fixture
def notes() -> list[Note]:
    """What the controller says."""
    return []


@pytest.fixture
def market(tmp_path: Path, notes: list[Note], request: pytest.FixtureRequest) -> Iterator[tuple[Market, list[Row]]]:
    """A market whose first rows are known, and those that are to come."""
    skipped, first, coming = request.param
    for name in ("data", "specs"):
        (tmp_path / name).mkdir()
    (tmp_path / "engine.yaml").write_text("")
    (tmp_path / "specs/prices.yaml").write_text(SPEC)
    with ELEC2.open(newline="") as file:
        rows = list(csv.DictReader(file))[skipped:]
    with (tmp_path / "data/prices.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows[:first])
    clock = SharedClock(tmp_path / "clock", BEGIN)
    workspace = replace(Workspace(tmp_path.resolve()), clock=clock)
    controller = Controller(workspace, Options(), note=notes.append, tell=lambda _: None)
    assert not controller.work(), notes
    assert not [note.text for note in notes if note.grave]
    quick = {"poll_seconds": 0.1, "flush_seconds": 0.05, "status_seconds": 0.05, "log": {"flush_seconds": 0.05}}
    gateway = Gateway(tmp_path, quick, name="prices", clock=clock).start().ready()
    yield Market(workspace, controller, gateway, gateway.client(), clock), rows[first : first + coming]
    assert gateway.stop() == 0
    controller.close()
    workspace.close()


def replay(market: Market, stream: Sequence[Row]) -> list[tuple[bool, int]]:
    """For each row whether its prediction was right, and which release made it; its label comes a day later."""
    right: list[tuple[bool, int]] = []
    yesterday: tuple[list[Mapping[str, object]], Sequence[Row]] = [], []
    for day in days(stream):
        answers = market.live_through(day)
        right += [
            (answer["predictions"][0] == row["class"], answer["version"])  # type: ignore[index,misc]
            for answer, row in zip(answers, day, strict=True)
        ]
        if yesterday[0]:
            market.tell(*yesterday)
        yesterday = answers, day
        market.work()
    return right


PART = pytest.param((38_250, 1_500, 1_200), 0.03, id="part")
WHOLE = pytest.param((0, 2_000, 43_312), 0.05, id="whole", marks=pytest.mark.skipif(not SOAK, reason="ENGINE_SOAK=1"))


@pytest.mark.parametrize(("market", "better"), [PART, WHOLE], indirect=["market"])
def test_the_loop_heals(market: tuple[Market, list[Row]], better: float, notes: list[Note]) -> None:
    loop, stream = market
    right = replay(loop, stream)
    workspace, reader = loop.workspace, loop.workspace.reader

    releases = sorted(reader.releases("prices"), key=lambda release: release.version)
    first = model_in(workspace.artifacts.path(releases[0].artifact), workspace.root / "first")
    untouched = first.predict(pd.DataFrame([features(row) for row in stream]))
    same = sum(said == row["class"] for said, row in zip(untouched, stream, strict=True)) / len(stream)
    healed = sum(each for each, _ in right) / len(right)
    assert healed >= same + better, f"{healed:.3f}, untouched {same:.3f}: {[note.text for note in notes]}"

    due = reader.evaluations("prices", 200, due_only=True)
    assert due[-1].aftermath is Aftermath.RELEASED
    runs = {run.run_id: run for run in reader.runs("prices", 500)}
    retrains = [runs[each.run_id] for each in due if each.run_id]
    assert {run.status for run in retrains} <= {RunStatus.DONE, RunStatus.STOPPED}
    assert all(
        "accuracy" in str(run.provenance["because"]) or "drift" in str(run.provenance["because"]) for run in retrains
    )
    promoted = [each for each in reader.rollouts("prices", 500) if each.phase is Phase.PROMOTED]
    assert promoted
    assert {version for _, version in right} >= {1, promoted[-1].candidate}
    began = BEGIN + timedelta(seconds=HALF_HOUR * len(stream))
    for moment in (due[-1].first_at, promoted[-1].changed_at, retrains[-1].started_at):
        assert utc(BEGIN) < moment <= utc(began), "everything is dated in the time that was given"
    served = [(each.version, each.role) for each in service(workspace, "prices")]
    assert {(1, "stable"), (promoted[-1].candidate, "candidate"), (promoted[-1].candidate, "stable")} <= {*served}
    happened = {event.event for event in reader.audit()}
    assert happened >= {"retrain due", "release registered", "rollout started", "rollout changed", "retrain settled"}
    assert not verify_audit(workspace).problems
