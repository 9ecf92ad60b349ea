"""Measuring commands against each other: in turns, after a warm-up, by whole-process wall time and peak memory.

A command is started by `scripts/timed.py`, a small process of its own: a child begins with the peak memory of
whoever started it, and this process is a large one.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

SCRIPTS = Path(__file__).parent / "scripts"


class CommandError(Exception):
    """A command under measurement failed; its output is the message."""


@dataclass(frozen=True)
class Sample:
    """One run of a command: wall and processor seconds, and the peak memory of its largest process in MiB."""

    seconds: float
    cpu_seconds: float
    peak_mib: float


@dataclass(frozen=True)
class Command:
    """What to measure, in which folder. `prepare` runs before every run and is not measured."""

    name: str
    argv: Sequence[str]
    cwd: Path
    prepare: Callable[[], None] = lambda: None
    env: Mapping[str, str] = field(default_factory=dict)
    ok: tuple[int, ...] = (0,)


@dataclass(frozen=True)
class Measured:
    """All runs of one command; the figures are medians."""

    name: str
    samples: tuple[Sample, ...]

    @property
    def seconds(self) -> float:
        """Median wall time."""
        return statistics.median(sample.seconds for sample in self.samples)

    @property
    def cpu_seconds(self) -> float:
        """Median time on the processors, its children's too. Other load on the machine moves it less."""
        return statistics.median(sample.cpu_seconds for sample in self.samples)

    @property
    def spread(self) -> tuple[float, float]:
        """The fastest and the slowest run, seconds."""
        every = [sample.seconds for sample in self.samples]
        return min(every), max(every)

    @property
    def peak_mib(self) -> float:
        """Median peak memory of the largest process, MiB."""
        return statistics.median(sample.peak_mib for sample in self.samples)


def in_turns(commands: Sequence[Command], rounds: int, warm_up: int = 1) -> dict[str, Measured]:
    """Run all commands `rounds` times in turns. Raises CommandError if one fails."""
    samples: dict[str, list[Sample]] = {command.name: [] for command in commands}
    for turn in range(warm_up + rounds):
        for command in commands:
            sample = run_once(command)
            if turn >= warm_up:
                samples[command.name].append(sample)
    return {name: Measured(name, tuple(taken)) for name, taken in samples.items()}


def run_once(command: Command) -> Sample:
    """Prepare and run a command once. Raises CommandError if it fails."""
    command.prepare()
    with tempfile.TemporaryDirectory() as folder:
        report, output = Path(folder, "report"), Path(folder, "output")
        launcher = [sys.executable, "-I", "-S", str(SCRIPTS / "timed.py"), str(report), str(output)]
        subprocess.run([*launcher, *command.argv], cwd=command.cwd, env=environment(command.env), check=True)
        found = json.loads(report.read_text())
        if found["code"] not in command.ok:
            last = output.read_text(errors="replace")[-2000:]
            raise CommandError(
                f"{command.name}: {' '.join(command.argv)} in {command.cwd} exited with {found['code']}\n{last}"
            )
    return Sample(found["seconds"], found["cpu_seconds"], found["peak_kib"] / 1024)


def ratio(ours: Measured, theirs: Measured) -> float:
    """The median of the ratios within each turn, so that load that comes and goes is on both sides."""
    return statistics.median(a.seconds / b.seconds for a, b in zip(ours.samples, theirs.samples, strict=True))


def added(more: Measured, base: Measured) -> float:
    """The median of the differences within each turn, seconds."""
    return statistics.median(a.seconds - b.seconds for a, b in zip(more.samples, base.samples, strict=True))


def environment(extra: Mapping[str, str]) -> dict[str, str]:
    """What measured commands see: nobody's telemetry, and compiled modules that are kept."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    quiet = {"DVC_NO_ANALYTICS": "1", "CHECKPOINT_DISABLE": "1", "MLFLOW_DISABLE_TELEMETRY": "true", "NO_COLOR": "1"}
    quiet |= {"NML_DISABLE_USAGE_LOGGING": "1", "DO_NOT_TRACK": "1"}
    return {**kept, **quiet, **extra}
