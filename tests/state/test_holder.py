"""Who counts as dead: only a process of this host, boot and process namespace that has ended."""

from __future__ import annotations

import re
import subprocess
import sys

from engine.adapters.state.holder import actor, is_dead, pretty, this_process

SAY_HOLDER = "from engine.adapters.state.holder import this_process; print(this_process(), flush=True)"


def test_the_running_process_lives() -> None:
    assert not is_dead(this_process())


def test_another_process_lives_until_it_ends() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", SAY_HOLDER + "; input()"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        holder = child.stdout.readline().strip()
        assert not is_dead(holder)
        child.kill()
        zombie = child.poll() is None or is_dead(holder)
        assert zombie
        child.wait()
    assert is_dead(holder)


def test_a_process_that_reuses_the_number_is_another() -> None:
    assert is_dead(re.sub(r"start \d+", "start 1", this_process()))


def test_nobody_else_is_called_dead() -> None:
    mine = re.sub(r"pid \d+", "pid 4194304", this_process())
    assert is_dead(mine)
    assert not is_dead(re.sub(r"@\S+", "@elsewhere", mine))
    assert not is_dead(re.sub(r"boot \S+", "boot another.1", mine))
    assert not is_dead("somebody")


def test_messages_name_the_person_and_the_process() -> None:
    holder = "ana@box pid 1234 start 987654 boot 1-2.3"
    assert pretty(holder) == "ana@box, pid 1234"
    assert actor(holder) == "ana@box"
    assert pretty("ci job 7") == actor("ci job 7") == "ci job 7"
