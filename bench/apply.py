"""`engine apply` of a fresh model, everything recorded in MLflow, beside plain scripts that train the same model.

Each run begins with nothing: no state, no MLflow store. The second script logs to MLflow as its tutorial does.
What a further model costs is the difference between an apply of four and one of a single model, shared by three.
"""

from __future__ import annotations

import shutil
import statistics
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from bench.measure import SCRIPTS, Command, added, in_turns, ratio
from bench.options import Options
from bench.projects import ENGINE, names, spec_text, write_project
from bench.report import Report

ROWS, COLUMNS = 50_000, 20
FURTHER = 4
APPLY = [ENGINE, "apply", "--auto-approve"]


def run(options: Options, rows: int = ROWS) -> Report:
    """All of it."""
    report = Report("apply")
    home = options.home / "projects"
    one = write_project(home / "apply-1", _specs(1), rows, COLUMNS)
    four = write_project(home / f"apply-{FURTHER}", _specs(FURTHER), rows, COLUMNS)
    scratch = home / "apply-scripts"
    table = str(one / "data" / f"{names(1)[0]}.csv")
    training: list[float] = []
    commands = {
        "engine": Command("engine apply, 1 model", APPLY, one, prepare=_afresh(one)),
        "script": Command("script that trains", _script("train.py", table), scratch, prepare=_afresh(scratch)),
        "mlflow": Command("script that logs to MLflow", _script("train_and_log.py", table), scratch, _afresh(scratch)),
        "four": Command(f"engine apply, {FURTHER} models", APPLY, four, prepare=_then(training, four)),
    }
    found = in_turns(list(commands.values()), options.runs)
    training.append(_training_seconds(four))
    report.add(found.values())
    of = {key: found[command.name] for key, command in commands.items()}
    report.compare("fresh model / script that logs to MLflow", ratio(of["engine"], of["mlflow"]), 0.5)
    report.compare("fresh model / script that trains", ratio(of["engine"], of["script"]))
    further = added(of["four"], of["engine"]) / (FURTHER - 1)
    fit = statistics.median(training)
    report.compare("each further model in the same run", further, unit="s")
    report.compare("each further model, over its train step", further - fit, 0.6, "s")
    report.notes.append(f"A train step took {fit:.2f} s (median of {FURTHER} models, in the state's ledger).")
    return report


def _specs(count: int) -> Mapping[str, str]:
    return {name: spec_text(name) for name in names(count)}


def _script(name: str, table: str) -> list[str]:
    return [sys.executable, str(SCRIPTS / name), table]


def _afresh(folder: Path) -> Callable[[], None]:
    """Remove what a run left, so that the next one begins with nothing."""

    def prepare() -> None:
        folder.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(folder / ".engine", ignore_errors=True)
        shutil.rmtree(folder / "mlruns", ignore_errors=True)
        for path in folder.glob("mlflow.db*"):
            path.unlink()

    return prepare


def _then(training: list[float], folder: Path) -> Callable[[], None]:
    """The same, once the seconds of training of the run before have been noted."""

    def prepare() -> None:
        if (folder / ".engine" / "state.db").exists():
            training.append(_training_seconds(folder))
        _afresh(folder)()

    return prepare


def _training_seconds(folder: Path) -> float:
    """What a train step took in the last run, the median of the project's models."""
    from engine.adapters.state.reader import SqliteStateReader

    reader = SqliteStateReader(folder / ".engine" / "state.db")
    found = statistics.median(state.latest["train"].seconds for state in reader.models().values())
    reader.close()
    return found
