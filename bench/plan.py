"""`engine plan` with nothing to do, beside a floor, DVC and Terraform; one change among many, the cache lost; chains.

The floor is Python that parses the same specs with the C parser and stats the same data files, and decides nothing.
"""

from __future__ import annotations

import itertools
import os
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from bench import peers
from bench.measure import SCRIPTS, Command, Measured, added, in_turns, ratio, run_once
from bench.options import Options
from bench.projects import (
    ENGINE,
    Template,
    apply_project,
    is_up_to_date,
    names,
    seed_project,
    spec_text,
    template_of,
    user_steps,
    write_project,
)
from bench.report import Report

SETTLED_SECONDS = 2.5  # a file changed more lately than this may change again unseen, so no plan of it is remembered
CHAINS = (10, 100, 500)
PAIRS = 15  # turns in which the cost of one change is measured, at least
PLAN = [ENGINE, "plan"]


def run(options: Options) -> Report:
    """All of it."""
    report = Report("plan")
    projects = options.home / "projects"
    template = applied_template(projects / "template")
    sizes = (1, 100, 1000, *((10_000,) if options.full else ()))
    folders = {size: many(projects / f"specs-{size}", size, template) for size in sizes}
    _nothing_to_do(report, options, folders)
    _one_change(report, options, folders[1000])
    _cache_lost(report, options, folders[1000])
    _chains(report, options, projects, template)
    return report


# ── projects ─────────────────────────────────────────────────────────────────────────────────────────────────


def applied_template(folder: Path) -> Template:
    """The model that is applied for real."""
    if not is_up_to_date(folder):
        apply_project(write_project(folder, {"template": spec_text("template")}))
    return template_of(folder)


def many(folder: Path, count: int, template: Template) -> Path:
    """A project of so many models, all up to date; made anew when it is not."""
    return _seeded(folder, {name: spec_text(name) for name in names(count)}, template)


def _seeded(folder: Path, specs: Mapping[str, str], template: Template) -> Path:
    if not is_up_to_date(folder):
        seed_project(folder, specs, template)
        time.sleep(SETTLED_SECONDS)
        if not is_up_to_date(folder):
            raise RuntimeError(f"{folder}: the seeded state is not up to date; see engine plan there")
    return folder


# ── nothing to do ────────────────────────────────────────────────────────────────────────────────────────────


def _nothing_to_do(report: Report, options: Options, folders: Mapping[int, Path]) -> None:
    few, thousand = _peers(options)
    floor = [sys.executable, str(SCRIPTS / "floor.py"), "."]
    floors = {size: Command(f"floor, {size:,} specs", floor, folder) for size, folder in folders.items()}
    plans = {size: Command(f"engine plan, {size:,} specs", PLAN, folder) for size, folder in folders.items()}
    every = [command for size in folders for command in (plans[size], floors[size])]
    measured = in_turns([*every, *few.values(), *thousand.values()], options.runs)
    report.add(measured.values())
    ours = {size: measured[plan.name] for size, plan in plans.items()}
    _beside(report, ours[1], measured, few, {"dvc status": 0.25, "terraform plan": 3.0})
    _beside(report, ours[1000], measured, thousand, {"terraform plan": 0.6})
    for size in folders:
        report.compare(f"{size:,} specs / floor", ratio(ours[size], measured[floors[size].name]))
    largest = max(folders)
    each = {size: (ours[size].cpu_seconds - ours[1].cpu_seconds) / (size - 1) for size in (100, 1000, largest)}
    small = 1000 if largest > 1000 else 100
    # Of processor time, which other load moves less; linear up to a tenth, for no two runs agree better than that.
    report.compare(f"time for each further spec, {largest:,} / {small:,}", each[largest] / each[small], 1.1)


def _peers(options: Options) -> tuple[dict[str, Command], dict[str, Command]]:
    """What to put beside a plan of one spec, and beside one of a thousand."""
    few: dict[str, Command] = {}
    thousand: dict[str, Command] = {}
    projects = options.home / "projects"
    dvc, terraform = peers.find_dvc(options.home), peers.find_terraform()
    if dvc:
        few["dvc status"] = Command(
            "dvc status, 4 stages", [dvc, "status"], peers.dvc_pipeline(projects / "dvc-4", dvc)
        )
    if terraform:
        argv = [terraform, "plan", "-no-color", "-input=false"]
        for count, into in ((4, few), (1000, thousand)):
            folder = peers.terraform_project(projects / f"terraform-{count}", count, terraform)
            into["terraform plan"] = Command(f"terraform plan, {count:,} resources", argv, folder)
    return few, thousand


def _beside(
    report: Report,
    ours: Measured,
    measured: Mapping[str, Measured],
    theirs: Mapping[str, Command],
    targets: Mapping[str, float],
) -> None:
    for peer, most in targets.items():
        if peer in theirs:
            other = measured[theirs[peer].name]
            report.compare(f"{ours.name} / {other.name}", ratio(ours, other), most)
        else:
            report.notes.append(f"{peer}: not installed, skipped")


# ── one change among many ────────────────────────────────────────────────────────────────────────────────────


class _Edits:
    """Edits of one model among many, each new; a plan in between remembers that all is as it was at first."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._spec = folder / "specs" / "model_00500.yaml"
        self._data = folder / "data" / "model_00500.csv"
        self._text = self._spec.read_text()
        self._table = self._data.read_bytes()
        self._count = itertools.count(time.time_ns() % 10**9)

    def undo(self) -> None:
        self._spec.write_text(self._text)
        self._data.write_bytes(self._table)
        for path in (self._spec, self._data):
            self._date(path)
        run_once(Command("engine plan", PLAN, self._folder))

    def touch(self) -> None:
        self.undo()
        self._date(self._data)

    def change_data(self) -> None:
        self.undo()
        self._data.write_bytes(self._table + b"0.%d,0,0,0,1\n" % next(self._count))

    def change_threshold(self) -> None:
        self.undo()
        self._spec.write_text(self._text.replace("threshold: 0.1", f"threshold: 0.1{next(self._count)}"))

    def _date(self, path: Path) -> None:
        """Give a file a time of its own, long enough ago to count as settled."""
        then = time.time() - 10_000 + next(self._count) % 5000
        os.utime(path, (then, then))


def _one_change(report: Report, options: Options, folder: Path) -> None:
    """What one changed model of a thousand adds to a plan in which none has changed."""
    edits = _Edits(folder)
    nothing = Command("1,000 specs, no change", PLAN, folder, prepare=edits.undo)
    changes = {
        "data file touched": edits.touch,
        "data changed": edits.change_data,
        "threshold changed": edits.change_threshold,
    }
    for name, change in changes.items():
        command = Command(f"1,000 specs, one {name}", PLAN, folder, prepare=change)
        # Pairs, one right behind the other, and many: what is looked for is less than a busy machine's runs differ.
        measured = in_turns([nothing, command], max(options.runs, PAIRS))
        report.add([measured[command.name]])
        more = added(measured[command.name], measured[nothing.name]) * 1000
        report.compare(f"{command.name}: added", more, 60.0, "ms")
    edits.undo()


def _cache_lost(report: Report, options: Options, folder: Path) -> None:
    """What it takes to validate a thousand specs and plan each of them anew."""
    command = Command("1,000 specs, cache lost", PLAN, folder, prepare=_forgetting(folder, True))
    report.add(in_turns([command], options.runs).values())


# ── chains ───────────────────────────────────────────────────────────────────────────────────────────────────


def _chains(report: Report, options: Options, projects: Path, template: Template) -> None:
    """A spec whose steps form a chain against one with as many independent steps: at first, and with nothing to do."""
    for count in CHAINS:
        shapes = {"chain": True, "independent": False}
        specs = {shape: {"model": spec_text("model", steps=user_steps(count, chain=c))} for shape, c in shapes.items()}
        new = {shape: write_project(projects / f"new-{shape}-{count}", specs[shape]) for shape in shapes}
        done = {shape: _seeded(projects / f"{shape}-{count}", specs[shape], template) for shape in shapes}
        cases = {"first plan": (new, True), "again, cache lost": (done, True), "nothing to do": (done, False)}
        for case, (folders, forget) in cases.items():
            commands = {
                shape: Command(f"{count} steps, {shape}, {case}", PLAN, folder, prepare=_forgetting(folder, forget))
                for shape, folder in folders.items()
            }
            measured = in_turns(list(commands.values()), options.runs)
            report.add(measured.values())
            chain, independent = (measured[commands[shape].name] for shape in ("chain", "independent"))
            report.compare(f"{count} steps, {case}: chain / independent", ratio(chain, independent), 1.1)


def _forgetting(folder: Path, forget: bool) -> Callable[[], None]:
    def prepare() -> None:
        for path in (folder / ".engine").glob("cache.db*") if forget else ():
            path.unlink()

    return prepare
