"""A drift check of a batch, beside alibi-detect, SciPy in a loop, Evidently and NannyML: numeric and mixed tables.

Each library runs in a process and an environment of its own (`python -m bench setup`), all on the same arrays: KS of
numbers, chi-squared of categories. What is timed is the check alone, by `scripts/drift.py`, with the data in memory and
the detector fitted to the reference; libraries take turns. Time on the processors is told too: it suffers less from
other load, and the engine's check uses two of them.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench import peers
from bench.measure import SCRIPTS, CommandError, environment
from bench.options import Options
from bench.report import Report

CHECK = SCRIPTS / "drift.py"
LEVELS = 12  # of a category
SLOW = ("evidently",)  # measured once


@dataclass(frozen=True)
class Case:
    """A table. `most`: what the check may take, as a share of each peer's time."""

    name: str
    rows: int
    columns: int
    categories: int
    most: dict[str, float]


CASES = (
    Case("100k × 50", 100_000, 50, 0, {"alibi": 0.15, "evidently": 0.015, "nannyml": 1.0}),
    Case("1M × 20", 1_000_000, 20, 0, {"alibi": 0.2, "evidently": 0.015, "nannyml": 1.0}),
    Case("100k × 50, 15 of them categories", 100_000, 50, 15, {}),
    Case("1M × 20, 6 of them categories", 1_000_000, 20, 6, {}),
)
MOST_MIB = 100


def run(options: Options, cases: tuple[Case, ...] = CASES) -> Report:
    """Every case; Evidently is asked for the numeric ones only, unless with --full."""
    report = Report("drift")
    for case in cases:
        folder = options.home / "projects" / f"drift-{case.rows}-{case.columns}-{case.categories}"
        size = write(case, folder)
        kinds = ["engine", "alibi", "scipy", "nannyml"]
        if options.full or not case.categories:
            kinds.append("evidently")
        pythons = {kind: python_of(options.home, kind) for kind in kinds}
        there = [kind for kind in kinds if pythons[kind] is not None]
        report.notes += [f"{kind}: not installed, skipped" for kind in kinds if kind not in there]
        found: dict[str, list[dict[str, float]]] = {kind: [] for kind in there}
        for turn in range(1 if case.rows > 500_000 and not options.full else 3):
            for kind in there:
                if turn == 0 or kind not in SLOW:
                    found[kind].append(ask(str(pythons[kind]), kind, folder, 1 if kind in SLOW else 3))
        _tell(report, case, found, size)
    return report


def _tell(report: Report, case: Case, found: dict[str, list[dict[str, float]]], size: float) -> None:
    seconds = {kind: statistics.median(each["seconds"] for each in taken) for kind, taken in found.items()}
    for kind, value in seconds.items():
        extra = max(each["extra_mib"] for each in found[kind])
        cpu = statistics.median(each["cpu_seconds"] for each in found[kind])
        report.notes.append(
            f"{case.name}: {kind} {value:.3f} s ({cpu:.3f} s processor), {extra:.0f} MiB beyond {size:.0f} MiB of data"
        )
    for kind in seconds:
        if kind != "engine":
            report.compare(f"{case.name}: engine / {kind}", seconds["engine"] / seconds[kind], case.most.get(kind))
    beyond = max(each["extra_mib"] for each in found["engine"])
    report.compare(f"{case.name}: memory beyond the data", beyond, MOST_MIB, "MiB")


def python_of(home: Path, kind: str) -> str | None:
    """The interpreter that has a library: this one, or that of an environment made by `setup`."""
    if kind in ("engine", "scipy"):
        return sys.executable
    if kind == "alibi":
        from importlib.util import find_spec

        return sys.executable if find_spec("alibi_detect") else None
    return peers.find(home, kind)


def ask(python: str, kind: str, folder: Path, rounds: int) -> dict[str, float]:
    """One process. Raises CommandError."""
    argv = [python, str(CHECK), kind, str(folder), str(rounds)]
    done = subprocess.run(argv, capture_output=True, text=True, env=environment({}), check=False)
    if done.returncode:
        raise CommandError(f"{kind}: {' '.join(argv)} exited with {done.returncode}\n{done.stderr[-2000:]}")
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def write(case: Case, folder: Path) -> float:
    """Write a reference and a batch of the same size, in which every fifth column has moved a little; MiB of one."""
    size = case.rows * case.columns * 8 / (1 << 20)
    if (folder / "batch.npz").exists():
        return size
    folder.mkdir(parents=True, exist_ok=True)
    for seed, name in enumerate(("reference", "batch")):
        generator = np.random.default_rng(seed)
        columns = {}
        for place in range(case.columns - case.categories):
            moved = 0.1 if seed and place % 5 == 0 else 0.0
            columns[f"n{place}"] = generator.normal(moved, 1, case.rows)
        labels = np.array([f"level {level}" for level in range(LEVELS)], dtype=object)
        for place in range(case.categories):
            columns[f"c{place}"] = labels[generator.integers(0, LEVELS, case.rows)]
        np.savez(folder / f"{name}.npz", **columns)
    return size
