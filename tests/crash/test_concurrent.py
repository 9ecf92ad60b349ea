"""Many processes apply one project at once: every step runs once, and whoever is not first says who is."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable

from harness import ENGINE, Life

Lives = Callable[..., Life]
Same = Callable[..., None]

PROCESSES = 50 if os.environ.get("ENGINE_SOAK") == "1" else 8


def start_all(one: Life, *arguments: str) -> list[subprocess.Popen[str]]:
    variables = {
        **os.environ,
        "COUNT": str(one.count_file),
        "PAUSE": "3",
        "ENGINE_FAILPOINTS_SEEN": str(one.seen_file),
        "OMP_NUM_THREADS": "1",
    }
    return [
        subprocess.Popen(
            [*ENGINE, "apply", "--auto-approve", *arguments],
            cwd=one.root,
            env=variables,
            text=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        for _ in range(PROCESSES)
    ]


def test_one_applies_and_the_others_name_it(life: Lives, same: Same) -> None:
    one = life("new")
    started = start_all(one, "--target", "split")
    printed = [process.communicate(timeout=900)[0] for process in started]
    codes = [process.returncode for process in started]
    odd = [text for code, text in zip(codes, printed, strict=True) if code not in (0, 4)]
    assert not odd, "\n".join(odd)
    assert 0 in codes
    for code, text in zip(codes, printed, strict=True):
        assert "database is locked" not in text
        assert "Traceback" not in text
        if code == 4:
            assert re.search(r"tiny is locked by \S+, pid \d+ since ", text), text
            assert "--lock-timeout" in text
    assert one.processes_left() == []
    one.check()
    assert one.executions() == 1
    same(one, "split")


def test_those_who_wait_find_it_done(life: Lives, same: Same) -> None:
    one = life("validated")
    started = start_all(one, "--lock-timeout", "5m")
    printed = [process.communicate(timeout=900)[0] for process in started]
    assert [process.returncode for process in started] == [0] * PROCESSES, printed
    assert one.processes_left() == []
    one.check()
    same(one)
