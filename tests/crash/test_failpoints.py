"""Killed at every named place, in the order in which a run comes to them; and errors wherever something is written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from harness import Life

from engine.app.workspace import Workspace
from engine.core.records import Event, EventKind
from engine.failpoints import FAILPOINTS

Lives = Callable[..., Life]
Same = Callable[..., None]

SIGKILL = -9
BEFORE_THE_REGISTRY = [
    "state.create",
    "state.commit",
    "state.committed",
    "run.start",
    "run.started",
    "step.intent",
    "step.begin",
    "artifacts.write",
    "artifacts.sync",
    "artifacts.rename",
    "artifacts.renamed",
    "step.done",
    "worker.begin",
    "worker.result",
    "step.worked",
    "step.stored",
    "run.finish",
    "lease.release",
]
IN_THE_REGISTRY = [
    "register.search",
    "register.run",
    "register.model",
    "register.version",
    "register.created",
    "register.alias",
]
AFTER_THE_REGISTRY = ["deploy.record", "deploy.mirror"]
WRITES = ["state.create", "state.commit", "artifacts.write", "artifacts.sync", "artifacts.rename", "artifacts.renamed"]
IN_ROLLOUTS = ["state.rollout", "rollout.record", "rollout.mirror"]  # see test_rollouts.py
PLANS = ["plan.save"]
IN_MONITORING = ["monitor.add", "monitor.update"]  # see test_monitor.py, which fails if one is not come by
IN_RETRAINS = [
    "trigger.evaluated",
    "trigger.recorded",
    "trigger.taken_up",
    "trigger.settle",
]  # test_controller_kills.py
IN_ALERTS = ["alert.recorded", "alert.send", "alert.sent"]  # see test_alerting_passes.py, which fails likewise
POINTS_OF = {"enospc": WRITES, "eio": WRITES[1::2], "error": ["run.started", "step.worked"]}


def test_every_point_is_on_the_way_of_a_run_and_is_killed(projects: Path, rolling: Path, life: Lives) -> None:
    one = life("done")
    assert one.run("plan", "--out", "saved.plan").code == 0
    store = Workspace(one.root).store
    assert store.put(Event("one", "tiny", EventKind.MANUAL))
    store.close()
    assert one.run("controller", "--once").code == 0
    seen = {word for file in (projects / "seen", rolling / "seen", one.seen_file) for word in file.read_text().split()}
    assert seen == FAILPOINTS.keys() - {*IN_MONITORING, *IN_ALERTS}
    killed = [
        *BEFORE_THE_REGISTRY,
        *IN_THE_REGISTRY,
        *AFTER_THE_REGISTRY,
        *IN_ROLLOUTS,
        *PLANS,
        *IN_RETRAINS,
        *IN_MONITORING,
        *IN_ALERTS,
    ]
    assert sorted(killed) == sorted(FAILPOINTS)


@pytest.mark.parametrize("points", [BEFORE_THE_REGISTRY[0::3], BEFORE_THE_REGISTRY[1::3], BEFORE_THE_REGISTRY[2::3]])
def test_killed_before_anything_is_registered(life: Lives, same: Same, points: list[str]) -> None:
    one = life("new")
    for point in points:
        ended = one.apply(f"{point}=kill", "--target", "split")
        if point.startswith("worker."):  # a process of its own: the run lives to tell
            assert ended.code == 1
            assert "was killed by SIGKILL" in ended.text
            assert "engine apply" in ended.text
        else:
            assert ended.code == SIGKILL, ended.text
        assert point in one.seen_file.read_text().split()
    same(one, "split")
    assert one.executions() == 1


def test_killed_in_the_registry(life: Lives, same: Same) -> None:
    one = life("validated")
    for point in IN_THE_REGISTRY:
        ended = one.apply(f"{point}=kill")
        assert ended.code == 1, ended.text
        assert "was ended by SIGKILL" in ended.text
        assert "Apply again" in ended.text
    same(one)


def test_killed_around_the_registry(life: Lives, same: Same) -> None:
    one = life("validated")
    for point in ["step.stored", *AFTER_THE_REGISTRY, "run.finish"]:
        assert one.apply(f"{point}=kill").code == SIGKILL
    same(one)


@pytest.mark.parametrize("action", ["enospc", "eio", "error"])
def test_errors_at_writes(life: Lives, same: Same, action: str) -> None:
    one = life("new")
    for point in POINTS_OF[action]:
        ended = one.apply(f"{point}={action}", "--target", "split")
        assert ended.code == 1, ended.text
        assert "Traceback" not in ended.text
        if action == "error":
            assert "this is a defect in engine" in ended.text
        else:
            words = "no space left" if action == "enospc" else "input/output error"
            assert words in ended.text.lower()
            assert "defect" not in ended.text
    same(one, "split")
    assert one.executions() == 1


def test_a_plan_that_could_not_be_written_is_not_there(life: Lives) -> None:
    one = life("done")
    assert one.run("plan", "--out", "saved.plan", failpoints="plan.save=kill").code == SIGKILL
    assert not (one.root / "saved.plan").exists()
    assert one.run("plan", "--out", "saved.plan", failpoints="plan.save=enospc").code == 1
    assert not (one.root / "saved.plan").exists()
    assert one.run("plan", "--out", "saved.plan").code == 0
    assert one.run("apply", "saved.plan").code == 0
