"""Whoever carries a rollout on is killed at every named place; the next one ends it as if nothing had happened."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from harness import Life, carry_on, copy_of, gateway

from engine.adapters.state.reader import SqliteStateReader
from engine.core.rollout import Phase, Rollout

SIGKILL = -9

# The first commit of a pass that changes something is that of its lease.
KILLED = ["rollout.record", "state.rollout", "state.commit@2", "state.committed@2", "lease.release", "rollout.mirror"]


@pytest.fixture
def life(rolling: Path, tmp_path: Path) -> Callable[[str], Life]:
    """Makes a copy of a project."""
    return lambda stage: copy_of(Life(rolling / stage), tmp_path / stage)


def armed(point: str) -> str:
    name, at, number = point.partition("@")
    return f"{name}=kill{at}{number}"


def delivered(life: Life) -> dict[str, Any]:
    """All of a delivery that may not depend on who carried it on."""
    reader = SqliteStateReader(life.home / "state.db")
    events = [event.details["rollout"] for event in reader.audit() if event.event.startswith("rollout")]
    found = {
        "rollouts": [(r.number, r.candidate, r.base, r.phase, r.stage, r.reason) for r in reader.rollouts("tiny")],
        "events": [(event["number"], event["phase"]) for event in events],  # type: ignore[index, call-overload]
        "unmirrored": dict(reader.unmirrored()),
    }
    reader.close()
    outcome = life.outcome()
    return {**found, "endpoint": outcome["endpoint"], "registry": outcome["registry"]["aliases"]}


def rollout_of(life: Life) -> Rollout:
    reader = SqliteStateReader(life.home / "state.db")
    found = reader.rollouts("tiny", 1)[0]
    reader.close()
    return found


@pytest.mark.slow
def test_killed_while_a_rollout_is_carried_on(life: Callable[[str], Life]) -> None:
    one = life("candidate")
    with gateway(one):
        for point in KILLED[:3]:  # nothing is recorded yet, again and again
            ended = one.run("reconcile", failpoints=armed(point))
            assert ended.code == SIGKILL, ended.text
            assert rollout_of(one).began_at is None
        assert one.run("reconcile", failpoints=armed(KILLED[3])).code == SIGKILL
        begun = rollout_of(one)
        assert begun.began_at is not None
        for point in KILLED[:3]:
            assert one.run("reconcile", failpoints=armed(point)).code == SIGKILL
            assert rollout_of(one) == begun
        assert one.run("reconcile", failpoints=armed("lease.release")).code == SIGKILL
        assert rollout_of(one).phase is Phase.PROMOTED
        assert one.run("reconcile", failpoints=armed("rollout.mirror")).code == SIGKILL
    carry_on(one)
    assert delivered(one) == delivered(life("promoted"))


@pytest.mark.slow
def test_killed_while_another_deployment_supersedes_it(life: Callable[[str], Life]) -> None:
    one = life("candidate")
    one.edit("{strategy: blue_green}", "{strategy: canary, initial_traffic: 20%, steps: {times: 2}}")
    before = rollout_of(one)
    for point in ("deploy.record", "state.rollout", "state.rollout@2"):
        assert one.apply(armed(point)).code == SIGKILL
        assert rollout_of(one) == before
    assert one.apply(armed("deploy.mirror")).code == SIGKILL
    began = rollout_of(one)
    assert (began.number, began.candidate, began.phase) == (2, 2, Phase.PROGRESSING)
    one.settle()
    assert rollout_of(one) == began, "it is not begun again"
    assert delivered(one)["events"] == [(1, "progressing"), (1, "superseded"), (2, "progressing")]


@pytest.mark.slow
def test_killed_while_rolling_back(life: Callable[[str], Life]) -> None:
    one = life("promoted")
    before = delivered(one)["endpoint"]
    assert one.run("rollback", "tiny", failpoints="rollout.record=kill").code == SIGKILL
    assert delivered(one)["endpoint"] == before
    assert one.run("rollback", "tiny", failpoints="rollout.mirror=kill").code == SIGKILL
    assert delivered(one)["endpoint"]["stable"] == 1
    assert one.run("rollback", "tiny", "--to", "1").code == 1, "it is done"
    carry_on(one)
    found = delivered(one)
    assert (found["unmirrored"], found["registry"]) == ({}, [("tiny", "champion", 1)])
