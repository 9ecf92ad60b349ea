"""Every bad spec of the tests, each as its own `engine validate FILE`: the slowest, and the largest in memory."""

from __future__ import annotations

import runpy
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.measure import Command, Sample, run_once
from bench.options import Options
from bench.projects import ENGINE
from bench.report import Report

CASES = Path(__file__).parent.parent / "tests" / "spec" / "bad_specs.py"
SHOWN = 5
MOST_SECONDS = 1.0
MOST_MIB = 100.0
REFUSED = 1


def run(options: Options) -> Report:
    """All of it."""
    report = Report("corpus")
    corpus: dict[str, bytes] = runpy.run_path(str(CASES))["CORPUS"]
    with TemporaryDirectory(dir=options.home) as folder:
        found = measure(Path(folder), corpus)
    slowest = sorted(found, key=lambda name: -found[name].seconds)
    largest = max(found, key=lambda name: found[name].peak_mib)
    for place, name in enumerate(slowest[:SHOWN]):
        what = f"{name} ({found[name].peak_mib:.0f} MiB)"
        report.compare(what, found[name].seconds, MOST_SECONDS if place == 0 else None, "s")
    report.compare(f"most memory: {largest}", found[largest].peak_mib, MOST_MIB, "MiB")
    report.notes.append(f"{len(found)} bad specs, each a file validated by a process of its own, once.")
    return report


def measure(folder: Path, corpus: dict[str, bytes]) -> dict[str, Sample]:
    """Each case's one run. Raises CommandError for a case that is not refused as a spec."""
    path = folder / "spec.yaml"
    found = {}
    for name, content in corpus.items():
        path.write_bytes(content)
        found[name] = run_once(Command(name, [ENGINE, "validate", path.name], folder, ok=(REFUSED,)))
    return found
