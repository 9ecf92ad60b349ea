"""A snapshot of one large file, beside `sha256sum` and `dvc add` with hard links; unchanged again; memory.

`engine apply --target snapshot` begins with nothing and ends with the file in the content-addressed store and a
durable record of it; `scripts/snapshot.py` is its snapshot alone. Files are new, on disk, and not sparse.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from bench import peers
from bench.measure import SCRIPTS, Command, Measured, in_turns, ratio
from bench.options import Options
from bench.projects import ENGINE, spec_text
from bench.report import Report

MIB = 1 << 20
BLOCK = 8 * MIB
SNAPSHOT = [ENGINE, "apply", "--auto-approve", "--target", "snapshot"]


def run(options: Options, sizes: tuple[int, int, int] | None = None) -> Report:
    """All of it; `sizes` in MiB: the file compared with the peers, and a small and a large one for memory."""
    size, small, large = sizes or (2048 if options.full else 257, 64, 1024)
    report = Report("snapshot")
    home = options.home / "projects"
    found = _compare(report, options, home, size)
    report.add(found.values())
    _memory(report, home, (small, large))
    return report


def _compare(report: Report, options: Options, home: Path, size: int) -> dict[str, Measured]:
    original = random_file(home / f"random-{size}", size * MIB)
    folder, dvc = project(home / "snapshot"), peers.find_dvc(options.home)
    data = folder / "data" / "big.csv"
    what = f"{size} MiB"
    commands = {
        "apply": Command(f"engine apply --target snapshot, {what}", SNAPSHOT, folder, _anew(folder, original, data)),
        "alone": Command(f"its snapshot alone, {what}", alone(data), folder, _anew(folder, original, data)),
        "sha256sum": Command(f"sha256sum, {what}", ["sha256sum", str(original)], home),
    }
    if dvc:
        tracked = home / "dvc-add"
        commands["dvc"] = Command(
            f"dvc add, hard links, {what}",
            [dvc, "add", "--quiet", "big.csv"],
            tracked,
            _dvc_anew(tracked, original, dvc),
        )
    found = in_turns(list(commands.values()), max(3, options.runs // 2))
    of = {key: found[command.name] for key, command in commands.items()}
    if dvc:
        report.compare("snapshot / dvc add", ratio(of["alone"], of["dvc"]), 0.3)
        report.compare("the whole of engine apply / dvc add", ratio(of["apply"], of["dvc"]))
    else:
        report.notes.append("dvc: not installed, skipped")
    report.compare("snapshot / sha256sum", ratio(of["alone"], of["sha256sum"]))
    _anew(folder, original, data)()
    subprocess.run(SNAPSHOT, cwd=folder, check=True, stdout=subprocess.DEVNULL)
    again = Command(
        f"engine plan --target snapshot, {what} unchanged", [ENGINE, "plan", "--target", "snapshot"], folder
    )
    alone_again = Command(f"its snapshot alone, {what} unchanged", alone(data), folder)
    unchanged = in_turns([again, alone_again], options.runs)
    report.compare("unchanged again: the look at the data alone", unchanged[alone_again.name].seconds, 0.1, "s")
    report.compare("unchanged again: engine plan --target snapshot", unchanged[again.name].seconds, unit="s")
    return found | unchanged


def _memory(report: Report, home: Path, sizes: tuple[int, int]) -> None:
    """Peak memory of a small and of a large file, which must not depend on the size."""
    folder = project(home / "snapshot")
    data = folder / "data" / "big.csv"
    commands = []
    for size in sizes:
        original = random_file(home / f"random-{size}", size * MIB)
        commands.append(Command(f"snapshot alone, {size} MiB", alone(data), folder, _anew(folder, original, data)))
    found = in_turns(commands, 3)
    report.add(found.values())
    little, much = (found[command.name].peak_mib for command in commands)
    report.compare(f"peak memory, {sizes[1]} MiB / {sizes[0]} MiB", much / little, 1.1)


def project(folder: Path) -> Path:
    """A project whose data is one file, `data/big.csv`."""
    (folder / "specs").mkdir(parents=True, exist_ok=True)
    (folder / "data").mkdir(exist_ok=True)
    (folder / "specs" / "big.yaml").write_text(spec_text("big"))
    return folder


def alone(data: Path) -> list[str]:
    """The command that observes a file and brings it into a store, as the step does."""
    return [sys.executable, str(SCRIPTS / "snapshot.py"), str(data)]


def random_file(path: Path, size: int) -> Path:
    """A file of random bytes on the disk."""
    if not path.exists() or path.stat().st_size != size:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            for _ in range(0, size, BLOCK):
                file.write(os.urandom(min(BLOCK, size - file.tell())))
    return path


def _anew(folder: Path, original: Path, data: Path) -> Callable[[], None]:
    def prepare() -> None:
        shutil.rmtree(folder / ".engine", ignore_errors=True)
        _copy(original, data)

    return prepare


def _dvc_anew(folder: Path, original: Path, dvc: str) -> Callable[[], None]:
    def prepare() -> None:
        shutil.rmtree(folder, ignore_errors=True)
        peers.dvc_project(folder, dvc)
        _copy(original, folder / "big.csv")

    return prepare


def _copy(original: Path, target: Path) -> None:
    """A copy that has reached the disk and was written a minute ago, as data usually was before it is looked at."""
    target.unlink(missing_ok=True)
    shutil.copyfile(original, target)
    with target.open("rb") as file:
        os.fsync(file.fileno())
    then = time.time() - 60
    os.utime(target, (then, then))
