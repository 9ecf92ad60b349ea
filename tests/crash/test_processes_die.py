"""Processes killed around a run: each gives a clear error and a clean resume, and none outlives its engine."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

import pytest
from harness import Life, children_of, find_process

Lives = Callable[..., Life]
Same = Callable[..., None]

TEMPLATE = "engine.adapters.executors.template"
MLFLOW = "engine.adapters.registries.mlflow_server"
TO_OWN = ("--target", "own")


@pytest.mark.cold
@pytest.mark.parametrize("whole_group", [False, True], ids=["engine", "process group"])
def test_killed_engine_takes_everything_with_it(life: Lives, same: Same, whole_group: bool) -> None:
    """Template, step, the user's command and what that started, and MLflow."""
    one = life("new")
    process = one.start("apply", "--auto-approve", pause=600)
    one.wait_until("executed", process)
    template = find_process(children_of(process.pid), TEMPLATE)
    [step] = children_of(template)
    [command] = children_of(step)
    grandchildren = [pid for pid in one.processes() if pid not in (process.pid, template, step, command)]
    assert len(grandchildren) >= 2  # MLflow, and the sleeper of the user's command
    if whole_group:
        os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()
    assert one.wait(process).code == -signal.SIGKILL
    same(one, "own")
    assert one.executions() == 2  # the one that was killed, and one more


def test_killed_template(life: Lives, same: Same) -> None:
    one = life("new")
    process = one.start("apply", "--auto-approve", *TO_OWN, pause=600)
    one.wait_until("executed", process)
    os.kill(find_process(children_of(process.pid), TEMPLATE), signal.SIGKILL)
    ended = one.wait(process)
    assert ended.code == 1
    assert "the process that starts the steps is gone" in ended.text
    assert "engine apply" in ended.text
    same(one, "own")


@pytest.mark.parametrize("victim", ["step", "command"])
def test_killed_step(life: Lives, same: Same, victim: str) -> None:
    one = life("new")
    process = one.start("apply", "--auto-approve", *TO_OWN, pause=600)
    one.wait_until("executed", process)
    [step] = children_of(find_process(children_of(process.pid), TEMPLATE))
    [command] = children_of(step)
    os.kill(step if victim == "step" else command, signal.SIGKILL)
    ended = one.wait(process)
    assert ended.code == 1
    words = "own: its process was killed by SIGKILL" if victim == "step" else "own: python was killed by signal 9"
    assert words in ended.text
    same(one, "own")


def test_killed_while_mlflow_registers(life: Lives, same: Same) -> None:
    """The engine dies while MLflow is at work for it: between the version and its being read back."""
    one = life("validated")
    process = one.start("apply", "--auto-approve", failpoints="register.created=sleep:600")
    one.wait_until("register.created", process)
    process.kill()
    assert one.wait(process).code == -signal.SIGKILL
    process = one.start("apply", "--auto-approve", failpoints="register.alias=sleep:600")
    one.wait_until("register.alias", process)
    os.kill(find_process(children_of(process.pid), MLFLOW), signal.SIGKILL)
    ended = one.wait(process)
    assert ended.code == 1
    assert "was ended by SIGKILL" in ended.text
    same(one)
