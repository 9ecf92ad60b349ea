"""Steps in processes of their own: what they may see, what comes of them, and what ends them."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine.adapters.executors.processes import ProcessExecutor, finished_before
from engine.errors import StepCancelledError, StepCrashedError, StepError, StepMemoryError, StepTimeoutError
from engine.ports import StepOutcome, StepRequest

Requests = Callable[..., StepRequest]


def quiet(done: int, total: int, text: str) -> None:
    """Nobody watches."""


def test_runs_a_step_in_its_folder(warm: ProcessExecutor, request_of: Requests, tmp_path: Path) -> None:
    (tmp_path / "in.txt").write_text("hello")
    (tmp_path / "code.py").write_text("")
    told: list[Any] = []
    request = request_of(
        "say",
        inputs={"text": tmp_path / "in.txt"},
        outputs={"text": "out.txt"},
        links={"lib/code.py": tmp_path / "code.py"},
    )
    outcome = warm.run(request, lambda *news: told.append(news))
    assert (request.workdir / "out" / "out.txt").read_text() == "HELLO"
    assert told == [(1, 2, "half")]
    assert sorted(request.log.read_text().splitlines()) == ["from a child", "to stderr", "to stdout"]
    assert outcome.summary == "said"
    assert outcome.facts["folder"] == str(request.workdir / "scratch")
    assert (request.workdir / "scratch" / "lib" / "code.py").exists()
    assert outcome.facts["usage"]["peak_bytes"] > 1e6
    assert oct(request.log.stat().st_mode)[-3:] == "600"


def test_environment_is_scrubbed(warm: ProcessExecutor, request_of: Requests) -> None:
    seen = warm.run(request_of("say"), quiet).facts["environment"]
    assert "PATH" in seen
    assert "A_PASSWORD" in os.environ
    assert "A_PASSWORD" not in seen


def test_secrets_are_masked_however_they_are_cut(warm: ProcessExecutor, request_of: Requests) -> None:
    request = request_of("tell_secret", secrets={"${env:A}": "s3cret s3cret-longer"})
    warm.run(request, quiet)
    assert request.log.read_text() == "before *** after\n"
    assert "s3cret" not in (request.workdir / "request.json").read_text()


@pytest.mark.parametrize(
    ("how", "kind", "words"),
    [
        ("known", StepError, "step: no such column"),
        ("unknown", StepError, "step: ValueError: a bad value"),
        ("signal", StepCrashedError, "was killed by SIGSEGV"),
        ("exit", StepCrashedError, "exited with code 7"),
        ("sys.exit", StepError, r"it called exit\(3\)"),
        ("memory", StepMemoryError, "ran out of memory"),
    ],
)
def test_failures_are_told(
    warm: ProcessExecutor, request_of: Requests, how: str, kind: type[StepError], words: str
) -> None:
    request = request_of("fail", settings={"how": how}, memory=300 << 20 if how == "memory" else None)
    with pytest.raises(kind, match=words) as raised:
        warm.run(request, quiet)
    assert raised.value.log == str(request.log)
    assert "\n" not in raised.value.message
    assert finished_before(request.workdir) is None
    if how == "unknown":
        assert "Traceback" in request.log.read_text()


def test_an_unwritten_output_is_a_failure(warm: ProcessExecutor, request_of: Requests) -> None:
    with pytest.raises(StepError, match="did not write its output table"):
        warm.run(request_of("forget_output", outputs={"table": "t.csv"}), quiet)


def test_a_result_survives_whoever_waited_for_it(warm: ProcessExecutor, request_of: Requests) -> None:
    request = request_of("say", outputs={"text": "out.txt"})
    outcome = warm.run(request, quiet)
    assert finished_before(request.workdir) == outcome
    (request.workdir / "result.json").write_text('{"facts": {')
    assert finished_before(request.workdir) is None


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def wait_for_pids(file: Path, count: int) -> list[int]:
    for _ in range(2000):
        pids = [int(line) for line in file.read_text().split()] if file.exists() else []
        if len(pids) == count:
            return pids
        time.sleep(0.01)
    raise AssertionError("the processes did not start")


def assert_gone(pids: list[int]) -> None:
    for _ in range(1000):
        if not any(map(is_alive, pids)):
            return
        time.sleep(0.01)
    raise AssertionError([pid for pid in pids if is_alive(pid)])


def test_timeout_ends_grandchildren_too(warm: ProcessExecutor, request_of: Requests, tmp_path: Path) -> None:
    request = request_of("sleep_with_grandchildren", settings={"pids": str(tmp_path / "pids")}, timeout=1.5)
    with pytest.raises(StepTimeoutError, match=r"was stopped after 1\.5 s"):
        warm.run(request, quiet)
    assert_gone([int(pid) for pid in (tmp_path / "pids").read_text().split()])


@pytest.mark.parametrize("end", ["cancel", "close", "template"])
def test_nothing_outlives_its_end(request_of: Requests, tmp_path: Path, monkeypatch_module: Any, end: str) -> None:
    executor = ProcessExecutor(jobs=2, preload=())
    caught: list[BaseException] = []
    request = request_of("sleep_with_grandchildren", settings={"pids": str(tmp_path / "pids")})

    def run() -> None:
        try:
            executor.run(request, quiet)
        except StepError as error:
            caught.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    pids = wait_for_pids(tmp_path / "pids", 2)
    if end == "cancel":
        executor.cancel()
    elif end == "close":
        executor.close()
    else:
        assert executor._template is not None
        os.kill(executor._template._process.pid, signal.SIGKILL)
    thread.join(30)
    assert_gone(pids)
    [error] = caught
    if end == "cancel":
        assert isinstance(error, StepCancelledError)
        with pytest.raises(StepCancelledError, match="before it began"):
            executor.run(request_of("say", "later"), quiet)
    else:
        assert isinstance(error, StepCrashedError)
        assert executor.run(request_of("say", "later"), quiet).summary == "said"  # with a new template
    executor.close()


def test_a_step_is_cancelled_while_its_process_is_made(request_of: Requests, monkeypatch_module: Any) -> None:
    for i in range(10):
        with ProcessExecutor(jobs=1, preload=()) as executor:
            executor.prefetch()
            assert executor._template is not None
            known = executor._template.pid_of

            def cancelled_meanwhile(job: int, known: Callable[[int], int] = known, one: Any = executor) -> int:
                pid = known(job)
                one.cancel()
                return pid

            executor._template.pid_of = cancelled_meanwhile  # type: ignore[method-assign]
            started = time.monotonic()
            with pytest.raises(StepCancelledError, match="was cancelled"):
                executor.run(request_of("sleep", f"step{i}"), quiet)
            assert time.monotonic() - started < 30


def test_steps_run_side_by_side(warm: ProcessExecutor, request_of: Requests) -> None:
    outcomes: dict[str, StepOutcome] = {}
    threads = [
        threading.Thread(target=lambda n=f"s{i}": outcomes.update({n: warm.run(request_of("say", n), quiet)}))  # type: ignore[misc]
        for i in range(12)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert {outcome.summary for outcome in outcomes.values()} == {"said"}
    assert len({outcome.facts["folder"] for outcome in outcomes.values()}) == 12


def test_the_template_ends_quietly_when_its_engine_is_killed_before_it_read_all(tmp_path: Path) -> None:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    template = subprocess.Popen(
        [sys.executable, "-m", "engine.adapters.executors.template", str(theirs.fileno())],
        pass_fds=[theirs.fileno()],
        stderr=subprocess.PIPE,
    )
    theirs.close()
    with (tmp_path / "log").open("w") as log:
        request = {"job": 1, "workdir": str(tmp_path), "secrets": {}, "environment": {}}
        socket.send_fds(ours, [json.dumps(request).encode()], [log.fileno(), log.fileno()])
    select.select([ours], [], [], 30)
    ours.close()  # with a report in it
    assert (template.communicate(timeout=30)[1], template.returncode) == (b"", 0)
