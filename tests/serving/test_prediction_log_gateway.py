"""The prediction log and feedback through a real gateway, and the commands that read and add to it."""

from __future__ import annotations

import csv
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from served import MISCHIEF, PREDICT, ROW, TWIN, Gateway, set_endpoint

from engine.cli.entry import run
from engine.serving.prediction_log_files import read_log
from engine.serving.prediction_log_format import Prediction

FEEDBACK = "/v1/models/churn/feedback"


def logged(gateway: Gateway, first: str, last: str) -> list[Prediction]:
    """The log from one id to another, once both are in it."""
    found: list[Prediction] = []

    def are_there() -> bool:
        found[:] = [row for row in read_log(gateway.serving, "churn") if first <= row.id <= last]
        return bool(found) and (found[0].id, found[-1].id) == (first, last)

    gateway.wait(are_there)
    return found


def test_answers_of_every_form_are_logged_under_their_ids(live: Gateway) -> None:
    client = live.client()
    before = live.metric("prediction_log_records_total", model="churn")
    rows = [{**ROW, "months": months} for months in (1, 2, 3)]
    own = client.ask("POST", PREDICT, {"instances": rows})
    ids = own.json["ids"]
    assert own.headers["x-prediction-id"] == ids[0]
    scoring = client.ask("POST", "/invocations", {"dataframe_records": rows[:1]})
    inputs = [
        {"name": name, "shape": [1], "datatype": "BYTES" if name == "plan" else "FP64", "data": [value]}
        for name, value in rows[1].items()
    ]
    tensors = client.ask("POST", "/v2/models/churn/infer", {"inputs": inputs})
    ids += [answer.headers["x-prediction-id"] for answer in (scoring, tensors)]
    assert client.ask("POST", PREDICT, {"instances": [{"months": "x"}]}).status == 422
    forced = client.predict(headers={"x-engine-release": "1"}).json
    found = logged(live, ids[0], forced["ids"][0])
    assert [row.id for row in found] == [*ids, *forced["ids"]]
    assert sorted(ids) == ids
    assert [row.features for row in found] == [*rows, rows[0], rows[1], ROW]
    assert [row.prediction for row in found[:3]] == own.json["predictions"]
    assert all(row.score in each.values() for row, each in zip(found, own.json["probabilities"], strict=False))
    assert found[3].score == pytest.approx(found[0].score)
    assert found[4].score == found[1].score
    assert [row.way for row in found] == ["assigned", *["repeated"] * (len(rows) - 1), "assigned", "assigned", "forced"]
    assert {(row.version, row.role, row.error) for row in found} == {(1, "stable", None)}
    assert all(0 < row.latency < 20 for row in found)
    live.wait(lambda: live.metric("prediction_log_records_total", model="churn") >= before + 4)
    assert live.metric("prediction_log_dropped_total") == live.metric("prediction_log_lost_total") == 0


def test_feedback_counts_for_whoever_predicted(serve: Callable[..., Gateway]) -> None:
    live = serve().ready()  # one of its own: what the metrics count is of a gateway's whole life
    set_endpoint(live.folder, candidate=TWIN, weight=0.5)
    live.effective(stable=1, candidate=TWIN, weight=0.5)
    client = live.client()
    answers = [client.predict(headers={"x-routing-key": str(n)}).json for n in range(30)]
    other = {"no": "yes", "yes": "no"}
    labels = [
        {"id": answer["ids"][0], "actual": (other if answer["role"] == "candidate" else {}).get(said, said)}
        for answer in answers
        for said in answer["predictions"]
    ]
    told = client.ask("POST", FEEDBACK, {"feedback": labels})  # at once, before they are written
    assert (told.status, told.json["accepted"], told.json["unknown"]) == (200, 30, [])
    again = client.ask("POST", FEEDBACK, labels[0])
    assert (again.json["accepted"], again.json["already"]) == (0, 1)
    against = client.ask("POST", FEEDBACK, {"id": labels[0]["id"], "actual": other[labels[0]["actual"]]})
    assert against.json["conflicting"] == [labels[0]]
    assert client.ask("POST", FEEDBACK, {"id": "f" * 32, "actual": "yes"}).json["unknown"] == ["f" * 32]
    assert client.ask("POST", FEEDBACK, {"id": 3}).status == 422
    candidates = sum(answer["role"] == "candidate" for answer in answers)
    assert 0 < candidates < 30
    counted = [tally for tally in live.tallies() if tally.labelled]
    assert sorted((t.role, t.version, t.weight, t.labelled, t.correct, t.loss_sum) for t in counted) == [
        ("candidate", TWIN, 0.5, candidates, 0, candidates),
        ("stable", 1, 0.5, 30 - candidates, 30 - candidates, 0),
    ]
    assert live.metric("model_accuracy", role="stable") == 1
    assert live.metric("model_accuracy", role="candidate") == 0
    assert all(row.key is not None for row in logged(live, labels[0]["id"], labels[-1]["id"]))


def test_what_a_candidate_fails_is_logged_with_its_error(live: Gateway) -> None:
    set_endpoint(live.folder, candidate=MISCHIEF, weight=0.99)
    live.effective(stable=1, candidate=MISCHIEF, weight=0.99)
    client = live.client()
    keys = {client.predict(headers={"x-routing-key": str(n)}).json["role"]: str(n) for n in range(9)}
    first = client.predict(headers={"x-engine-release": "1"}).json["ids"][0]
    answer = client.predict({**ROW, "months": -1}, {"x-routing-key": keys["candidate"]}).json
    _, failed, fallback = logged(live, first, answer["ids"][0])
    assert (failed.version, failed.role, failed.way, failed.prediction) == (MISCHIEF, "candidate", "assigned", None)
    assert failed.error
    assert "secret" not in failed.error
    assert (fallback.version, fallback.way, [fallback.id]) == (1, "fallback", answer["ids"])
    assert client.ask("POST", FEEDBACK, {"id": fallback.id, "actual": "yes"}).json["accepted"] == 1
    assert not any(tally.labelled for tally in live.tallies())  # it was not the stable release's request


def test_a_killed_gateway_loses_what_was_not_flushed_and_the_next_one_compacts(
    serve: Callable[..., Gateway], project: Path
) -> None:
    gateway = serve().ready()
    client = gateway.client()
    ids = [client.predict().json["ids"][0] for _ in range(20)]
    logged(gateway, ids[0], ids[-1])
    late = [client.predict().json["ids"][0] for _ in range(5)]
    os.kill(gateway.process.pid, signal.SIGKILL)
    assert gateway.process.wait() == -signal.SIGKILL
    gateway.process.returncode = 0  # as meant
    found = [row.id for row in read_log(gateway.serving, "churn")]
    assert found == [*ids, *late][: len(found)]
    assert len(found) >= 20
    second = serve().ready()
    more = [second.client().predict().json["ids"][0] for _ in range(3)]
    folder = gateway.serving / "log" / "churn"
    second.wait(lambda: [path.suffix for path in sorted(folder.glob("0*"))] == [".parquet", ".log"])
    assert second.client().ask("POST", FEEDBACK, {"id": found[0], "actual": "no"}).json["accepted"] == 1
    assert second.stop() == 0  # a gateway that drains writes all
    assert [row.id for row in read_log(gateway.serving, "churn")] == [*found, *more]


# ── commands ─────────────────────────────────────────────────────────────────────────────────────────────────


def engine(capsys: pytest.CaptureFixture[str], folder: Path, *arguments: str) -> tuple[int, str, str]:
    """What a command gives."""
    code = run(["--chdir", str(folder), *arguments])
    return (code, *capsys.readouterr())


def test_logs_and_feedback_import_work_beside_the_gateway(live: Gateway, capsys: pytest.CaptureFixture[str]) -> None:
    folder = live.folder
    ids = [live.client().predict({**ROW, "months": n}).json["ids"][0] for n in range(4)]
    logged(live, ids[0], ids[-1])
    code, _, error = engine(capsys, folder, "logs", "chrun")
    assert code == 1
    assert "no prediction of chrun has been logged\nLogged so far: churn.\n" in error
    file = folder / "labels.csv"
    file.write_text(f"prediction,churned,note\n{ids[0]},yes,\n{ids[1]},no,late\n{'0' * 32},no,\n{ids[2]},perhaps,\n")
    columns = ("--id-column", "prediction", "--actual-column", "churned")
    code, out, error = engine(capsys, folder, "feedback", "import", "churn", str(file), *columns)
    assert (code, out) == (1, "2 labels accepted, 0 known already.\n")
    assert f"{'0' * 32}: no prediction with this id" in error
    assert f'{ids[2]}: "perhaps" is not a class of this model (no, yes)' in error
    assert live.client().ask("POST", FEEDBACK, {"id": ids[0], "actual": "yes"}).json["already"] == 1
    assert sum(tally.labelled for tally in live.tallies()) == 2
    code, out, _ = engine(capsys, folder, "logs", "churn", "--since", "1h", "--limit", "3", "--json")
    document: dict[str, Any] = json.loads(out)
    assert [row["id"] for row in document["predictions"]] == ids[:0:-1]
    assert [row["actual"] for row in document["predictions"]] == [None, None, "no"]
    code, out, _ = engine(capsys, folder, "logs", "churn")
    assert all(part in out for part in (*ids, "churn@1", "stable", "months=3"))
    table = folder / "out.csv"
    code, out, _ = engine(capsys, folder, "logs", "churn", "--csv", str(table))
    assert (code, out.startswith(f"{table}: ")) == (0, True)
    with table.open(newline="") as opened:
        rows = list(csv.DictReader(opened))[-4:]
    assert [(row["id"], row["actual"]) for row in rows] == list(zip(ids, ["yes", "no", "", ""], strict=True))
    assert json.loads(rows[3]["features"]) == {**ROW, "months": 3}
    assert engine(capsys, folder, "logs", "churn", "--until", "1h")[1] == "No predictions in that time.\n"
    assert "is no duration or moment" in engine(capsys, folder, "logs", "churn", "--since", "noon")[2]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"id,label\na,yes\n", "labels.csv:1:1: no column actual. The columns are: id, label."),
        (b"", "labels.csv:1:1: no column id and actual. The columns are: none."),
        (b"id,actual\na,\n,\nb,yes,no\nc,yes\n", "labels.csv:2:1: actual is empty"),
        (b"id,actual\na,\n,\nb,yes,no\nc,yes\n", "labels.csv:3:1: id and actual is empty"),
        (b"id,actual\na,\n,\nb,yes,no\nc,yes\n", "labels.csv:4:1: there are more values than columns"),
        (b"id,actual\n\xff,yes\n", "labels.csv: the file is not UTF-8"),
        (b'id,actual\n"a"b,yes\n', "labels.csv:2:1: this is no CSV"),
    ],
)
def test_a_file_with_bad_rows_is_refused_as_a_whole(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes, told: str
) -> None:
    (tmp_path / "engine.yaml").write_text("")
    (tmp_path / ".engine" / "serving" / "log" / "churn").mkdir(parents=True)
    file = tmp_path / "labels.csv"
    file.write_bytes(content)
    code, _, error = engine(capsys, tmp_path, "feedback", "import", "churn", str(file))
    assert code == 1
    assert told in error
