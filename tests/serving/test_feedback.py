"""Actual values: taken once, refused when they contradict, counted for the release that predicted."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from logged import CANDIDATE, NUMBERS, STABLE, Writer, asked, files, read, said

from engine.core.evidence import Tally
from engine.serving.evidence_file import EvidenceFile
from engine.serving.feedback import Desk, Label, Taken, labels_of, take
from engine.serving.prediction_log_files import tidy
from engine.serving.prediction_log_format import ASSIGNED, FELL_BACK, FORCED, REPEATED, id_text
from engine.serving.refusal import Refusal
from engine.serving.settings import LogSettings
from engine.serving.wire import OWN, Reply, Request


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[Writer]:
    """A log below the test's folder."""
    found = Writer(tmp_path)
    yield found
    found.close()


def tell(folder: Path, *labels: tuple[str, Any]) -> Taken:
    """At a desk of its own."""
    desk = Desk(folder, "churn")
    taken = desk.take([Label(*label) for label in labels])
    desk.close()
    return taken


def counted(folder: Path) -> dict[tuple[int, str, float], tuple[float, ...]]:
    """Labels, correct ones, loss and its squares, by release, role and weight; of a log's whole life."""
    found: dict[tuple[int, str, float], tuple[float, ...]] = {}
    for tally in tallies(folder):
        key = (tally.version, tally.role, tally.weight)
        values = (tally.labelled, tally.correct, tally.loss_sum, tally.loss_squares)
        found[key] = tuple(map(sum, zip(found.get(key, (0, 0, 0, 0)), values, strict=True)))
    return found


def tallies(folder: Path) -> Sequence[Tally]:
    """All evidence of the model."""
    return EvidenceFile(folder / "evidence.db").tallies("churn")


def test_actual_values_are_joined_and_counted_where_they_belong(writer: Writer, tmp_path: Path) -> None:
    right, wrong = writer.add(), writer.add(reply=said("no"))
    candidate = writer.add(place=CANDIDATE)
    later = writer.add(place=CANDIDATE._replace(weight=0.5, generation=8))
    silent = writer.add()
    writer.flush()
    taken = tell(tmp_path, (right, "yes"), (wrong, "yes"), (candidate, "no"), (later, "yes"))
    assert taken.to_json() == {"accepted": 4, "already": 0, "unknown": [], "conflicting": [], "invalid": []}
    assert taken.right == {(3, "stable"): (2, 1), (4, "candidate"): (2, 1)}
    assert counted(tmp_path) == {
        (3, "stable", 0.25): (2, 1, 1, 1),
        (4, "candidate", 0.25): (1, 0, 1, 1),
        (4, "candidate", 0.5): (1, 1, 0, 0),
    }
    assert {tally.generation for tally in tallies(tmp_path)} == {7, 8}
    assert sum(tally.requests for tally in tallies(tmp_path)) == 0
    actuals = {row.id: row.actual for row in read(tmp_path)}
    assert actuals == {right: "yes", wrong: "yes", candidate: "no", later: "yes", silent: None}
    assert all((row.labelled_at is None) == (row.id == silent) for row in read(tmp_path))


def test_the_same_again_changes_nothing_and_another_value_is_refused(writer: Writer, tmp_path: Path) -> None:
    one, two = writer.fill(2)
    assert tell(tmp_path, (one, "yes"), (one, "yes"), (two, "no"), (two, "yes")).to_json() == {
        "accepted": 2, "already": 1, "unknown": [], "conflicting": [{"id": two, "actual": "no"}], "invalid": [],
    }  # fmt: skip
    assert tell(tmp_path, (one, "yes"), (one, "no"), (two, "no")).to_json() == {
        "accepted": 0, "already": 2, "unknown": [], "conflicting": [{"id": one, "actual": "yes"}], "invalid": [],
    }  # fmt: skip
    assert counted(tmp_path) == {(3, "stable", 0.25): (2, 1, 1, 1)}
    assert [row.actual for row in read(tmp_path)] == ["yes", "no"]


def test_what_is_not_in_the_log_or_no_class_is_told(writer: Writer, tmp_path: Path) -> None:
    (known,) = writer.fill(1)
    failed = writer.add(reply=Reply(0, 500, 0, 0.0, 0.0, b"", b'{"error":"failed"}'))
    strangers = [failed, id_text(int(known, 16) + 5), "f" * 32, "0" * 32, "no id", ""]
    taken = tell(tmp_path, *((id_, "yes") for id_ in strangers), (known, "maybe"))
    assert (taken.accepted, taken.unknown) == (0, strangers)
    assert taken.invalid == [{"id": known, "problem": '"maybe" is not a class of this model (no, yes)'}]
    assert counted(tmp_path) == {}


@pytest.mark.parametrize("way", [FORCED, FELL_BACK, REPEATED])
def test_what_is_no_evidence_is_joined_and_leaves_no_evidence(writer: Writer, tmp_path: Path, way: int) -> None:
    forced, idle = writer.add(way=way), writer.add(place=STABLE._replace(role="idle"), way=way)
    writer.flush()
    taken = tell(tmp_path, (forced, "yes"), (idle, "no"))
    assert taken.accepted == 2
    assert taken.right == {(3, "stable"): (1, 1), (3, "idle"): (1, 0)}
    assert counted(tmp_path) == {}
    assert [row.actual for row in read(tmp_path)] == ["yes", "no"]


@pytest.mark.parametrize("compacted", [False, True])
def test_the_first_row_of_a_request_counts_for_all(writer: Writer, tmp_path: Path, compacted: bool) -> None:
    rows = [{"months": months, "plan": "a"} for months in (1, 2, 3)]
    text = b'"predictions":["yes","no","no"],"probabilities":[%s]' % b",".join([b'{"no":0.5,"yes":0.5}'] * 3)
    several = Request(0, OWN, 0, json.dumps({"instances": rows}).encode())
    first = writer.add(asked=several, reply=Reply(0, 200, 3, 1.5, 0.75, b"\x0a" * 3, text))
    ids = [id_text(int(first, 16) + row) for row in range(3)]
    writer.flush()
    if compacted:
        writer.close()
        tidy(tmp_path, "churn", LogSettings())
    assert [row.way for row in read(tmp_path)] == ["assigned", "repeated", "repeated"]
    taken = tell(tmp_path, *((id_, "yes") for id_ in ids))
    assert (taken.accepted, taken.right) == (3, {(3, "stable"): (3, 1)})
    assert counted(tmp_path) == {(3, "stable", 0.25): (1, 1, 0, 0)}


def test_numbers_lose_their_squared_distance(writer: Writer, tmp_path: Path) -> None:
    reply = Reply(0, 200, 1, 12.5, 156.25, b"\x01", b'"predictions":[12.5]')
    ids = [writer.add(signature=NUMBERS, asked=asked(), reply=reply) for _ in range(6)]
    writer.flush()
    taken = tell(tmp_path, *zip(ids, [12.5, 10, "14.5", True, "many", float("inf")], strict=True))
    assert (taken.accepted, taken.right) == (3, {})
    assert [each["problem"] for each in taken.invalid] == ["a finite number is expected"] * 3
    assert counted(tmp_path) == {(3, "stable", 0.25): (3, 1, 2.5**2 + 4, 2.5**4 + 16)}


@pytest.mark.parametrize(
    ("classes", "given", "kept"),
    [(("0", "1"), 1, "1"), (("0", "1"), 1.0, "1"), (("0", "1"), "1.0", "1"), (("0.5", "1"), 0.5, "0.5"),
     (("False", "True"), True, "True"), (("False", "True"), "false", "False"), (("no", "yes"), "yes", "yes")],
)  # fmt: skip
def test_a_class_may_be_given_as_a_number_or_truth(
    writer: Writer, tmp_path: Path, classes: tuple[str, ...], given: Any, kept: str
) -> None:
    signature = replace(NUMBERS, classes=classes)
    reply = Reply(0, 200, 1, 0.0, 0.0, b"", json.dumps({"predictions": [kept]})[1:-1].encode())
    id_ = writer.add(signature=signature, reply=reply)
    writer.flush()
    assert tell(tmp_path, (id_, given)).right == {(3, "stable"): (1, 1)}
    assert read(tmp_path)[0].actual == kept


def test_late_labels_are_taken_as_long_as_the_prediction_is_kept(writer: Writer, tmp_path: Path) -> None:
    ids = writer.fill(3)
    desk = Desk(tmp_path, "churn")
    assert desk.take([Label(ids[0], "yes")]).accepted == 1
    writer.close()
    tidy(tmp_path, "churn", LogSettings())
    assert desk.take([Label(ids[0], "yes"), Label(ids[1], "yes")]).to_json()["accepted"] == 1
    os.utime(files(tmp_path)[0], (0, 0))
    tidy(tmp_path, "churn", LogSettings())
    assert desk.take([Label(ids[2], "yes")]).unknown == [ids[2]]
    desk.close()
    with closing(sqlite3.connect(tmp_path / "evidence.db")) as connection:
        assert connection.execute("SELECT count(*) FROM actuals").fetchone() == (0,)  # they went with it
    assert counted(tmp_path) == {(3, "stable", 0.25): (2, 2, 0, 0)}  # what was counted stays


def test_many_labels_at_once(writer: Writer, tmp_path: Path) -> None:
    ids = writer.fill(1500)
    assert tell(tmp_path, *((id_, "yes") for id_ in ids)).accepted == 1500
    assert tell(tmp_path, *((id_, "yes") for id_ in ids)).already == 1500
    assert counted(tmp_path) == {(3, "stable", 0.25): (1500, 1500, 0, 0)}


_TELL = """
import sys
from pathlib import Path
from engine.serving.feedback import Desk, Label
desk = Desk(Path(sys.argv[1]), "churn")
for id_ in sys.stdin.read().split():
    desk.take([Label(id_, "yes")])
    print(id_, flush=True)
"""


def test_a_value_and_its_count_are_stored_together_whoever_dies(writer: Writer, tmp_path: Path) -> None:
    ids = writer.fill(3000)
    argv = [sys.executable, "-c", _TELL, str(tmp_path)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(" ".join(ids))
        process.stdin.close()
        told = [process.stdout.readline() for _ in range(20)]
        process.send_signal(signal.SIGKILL)
        told += process.stdout.readlines()
    kept = [row.id for row in read(tmp_path) if row.actual is not None]
    assert len(told) <= len(kept) < 3000
    assert counted(tmp_path) == {(3, "stable", 0.25): (len(kept), len(kept), 0, 0)}
    assert tell(tmp_path, *((id_, "yes") for id_ in ids)).already == len(kept)
    assert counted(tmp_path) == {(3, "stable", 0.25): (3000, 3000, 0, 0)}


def test_a_body_is_one_label_or_a_list(writer: Writer, tmp_path: Path) -> None:
    one, two = writer.fill(2)
    desk = Desk(tmp_path, "churn")
    single = take(desk, json.dumps({"id": one, "actual": "yes"}).encode())
    several = take(desk, json.dumps({"feedback": [{"id": two, "actual": "no"}]}).encode())
    desk.close()
    assert [each[0] for each in (single, several)] == [200, 200]
    assert single[1]["accepted"] == several[1]["accepted"] == 1


@pytest.mark.parametrize(
    ("body", "status", "message"),
    [
        ("", 400, "the body is not JSON"),
        ('{"id": "a", "actual": NaN}', 400, "NaN is not JSON"),
        ("[]", 422, "row 0: an object with id and actual is expected"),
        ('{"feedback": []}', 422, "feedback must be a list of objects"),
        ('{"feedback": {}}', 422, "feedback must be a list of objects"),
        ('{"actual": 1, "extra": 2}', 422, 'row 0: id is missing; row 0: "extra" is not known'),
        ('{"feedback": [{"id": "a", "actual": 1}, {"id": 3, "actual": null}, 4]}', 422,
         "row 1: id must be a string; row 1: actual must be a label or a number; row 2: an object"),
    ],
)  # fmt: skip
def test_a_body_that_cannot_be_read_is_refused_with_every_mistake(body: str, status: int, message: str) -> None:
    with pytest.raises(Refusal) as refused:
        labels_of(body.encode())
    assert refused.value.status == status
    assert message in refused.value.message


def test_a_young_prediction_is_waited_for_once(writer: Writer, tmp_path: Path) -> None:
    id_ = writer.add(way=ASSIGNED)
    body = json.dumps({"id": id_, "actual": "yes"}).encode()
    desk = Desk(tmp_path, "churn")
    assert take(desk, body, last=False)[0] == 0
    writer.flush()
    assert take(desk, body, last=False)[1]["accepted"] == 1
    old = json.dumps({"id": "0" * 31 + "1", "actual": "yes"}).encode()
    assert take(desk, old, last=False)[1]["unknown"] == ["0" * 31 + "1"]
    desk.close()
