"""Validating in forked children: the same documents and mistakes as in place, whatever happens to a child.

Each test works in a process of its own with one thread; pytest's may have more, and then nothing forks.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest

from engine.app import documents
from engine.app.children import Children
from engine.app.documents import load_specs, read_texts, spec_keys
from engine.app.planning import find_specs
from engine.app.workspace import open_workspace
from engine.errors import SpecError

ITEMS = ("a", "b", "c", "d", "e")
SPECS = 120  # enough for children
SPEC = """\
model_spec:
  name: {name}
  data: {{target: churned}}
  retrain_trigger: {{type: scheduled, cron: "0 0 * * 0"}}
  validation: {{metric: accuracy, threshold: {threshold}}}
  deployment: {{strategy: canary, initial_traffic: 10%}}
"""


@pytest.fixture(scope="module")
def alone() -> Iterator[Callable[..., Any]]:
    """Call a function of this module in a process with a single thread."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        yield lambda function, *arguments: pool.submit(function, *arguments).result(timeout=60)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Many specs, none of which was validated before."""
    (tmp_path / "specs").mkdir()
    (tmp_path / "engine.yaml").write_text("")
    for number in range(SPECS):
        write_spec(tmp_path, number)
    return tmp_path


def write_spec(project: Path, number: int, threshold: object = 0.8) -> None:
    (project / f"specs/m{number:03}.yaml").write_text(SPEC.format(name=f"m{number:03}", threshold=threshold))


def no_child_is_left() -> bool:
    """Whether this process has no child, running or dead."""
    try:
        os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        return True
    return False


# ── children ─────────────────────────────────────────────────────────────────────────────────────────────────


def who_answers(share: Sequence[str]) -> dict[str, int]:
    return dict.fromkeys(share, os.getpid())


def killed_at_c(share: Sequence[str]) -> dict[str, int]:
    if "c" in share:
        os.kill(os.getpid(), signal.SIGKILL)
    return who_answers(share)


def failing_at_c(share: Sequence[str]) -> dict[str, int]:
    print("said by a child", flush=False)
    if "c" in share:
        raise RuntimeError("c")
    return who_answers(share)


def never_ending(_share: Sequence[str]) -> dict[str, int]:
    while True:
        signal.pause()


def ask(work: Callable[[Sequence[str]], dict[str, int]], most: int) -> tuple[dict[str, int], int, bool]:
    with Children(work, ITEMS, most) as children:
        answers = children.answers()
    return answers, os.getpid(), no_child_is_left()


def beside_a_thread(function: Callable[[], Any]) -> Any:
    done = threading.Event()
    thread = threading.Thread(target=done.wait)
    thread.start()
    try:
        return function()
    finally:
        done.set()
        thread.join()


def ask_beside_a_thread() -> dict[str, int]:
    return beside_a_thread(lambda: ask(who_answers, 2))[0]


def leave_early() -> bool:
    with Children(never_ending, ITEMS, 2):
        pass
    return no_child_is_left()


def test_other_processes_answer(alone: Callable[..., Any]) -> None:
    answers, asker, ended = alone(ask, who_answers, 2)
    assert set(answers) == set(ITEMS)
    assert asker not in answers.values()
    assert len(set(answers.values())) == min(2, len(os.sched_getaffinity(0)))
    assert ended


@pytest.mark.parametrize("work", [killed_at_c, failing_at_c])
def test_a_child_that_dies_gives_no_answers(work: Any, alone: Callable[..., Any], capfd: Any) -> None:
    answers, _, ended = alone(ask, work, 1)
    assert (answers, ended) == ({}, True)
    if len(os.sched_getaffinity(0)) > 1:
        assert set(alone(ask, work, 2)[0]) == {"b", "d"}, "the other child's answers count"
    assert capfd.readouterr() == ("", "")


def test_beside_a_thread_nothing_forks(alone: Callable[..., Any]) -> None:
    assert alone(ask_beside_a_thread) == {}


def test_what_is_not_waited_for_is_ended(alone: Callable[..., Any]) -> None:
    assert alone(leave_early)


# ── validating ───────────────────────────────────────────────────────────────────────────────────────────────


def killed(*_: Any) -> dict[str, Any]:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError


def load(project: Path) -> tuple[list[Any], list[str], bool]:
    """Load all specs: the documents, the mistakes, and whether this process itself has validated any."""
    in_place = documents._load
    here: list[str] = []

    def noting(workspace: Any, file: str, *rest: Any) -> Any:
        here.append(file)
        return in_place(workspace, file, *rest)

    documents._load = noting  # type: ignore[assignment]
    workspace = open_workspace(project)
    texts = read_texts(workspace, find_specs(workspace, []))
    try:
        specs = load_specs(workspace, texts, spec_keys(workspace, texts, {}), {})
        return [(spec.file, spec.digest, spec.document) for spec in specs], [], bool(here)
    except SpecError as error:
        return [], [str(diagnostic) for diagnostic in error.diagnostics], bool(here)
    finally:
        documents._load = in_place


def load_beside_a_thread(project: Path) -> tuple[list[Any], list[str], bool]:
    return beside_a_thread(lambda: load(project))


def load_with_dying_children(project: Path) -> tuple[list[Any], list[str], bool]:
    whole = documents._validate_share
    documents._validate_share = killed
    try:
        return load(project)
    finally:
        documents._validate_share = whole


def forget(project: Path) -> None:
    for cached in (project / ".engine").glob("cache.db*"):
        cached.unlink()


def test_children_give_what_validating_in_place_gives(project: Path, alone: Callable[..., Any]) -> None:
    specs, mistakes, here = alone(load, project)
    assert (len(specs), mistakes, here) == (SPECS, [], False)
    assert alone(load, project) == (specs, [], False), "known documents are kept"
    for other_way in (load_beside_a_thread, load_with_dying_children):
        forget(project)
        assert alone(other_way, project) == (specs, [], True)


def test_mistakes_of_several_files_are_complete_and_in_order(project: Path, alone: Callable[..., Any]) -> None:
    wrong = (101, 7, 8, 60)
    for number in wrong:
        write_spec(project, number, threshold="0.8, treshold: 1, avrage: macro")
    specs, mistakes, here = alone(load, project)
    assert (specs, here) == ([], False)
    assert [mistake.partition(":")[0] for mistake in mistakes] == [
        f"specs/m{number:03}.yaml" for number in sorted(wrong) for _ in ("treshold", "avrage")
    ]
    forget(project)
    assert alone(load_beside_a_thread, project) == ([], mistakes, True)


def test_one_new_text_among_many(project: Path, alone: Callable[..., Any]) -> None:
    alone(load, project)
    write_spec(project, 60, threshold=0.9)
    specs, _, here = alone(load, project)
    assert not here
    assert specs[60][2]["validation"][0]["threshold"] == 0.9


def test_a_plan_of_many_new_specs_validates_none_itself(project: Path) -> None:
    (project / "data").mkdir()
    for number in range(SPECS):
        (project / f"data/m{number:03}.csv").write_text("months,churned\n1,yes\n2,no\n")
    source = (
        "import sys; from engine.cli.entry import run; code = run(['plan']);"
        "print(code, 'pydantic' in sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", source], cwd=project, capture_output=True, text=True, check=True)
    assert done.stderr == "0 False\n"
    assert "m119" in done.stdout
