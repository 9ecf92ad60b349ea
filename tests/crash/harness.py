"""A tiny real project whose `engine apply` is killed and started again, through the command line.

A `Life` is one copy of the project. `apply` runs the command to its end (or to its death), and after each one checks
what must hold at any time: the state is sound, the audit chain holds, nothing that is done was done again. `settle`
applies until it is done and compares the whole with a life that nothing happened to.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from engine.adapters.artifacts.local import LocalArtifacts
from engine.adapters.state.reader import SqliteStateReader
from engine.core.audit import verify_chain
from engine.core.canonical import utc
from engine.core.records import RunStatus

ENGINE = [sys.executable, "-m", "engine"]
GONE_WITHIN = 60.0  # seconds after its engine's death within which every process must be gone
SPEC = """\
model_spec:
  name: tiny
  data: {source: data/tiny.csv, target: target, table: own.table}
  steps:
    - name: own
      run: python own.py ${inputs.data} ${outputs.table}
      inputs: {data: data}
      outputs: {table: table.csv}
      environment: {COUNT: "${env:COUNT}", PAUSE: "${env:PAUSE}"}
  training: {estimator: sklearn.linear_model.LogisticRegression}
  validation: {metric: f1_score, threshold: 0.5}
  deployment: {strategy: recreate}
"""
OWN_STEP = """\
import os, shutil, subprocess, sys, time
with open(os.environ["COUNT"], "a") as file:
    file.write("executed\\n")
if float(os.environ["PAUSE"]):
    subprocess.run([sys.executable, "-c", "import os, time; time.sleep(float(os.environ['PAUSE']))"])
shutil.copyfile(sys.argv[1], sys.argv[2])
"""


@dataclass(frozen=True)
class Ended:
    """How a command ended: negative codes are signals. `text` is everything that it printed."""

    code: int
    text: str


class Life:
    """One copy of the project, its whole life long."""

    def __init__(self, root: Path, aside: Path | None = None) -> None:
        self.root = root
        aside = aside or root.with_name(f"{root.name}-aside")  # for files of the test's own
        aside.mkdir(exist_ok=True)
        self.home = root / ".engine"
        self.count_file = aside / "count"
        self.seen_file = aside / "seen"  # its path marks every process of this life
        self.printed_file = aside / "printed"
        self._done: dict[tuple[str, str], int] = {}
        self._executions = 0

    # ── commands ──

    def start(
        self, *arguments: str, failpoints: str = "", pause: float = 0.0, **environment: str
    ) -> subprocess.Popen[bytes]:
        """Start a command in a process group of its own."""
        variables = {
            **os.environ,
            "COUNT": str(self.count_file),
            "PAUSE": str(pause),
            "ENGINE_FAILPOINTS": failpoints,
            "ENGINE_FAILPOINTS_SEEN": str(self.seen_file),
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
            **environment,
        }
        with self.printed_file.open("wb") as printed:
            return subprocess.Popen(
                [*ENGINE, *arguments],
                cwd=self.root,
                env=variables,
                stdin=subprocess.DEVNULL,
                stdout=printed,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def wait(self, process: subprocess.Popen[bytes]) -> Ended:
        """Wait for the command and for all that it started, then check what must hold at any time."""
        code = process.wait(timeout=600)
        assert self.processes_left() == []
        self.check()
        return Ended(code, self.printed_file.read_text(errors="replace"))

    def run(self, *arguments: str, **options: Any) -> Ended:
        return self.wait(self.start(*arguments, **options))

    def apply(self, failpoints: str = "", *arguments: str, **options: Any) -> Ended:
        return self.run("apply", "--auto-approve", *arguments, failpoints=failpoints, **options)

    def edit(self, old: str, new: str) -> None:
        """Replace a text of the spec that must be there."""
        spec = self.root / "specs" / "tiny.yaml"
        text = spec.read_text()
        assert old in text
        spec.write_text(text.replace(old, new))

    def wait_until(self, what: str, process: subprocess.Popen[bytes], seconds: float = 300.0) -> None:
        """Wait until a failpoint has been hit, or the user's step was executed (`executed`)."""
        file = self.count_file if what == "executed" else self.seen_file
        self._wait(lambda: file.exists() and what in file.read_text().split(), what, process, seconds)

    def wait_until_printed(self, text: str, process: subprocess.Popen[bytes], seconds: float = 300.0) -> None:
        """Wait until the command has printed a text."""
        self._wait(lambda: text in self.printed_file.read_text(errors="replace"), text, process, seconds)

    def _wait(self, over: Callable[[], bool], what: str, process: subprocess.Popen[bytes], seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while not over():
            assert process.poll() is None, self.printed_file.read_text()
            assert time.monotonic() < deadline, f"{what} did not happen"
            time.sleep(0.01)

    def processes(self) -> list[int]:
        """Every process of this life, by the mark in its environment, or a folder that it holds open."""
        mark, folder = f"ENGINE_FAILPOINTS_SEEN={self.seen_file}".encode(), str(self.seen_file.parent)
        return [pid for pid, environment in _environments() if mark in environment.split(b"\0") or _holds(pid, folder)]

    def processes_left(self) -> list[str]:
        """What still runs of this life after a while, as command lines; nothing may."""
        deadline = time.monotonic() + GONE_WITHIN
        while pids := self.processes():
            if time.monotonic() > deadline:
                return [f"{pid} {_command_line(pid)}" for pid in pids]
            time.sleep(0.02)
        return []

    # ── what must hold ──

    def check(self) -> None:
        """The state is sound, and what was done stays done."""
        path = self.home / "state.db"
        if not path.exists():
            return
        with closing(sqlite3.connect(path)) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            rows = connection.execute("SELECT step, fingerprint FROM steps WHERE status = 'done'").fetchall()
        reader = SqliteStateReader(path)
        assert verify_chain(reader.audit(), reader.audit_head()) == ()
        _check_delivery(reader)
        reader.close()
        done = Counter(rows)
        assert max(done.values(), default=1) == 1, f"done twice: {done}"
        assert self._done.keys() <= done.keys(), "a finished step was forgotten"
        was_done = any(step == "own" for step, _ in self._done)
        if was_done:
            assert self.executions() == self._executions, "the user's step was done, and executed again"
        self._done, self._executions = dict(done), self.executions()

    def executions(self) -> int:
        return len(self.count_file.read_text().split()) if self.count_file.exists() else 0

    def settle(self, target: str = "") -> None:
        """Apply once more, to the end or to a step: that must do it."""
        ended = self.apply("", *(["--target", target] if target else []))
        assert ended.code == 0, ended.text

    def outcome(self) -> dict[str, Any]:
        """All that matters of a settled life, without what differs from life to life."""
        reader = SqliteStateReader(self.home / "state.db")
        state = reader.models(["tiny"])["tiny"]
        releases = reader.releases("tiny")
        runs = reader.runs("tiny", 10_000)
        reader.close()
        store = LocalArtifacts(self.home / "artifacts")
        for result in state.latest.values():
            for artifact in result.outputs.values():
                store.path(artifact)  # verifies it
        assert RunStatus.RUNNING not in {run.status for run in runs}
        assert _files(self.home / "work") == [], "stray files of steps"
        return {
            "steps": {
                name: (
                    "" if name == "deploy" else result.fingerprint,
                    result.verdict,
                    {} if name == "register" else {role: a.digest for role, a in result.outputs.items()},
                )
                for name, result in state.latest.items()
            },
            "attempts": dict(state.attempts),
            "releases": [(r.version, r.registry_uri, r.artifact.digest, r.evidence["metrics"]) for r in releases],
            "endpoint": {**vars(state.endpoint), "deployed": ""} if state.endpoint else None,
            "registry": self._registry([release.key for release in releases]),
        }

    def registry_aliases(self) -> list[Any]:
        """What MLflow's aliases say: model, alias, version."""
        with closing(sqlite3.connect(self.home / "mlflow.db")) as connection:
            return connection.execute("SELECT name, alias, version FROM registered_model_aliases").fetchall()

    def _registry(self, keys: Sequence[str]) -> dict[str, Any]:
        with closing(sqlite3.connect(self.home / "mlflow.db")) as connection:

            def rows(sql: str) -> list[Any]:
                return connection.execute(sql).fetchall()

            tagged = {
                "tags": rows("SELECT value FROM tags WHERE key = 'engine.key'"),
                "models": rows("SELECT tag_value FROM logged_model_tags WHERE tag_key = 'engine.key'"),
                "versions": rows("SELECT value FROM model_version_tags WHERE key = 'engine.key'"),
            }
            assert all(sorted(values) == sorted((key,) for key in keys) for values in tagged.values()), tagged
            return {
                "runs": rows("SELECT status, lifecycle_stage FROM runs"),
                "models": rows("SELECT count(*) FROM logged_models"),
                "versions": rows("SELECT name, version, status FROM model_versions"),
                "aliases": self.registry_aliases(),
                "metrics": rows("SELECT key, value FROM metrics ORDER BY key"),
                "params": rows("SELECT key, value FROM params ORDER BY key"),
            }


# ── projects to start from ───────────────────────────────────────────────────────────────────────────────────


def make_project(root: Path) -> Life:
    """A new project: 400 rows, one step of the user's own, and a logistic regression."""
    chance = random.Random(0)
    (root / "specs").mkdir(parents=True)
    (root / "data").mkdir()
    (root / "specs" / "tiny.yaml").write_text(SPEC)
    (root / "own.py").write_text(OWN_STEP)
    lines = ["a,b,c,target"]
    for _ in range(400):
        a, b, c = chance.gauss(0, 1), chance.gauss(0, 1), chance.choice("xyz")
        lines.append(f"{a:.4f},{b:.4f},{c},{'yes' if a + b + chance.gauss(0, 0.3) > 0 else 'no'}")
    (root / "data" / "tiny.csv").write_text("\n".join(lines) + "\n")
    return Life(root)


def copy_of(life: Life, root: Path, aside: Path | None = None) -> Life:
    """The same project elsewhere, with how often its user's step was executed."""
    shutil.copytree(life.root, root, symlinks=True, ignore=shutil.ignore_patterns("cache.db*"))
    made = Life(root, aside)
    if life.count_file.exists():
        shutil.copyfile(life.count_file, made.count_file)
    made.check()
    return made


# ── rollouts ─────────────────────────────────────────────────────────────────────────────────────────────────


def _check_delivery(reader: SqliteStateReader) -> None:
    """Never a weight that was not approved: a candidate has one open rollout, and the share of its stage."""
    going_on = reader.open_rollouts()
    for name, state in reader.models().items():
        rollout, endpoint = going_on.get(name), state.endpoint
        if rollout is None:
            assert endpoint is None or (endpoint.candidate, endpoint.weight, endpoint.mirror) == (None, 0.0, 0.0)
        else:
            assert endpoint is not None
            stage = rollout.present
            assert (endpoint.candidate, endpoint.weight, endpoint.mirror) == (
                rollout.candidate,
                stage.weight,
                stage.mirror,
            )


@contextmanager
def gateway(life: Life) -> Iterator[None]:
    """A gateway's status, kept fresh: every release is ready and predicts what it did."""
    serving = life.home / "serving"
    serving.mkdir(exist_ok=True)
    over = threading.Event()

    def write() -> None:
        releases = {str(version): {"state": "ready", "reason": "", "golden": "same"} for version in range(1, 1_000)}
        while True:
            model = {"generation": 1_000, "releases": releases}
            document = {"format_version": 1, "at": utc(datetime.now(timezone.utc)), "models": {"tiny": model}}
            (serving / "draft").write_text(json.dumps(document))
            (serving / "draft").replace(serving / "status.json")
            if over.wait(0.5):
                return

    thread = threading.Thread(target=write)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def carry_on(life: Life) -> None:
    """Carry the rollout on to its end."""
    with gateway(life):
        for _ in range(10):
            ended = life.run("reconcile")
            assert ended.code == 0, ended.text
            if ended.text == "Nothing to carry on.\n":
                return
    raise AssertionError(f"it does not end: {ended.text}")


# ── processes ────────────────────────────────────────────────────────────────────────────────────────────────


def children_of(pid: int) -> list[int]:
    """The process ids of a process's children."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text(errors="replace").rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == pid:
            found.append(int(stat.parent.name))
    return found


def find_process(pids: Iterable[int], module: str) -> int:
    """The one process among `pids` that runs a module."""
    name = module.rpartition(".")[2]
    found = [
        pid for pid in pids if module in _command_line(pid) or Path(f"/proc/{pid}/comm").read_text().strip() == name
    ]
    assert len(found) == 1, [_command_line(pid) for pid in pids]
    return found[0]


def _environments() -> Iterator[tuple[int, bytes]]:
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            yield int(path.parent.name), path.read_bytes()
        except OSError:
            continue


def _holds(pid: int, folder: str) -> bool:
    if pid == os.getpid():
        return False
    with suppress(OSError):  # it has ended
        for link in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):
                if str(link.readlink()) == folder:
                    return True
    return False


def _command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def _files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()] if folder.exists() else []
