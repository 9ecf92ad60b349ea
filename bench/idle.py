"""What `engine controller` costs while there is nothing to do: processor time a minute, and memory, by how many models.

Every model is up to date and has a weekly schedule. Measured once each model has been looked at: from then on the
controller only watches.
"""

from __future__ import annotations

import os
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.measure import environment
from bench.options import Options
from bench.projects import ENGINE, Template, names, seed_project, spec_text
from bench.report import Report

COUNTS = (1, 100, 1000)
SECONDS, SECONDS_FULL = 20.0, 60.0
MOST_CORE, MOST_MIB = 5.0, 300.0  # percent of a processor, MiB
_SETTLED_WITHIN = 900.0
_TICK = os.sysconf("SC_CLK_TCK")


def run(options: Options) -> Report:
    """All of it."""
    report = Report("idle")
    seconds = SECONDS_FULL if options.full else SECONDS
    for count in COUNTS:
        with TemporaryDirectory(dir=options.home) as folder:
            project = seed_project(Path(folder, "project"), {n: spec_text(n) for n in names(count)}, Template({}))
            with controller(project) as pid:
                began = time.monotonic()
                settle(project, count)
                took = time.monotonic() - began
                used, mib = watch(pid, seconds)
        last = count == COUNTS[-1]
        report.compare(f"{count:,} models: processor", used * 100, MOST_CORE if last else None, "% of one")
        report.compare(f"{count:,} models: processor a minute", used * 60, unit="s")
        report.compare(f"{count:,} models: memory", mib, MOST_MIB if last else None, "MiB")
        report.compare(f"{count:,} models: until each was looked at", took, unit="s")
    report.notes.append(f"Over {seconds:.0f} s, the controller and all that it started; memory is proportional (PSS).")
    return report


@contextmanager
def controller(project: Path) -> Iterator[int]:
    """A controller on a project; its process id."""
    with (project / "controller.log").open("wb") as log:
        process = subprocess.Popen([ENGINE, "controller"], cwd=project, env=environment({}), stdout=log, stderr=log)
    try:
        yield process.pid
        if process.poll() is not None:
            raise RuntimeError((project / "controller.log").read_text())
    finally:
        process.terminate()
        process.wait(120)


def settle(project: Path, count: int) -> None:
    """Wait until every model's triggers were asked."""
    end = time.monotonic() + _SETTLED_WITHIN
    while evaluated(project) < count:
        if time.monotonic() > end:
            raise RuntimeError(f"only {evaluated(project)} of {count} models were looked at")
        time.sleep(0.25)
    time.sleep(2.0)  # what the last pass leaves to be done


def evaluated(project: Path) -> int:
    """Models of which an evaluation is recorded."""
    with closing(sqlite3.connect(f"file:{project}/.engine/state.db?mode=ro", uri=True)) as connection:
        found: int = connection.execute("SELECT count(DISTINCT model) FROM evaluations").fetchone()[0]
        return found


def watch(pid: int, seconds: float) -> tuple[float, float]:
    """The share of a processor that a process and its children take, and the most memory, MiB, of all together."""
    before, began, most = processor(pid), time.monotonic(), 0.0
    while (passed := time.monotonic() - began) < seconds:
        most = max(most, sum(memory(each) for each in family(pid)))
        time.sleep(min(2.0, max(0.0, seconds - passed)))
    return (processor(pid) - before) / (time.monotonic() - began), most


def family(pid: int) -> list[int]:
    """A process and all below it."""
    found = [pid]
    for child in Path(f"/proc/{pid}/task").glob("*/children"):
        for each in child.read_text().split():
            found += family(int(each))
    return found


def processor(pid: int) -> float:
    """Seconds of processor time of a process and its children, also those that ended."""
    total = 0.0
    for each in family(pid):
        fields = Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()
        total += sum(map(int, fields[11:15])) / _TICK
    return total


def memory(pid: int) -> float:
    """Proportional memory of a process, MiB."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024
