"""Tallies in their file, and what a slot counts."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import fields, replace
from pathlib import Path

import pytest

from engine.core.evidence import BINS, Tally
from engine.serving.counting import Keys, Part, Slot, Totals
from engine.serving.evidence_file import EvidenceFile
from engine.serving.routing import hash_of, place_of
from engine.serving.wire import Replies, Reply, Requests, reply_frame, request_frame

IDENTITY = ("model", "generation", "version", "role", "weight", "at")
FIRST = Tally(
    "churn", 3, 2, "candidate", 0.1, "2026-11-23T10:00:01.000000Z", requests=5, keys=4, errors=1, error_keys=1,
    timed=3, latency_sum=0.5, log_sum=-9.5, scores=(2, *[0] * (BINS - 2), 3), score_sum=3.1,
)  # fmt: skip


def sums(tallies: Sequence[Tally]) -> dict[str, float]:
    """What all tallies add up to."""
    names = [field.name for field in fields(Tally) if field.name not in (*IDENTITY, "scores")]
    return {
        **{name: sum(getattr(tally, name) for tally in tallies) for name in names},
        **{f"score {n}": sum(tally.scores[n] for tally in tallies) for n in range(BINS)},
    }


def test_tallies_are_read_as_they_were_added(tmp_path: Path) -> None:
    file = EvidenceFile(tmp_path / "evidence.db")
    assert file.tallies("churn") == []
    other = replace(FIRST, model="other")
    later = replace(FIRST, generation=4, weight=0.5)
    file.add([FIRST, other])
    file.add([later])
    file.add([])
    assert file.tallies("churn") == [FIRST, later]
    assert file.tallies("churn", since_generation=4) == [later]
    assert file.tallies("other") == [other]


def test_a_file_of_before_is_read_with_a_latency_of_each_success(tmp_path: Path) -> None:
    file = EvidenceFile(tmp_path / "evidence.db")
    file.add([FIRST])
    with closing(sqlite3.connect(tmp_path / "evidence.db")) as connection, connection:
        connection.execute("ALTER TABLE tallies DROP COLUMN timed")
    assert file.tallies("churn") == [replace(FIRST, timed=4)]
    file.add([FIRST])
    assert sum(tally.timed for tally in file.tallies("churn")) == 4 + FIRST.timed


def test_condensing_keeps_the_sums_at_each_weight(tmp_path: Path) -> None:
    file = EvidenceFile(tmp_path / "evidence.db")
    moments = [f"2026-11-23T10:0{minute}:{second:02}.000000Z" for minute in range(3) for second in range(0, 60, 7)]
    file.add([replace(FIRST, at=at, weight=weight) for at in moments for weight in (0.1, 0.5)])
    before = file.tallies("churn")
    file.condense("2026-11-23T10:02:00.000000Z")
    after = file.tallies("churn")
    assert len(before) == 54
    assert len(after) == 2 * (1 + 1 + 9)
    for weight in (0.1, 0.5):
        then, now = ([tally for tally in each if tally.weight == weight] for each in (before, after))
        assert sums(now) == pytest.approx(sums(then))


def test_a_key_counts_once_and_errs_once() -> None:
    slot = Slot(Part("churn", 1, 2, "candidate", 0.5), None, Totals(), Keys())  # type: ignore[arg-type]
    reply = Reply(1, 200, 2, 1.1, 0.7, bytes([3, 19]), b"")
    for key in (7, 7, 8, None):
        slot.succeeded(reply, 0.5, key)
    for key in (7, 7, 9, None):
        slot.failed(key, fell_back=True)
    tally = slot.take("2026-11-23T10:00:01.000000Z")
    assert tally is not None
    assert (tally.requests, tally.keys, tally.errors, tally.error_keys, tally.fallbacks) == (8, 5, 4, 3, 4)
    assert (tally.timed, tally.latency_sum, tally.latency_squares) == (3, 1.5, 0.75)
    assert (tally.scores[3], sum(tally.scores)) == (3, 3), "a request's first row stands for it"
    assert tally.score_sum == pytest.approx(3 * 0.55)
    assert slot.take("2026-11-23T10:00:02.000000Z") is None
    assert (slot.totals.requests, slot.totals.predictions, slot.totals.errors) == (8, 8, 4)


def test_places_are_spread_evenly_and_drawn_anew_for_each_candidate() -> None:
    places = [place_of(hash_of("churn", 2, str(number).encode())) for number in range(20_000)]
    for number in range(10):
        share = sum(number / 10 <= place < (number + 1) / 10 for place in places) / len(places)
        assert abs(share - 0.1) < 4 * (0.09 / len(places)) ** 0.5
    anew = [place_of(hash_of("churn", 3, str(number).encode())) for number in range(20_000)]
    both = sum(one < 0.1 and other < 0.1 for one, other in zip(places, anew, strict=True)) / len(places)
    assert abs(both - 0.01) < 4 * (0.0099 / len(places)) ** 0.5
    assert place_of(2**64 - 1) < 1


@pytest.mark.parametrize("size", [1, 3, 1000])
def test_frames_survive_any_cut(size: int) -> None:
    bodies = [b"", b"{}", b"x" * 500]
    sent = b"".join(request_frame(number, number, 2, body) for number, body in enumerate(bodies))
    reader = Requests()
    got = [each for at in range(0, len(sent), size) for each in reader.feed(sent[at : at + size])]
    assert [(each.job, each.form, each.head, each.body) for each in got] == [(n, n, 2, b) for n, b in enumerate(bodies)]
    replies = [Reply(number, 200, 3, 0.5, 0.25, bytes([number]), body) for number, body in enumerate(bodies)]
    sent = b"".join(map(reply_frame, replies))
    back = Replies()
    assert [each for at in range(0, len(sent), size) for each in back.feed(sent[at : at + size])] == replies
