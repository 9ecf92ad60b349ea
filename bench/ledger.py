"""What it costs to record a finished step and the intent of the next, durably, beside a bare SQLite commit.

Both in turns in one process, on the disk that the project lies on.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.measure import SCRIPTS, environment
from bench.options import Options
from bench.report import Report

STEPS = 1000
WARM_UP = 20


def run(options: Options, steps: int = STEPS) -> Report:
    """All of it."""
    report = Report("ledger")
    with TemporaryDirectory(dir=options.home) as folder:
        found = measure(Path(folder), steps + WARM_UP)
    for name, seconds in found.items():
        taken = sorted(second * 1000 for second in seconds[WARM_UP:])
        middle, most = statistics.median(taken), taken[min(len(taken) - 1, int(len(taken) * 0.99))]
        what = {"ledger": "a step's record", "bare": "a bare SQLite commit, WAL and FULL"}[name]
        report.compare(f"{what}: median", middle, 0.5 if name == "ledger" else None, "ms")
        report.compare(f"{what}: 99 of 100 within", most, unit="ms")
    ours, bare = (statistics.median(found[name][WARM_UP:]) for name in ("ledger", "bare"))
    report.compare("a step's record / a bare commit", ours / bare)
    report.compare("a step's record beyond a bare commit", (ours - bare) * 1000, unit="ms")
    report.notes.append(f"{steps} steps, each in turn with a bare commit of a row as large.")
    return report


def measure(folder: Path, steps: int) -> dict[str, list[float]]:
    """Seconds of each record, and of each bare commit."""
    argv = [sys.executable, str(SCRIPTS / "ledger.py"), str(folder), str(steps)]
    done = subprocess.run(argv, env=environment({}), check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, list[float]] = json.loads(done.stdout)
    return found
