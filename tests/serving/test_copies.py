"""Copies of requests: answered by a shadow, compared with the answers that were given, and seen by no client."""

from __future__ import annotations

import json

import pytest
from served import MISCHIEF, ROW, TWIN, Gateway, set_endpoint

from engine.core.evidence import Tally
from engine.serving.copies import is_same
from engine.serving.wire import MLFLOW, OPEN_INFERENCE, OWN

RAISE, DIE = -1, -4  # what the mischievous release does when it is asked with so many months


def shadowed(gateway: Gateway, version: int) -> list[Tally]:
    """Tallies of the shadow."""
    return [tally for tally in gateway.tallies() if (tally.role, tally.version) == ("shadow", version)]


def test_a_twin_predicts_the_same_for_every_copy(live: Gateway) -> None:
    set_endpoint(live.folder, candidate=TWIN, weight=0.0, mirror=1.0)
    live.effective(stable=1, mirror=1.0)
    client = live.client()
    for _ in range(30):
        assert client.predict().json["version"] == 1
    assert client.predict({"months": "x"}).status == 422
    live.wait(lambda: sum(tally.labelled for tally in shadowed(live, TWIN)) == 30)
    mine = shadowed(live, TWIN)
    assert sum(tally.correct for tally in mine) == 30
    assert (sum(tally.requests for tally in mine), sum(tally.errors for tally in mine)) == (30, 0)
    assert all(tally.weight == 0.0 for tally in mine)
    live.wait(lambda: sum(tally.requests for tally in live.tallies() if tally.role == "stable") == 30)


def test_what_a_shadow_fails_or_predicts_otherwise_is_counted_and_no_client_sees_it(live: Gateway) -> None:
    set_endpoint(live.folder, candidate=MISCHIEF, weight=0.0, mirror=1.0)
    live.effective(stable=1, mirror=1.0)
    client = live.client()
    answers = [client.predict({**ROW, "months": months}) for months in (3, 40, 3, 40, RAISE, DIE)]
    assert {(answer.status, answer.json["version"]) for answer in answers} == {(200, 1)}
    alike = sum(answer.json["predictions"] == ["yes"] for answer in answers[:4])
    live.wait(lambda: sum(tally.requests for tally in shadowed(live, MISCHIEF)) == 6)
    mine = shadowed(live, MISCHIEF)
    assert (sum(tally.labelled for tally in mine), sum(tally.correct for tally in mine)) == (4, alike)
    assert sum(tally.errors for tally in mine) == 2


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (["yes", "no"], ["yes", "no"], True),
        (["yes", "no"], ["yes", "yes"], False),
        (["a]"], ["a],"], False),
        ([100.0, 0.0], [104.0, 0.0], True),
        ([100.0], [106.0], False),
        ([0.0], [0.1], False),
        ([-1.0], [1.0], False),
        ([1.0], [1.0, 1.0], False),
    ],
)
def test_when_two_answers_are_the_same(one: list[object], other: list[object], same: bool) -> None:
    def own(found: list[object]) -> bytes:
        return f'"predictions":{json.dumps(found, separators=(",", ":"))},"probabilities":[{len(found)}]'.encode()

    def tensors(found: list[object]) -> bytes:
        data = json.dumps(found, separators=(",", ":"))
        name = json.dumps('"data":[')
        return f'"id":{name},"outputs":[{{"name":"predict","data":{data}}},{{"data":[{id(found)}]}}]'.encode()

    assert is_same(OWN, own(one), own(other)) is same
    assert is_same(MLFLOW, own(one), own(other)) is same
    assert is_same(OPEN_INFERENCE, tensors(one), tensors(other)) is same
