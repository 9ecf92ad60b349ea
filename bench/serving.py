"""One row a request from 1, 8 and 32 connections: our gateway beside other servers of the same models.

All servers of a model run at once and are loaded in turns by wrk, one thread of which costs a few microseconds a
request. A figure of proportion is the median of those within the turns. Beside the rate stands the processor time of
all of a server's processes for a request, which other work on the machine moves less.
"""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bench.compiled import FOREST, LINEAR, table
from bench.measure import CommandError
from bench.options import Options
from bench.projects import apply_project, is_up_to_date
from bench.report import Report
from bench.servers import (
    ARRAYS,
    BENTOML,
    ECHO,
    FASTAPI,
    MLFLOW,
    MLSERVER,
    OURS,
    Load,
    Model,
    Running,
    has_wrk,
    median_of,
    servers,
    started,
)

CONNECTIONS = (1, 8, 32)
SECONDS = 2
ROWS = 3000
BAGGED = "sklearn.ensemble.BaggingClassifier"
MODELS = {
    "linear": (LINEAR, "numbers"),
    "forest": (FOREST, "numbers"),
    "mixed": (LINEAR, "mixed"),
    "bagged": (BAGGED, "numbers"),
}
TITLES = {
    "linear": "logistic regression, 20 numbers",
    "forest": "forest of 100 trees, 20 numbers",
    "mixed": "logistic regression behind a ColumnTransformer, 20 mixed columns",
    "bagged": "10 bagged trees, by their own predict, 20 numbers",
}
# The most time a request may take at 8 connections, in proportion to a peer's.
MOST = {
    "linear": {MLFLOW: 1 / 12, FASTAPI: 1 / 4, ARRAYS: 1 / 4, ECHO: 1 / 0.4},
    "forest": {MLFLOW: 1 / 40, FASTAPI: 1 / 20, ARRAYS: 1 / 20},
    "mixed": {MLFLOW: 1 / 12, FASTAPI: 1 / 4},
    "bagged": {MLFLOW: 1 / 5},
}
_CHECKED = 200  # rows whose answers are compared with scikit-learn's


def run(options: Options, names: Sequence[str] = tuple(MODELS), connections: Sequence[int] = CONNECTIONS) -> Report:
    """All models behind all servers, then what routing and changes of weight cost."""
    report = Report("serving")
    if not has_wrk():
        report.notes.append("not measured: wrk is not installed (apt-get install wrk)")
        return report
    project = served_project(options.home / "serving")
    with TemporaryDirectory(dir=options.home) as scratch:
        for name in names:
            _compare(report, model_of(project, name), project, options, connections, Path(scratch))
        _route(report, model_of(project, "linear"), project, options, Path(scratch))
    report.notes.append(f"{options.runs} turns of {SECONDS} s; one row a request; load from wrk with one thread")
    return report


# ── what is served ───────────────────────────────────────────────────────────────────────────────────────────


def served_project(folder: Path) -> Path:
    """A project with the models, applied."""
    if all((folder / "specs" / f"{name}.yaml").exists() for name in MODELS) and is_up_to_date(folder):
        return folder
    (folder / "specs").mkdir(parents=True, exist_ok=True)
    (folder / "data").mkdir(exist_ok=True)
    (folder / "engine.yaml").write_text("# a project of its own, whatever lies above it\n")
    for name, (estimator, kind) in MODELS.items():
        frame, _, target = table(kind, ROWS)
        frame.assign(target=target).to_csv(folder / "data" / f"{name}.csv", index=False)
        (folder / "specs" / f"{name}.yaml").write_text(
            f"model_spec:\n  name: {name}\n  data: {{source: data/{name}.csv, target: target, positive: 'yes'}}\n"
            f"  training: {{estimator: {estimator}}}\n"
            "  retrain_trigger: {type: scheduled, cron: '0 0 * * 0'}\n"
            "  validation: {metric: accuracy, threshold: 0.5}\n"
            "  deployment: {strategy: canary, initial_traffic: 10%}\n"
        )
    return apply_project(folder)


def model_of(project: Path, name: str) -> Model:
    """The live release of a model, in the forms that the peers want."""
    import json

    import joblib
    import mlflow

    loaded = _loaded(project, name)
    folder = project / "peers" / name
    row = _rows(name)[0]
    arrays = folder / "arrays.joblib" if MODELS[name][1] == "numbers" else None
    model = Model(name, folder / "model.joblib", arrays, folder / "mlflow", folder / "mlserver", row)
    if not model.file.exists():
        model.mlserver.mkdir(parents=True)
        mlflow.sklearn.save_model(
            loaded.predictor, model.mlflow, serialization_format="cloudpickle", pip_requirements=[]
        )
        settings = {
            "name": name,
            "implementation": "mlserver_sklearn.SKLearnModel",
            "parameters": {"uri": str(model.file)},
        }
        (model.mlserver / "model-settings.json").write_text(json.dumps(settings))
        if arrays is not None:
            joblib.dump(_of_arrays(loaded, name), arrays)
        joblib.dump(loaded.predictor, model.file)
    return model


def _of_arrays(loaded: Any, name: str) -> Any:
    """The estimator with the same parameters behind a scaler, fitted to arrays."""
    from sklearn.base import clone
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    frame, _, target = table(MODELS[name][1], ROWS)
    pipeline = make_pipeline(StandardScaler(), clone(loaded.predictor.steps[-1][1]))
    return pipeline.fit(frame.to_numpy(), target.to_numpy())


def _loaded(project: Path, name: str) -> Any:
    from engine.app.workspace import open_workspace
    from engine.testing.models import model_in

    workspace = open_workspace(project)
    release = next(release for release in workspace.reader.releases(name) if release.version == 1)
    with TemporaryDirectory() as private:
        found = model_in(workspace.artifacts.path(release.artifact), Path(private, "model"))
    workspace.reader.close()
    return found


def _rows(name: str) -> list[dict[str, Any]]:
    frame, _, _ = table(MODELS[name][1], ROWS)
    rows: list[dict[str, Any]] = frame.dropna().head(_CHECKED).to_dict("records")
    return rows


def largest_difference(gateway: Running, project: Path, name: str) -> float:
    """Between our probabilities and scikit-learn's own; infinite when a label differs."""
    import json

    import pandas as pd

    rows, loaded = _rows(name), _loaded(project, name)
    answer = gateway.ask(json.dumps({"instances": rows}).encode())
    frame = pd.DataFrame(rows)
    if answer["predictions"] != loaded.predict(frame).tolist():
        return float("inf")
    theirs = loaded.predict_proba(frame)
    pairs = zip(answer["probabilities"], theirs.tolist(), strict=True)
    return max(abs(ours[label] - value) for ours, row in pairs for label, value in zip(ours, row, strict=True))


# ── against the peers ────────────────────────────────────────────────────────────────────────────────────────


def _compare(
    report: Report, model: Model, project: Path, options: Options, connections: Sequence[int], scratch: Path
) -> None:
    there, missing = servers(model, project, options.home)
    title = TITLES[model.name]
    if missing:
        report.notes.append(f"not installed, skipped: {', '.join(missing)} (python -m bench setup)")
    with ExitStack() as stack:
        running = [stack.enter_context(started(there[0], scratch / f"{OURS}.log"))]
        for each in there[1:]:
            try:
                running.append(stack.enter_context(started(each, scratch / f"{each.name}.log")))
            except CommandError as error:
                report.notes.append(f"{title}: skipped: {error}")
        difference = largest_difference(running[0], project, model.name)
        report.compare(f"{title}: largest difference to scikit-learn's probabilities", difference, 1e-9, "")
        for each in running:
            each.load(scratch, 8, 1)
        for count in connections:
            found = in_turns([_loading(each, scratch, count) for each in running], options.runs)
            _tell(report, f"{title}, {count} connections", model.name, count, dict(zip(running, found, strict=True)))


def _loading(running: Running, scratch: Path, connections: int) -> Callable[[], Load]:
    return lambda: running.load(scratch, connections, SECONDS)


def in_turns(calls: Sequence[Callable[[], Load]], runs: int) -> list[list[Load]]:
    """The loads of each call."""
    turns = [[call() for call in calls] for _ in range(runs)]
    return [list(found) for found in zip(*turns, strict=True)]


def _tell(report: Report, what: str, model: str, connections: int, found: dict[Running, list[Load]]) -> None:
    by_name = {running.server.name: loads for running, loads in found.items()}
    ours = by_name[OURS]
    for name, loads in by_name.items():
        report.compare(f"{what}: {name}, requests per second", median_of(loads, lambda load: load.rate), unit="/s")
        report.compare(f"{what}: {name}, p50", median_of(loads, lambda load: load.p50) * 1e3, unit="ms")
        report.compare(f"{what}: {name}, p99", median_of(loads, lambda load: load.p99) * 1e3, unit="ms")
        report.compare(f"{what}: {name}, processor time", median_of(loads, lambda load: load.cpu) * 1e6, unit="µs")
        failed = sum(load.failed for load in loads)
        if failed:
            report.notes.append(f"{what}: {name}: {failed} requests failed")
    for name, loads in by_name.items():
        if name == OURS:
            continue
        default = 1.0 if name in (FASTAPI, ARRAYS, MLFLOW, MLSERVER, BENTOML) else None
        most = MOST[model].get(name, default) if connections == 8 else default
        pairs = list(zip(ours, loads, strict=True))
        time_ratio = statistics.median(theirs.rate / own.rate for own, theirs in pairs)
        report.compare(f"{what}: time for a request, ours / {name}", time_ratio, most)
        report.compare(
            f"{what}: p99, ours / {name}", statistics.median(own.p99 / theirs.p99 for own, theirs in pairs), default
        )
        report.compare(
            f"{what}: processor time, ours / {name}", statistics.median(own.cpu / theirs.cpu for own, theirs in pairs)
        )


# ── routing ──────────────────────────────────────────────────────────────────────────────────────────────────


def _route(report: Report, model: Model, project: Path, options: Options, scratch: Path) -> None:
    """What a candidate with a sticky key costs, and what changes of its weight do to requests."""
    there, _ = servers(model, project, options.home)
    with ExitStack() as stack:
        stack.callback(set_endpoint, project, model.name, candidate=None, weight=0.0)
        gateway = stack.enter_context(started(there[0], scratch / "routing.log"))
        keyed = {"x-routing-key": "a key"}
        costs: list[list[float]] = [[], []]
        for _ in range(options.runs):
            for place, weight in enumerate((0.0, 0.01)):
                _effect(gateway, project, model.name, weight)
                costs[place].append(gateway.load(scratch, 8, SECONDS, keyed).cpu)
        ratio = statistics.median(routed / alone for alone, routed in zip(*costs, strict=True))
        report.compare("routing by a sticky key: processor time, with a candidate / without", ratio, 1.15)
        taken: list[float] = []
        stop = threading.Event()
        changes = threading.Thread(target=_change, args=(gateway, project, model.name, taken, stop))
        steady = gateway.load(scratch, 8, SECONDS)
        changes.start()
        changing = gateway.load(scratch, 8, 2 * SECONDS)
        stop.set()
        changes.join()
        report.compare("a change of weight: until it is in effect", statistics.median(taken) * 1e3, unit="ms")
        report.compare("changes of weight without pause: p99 / steady", changing.p99 / steady.p99)
        report.compare("changes of weight without pause: requests that failed", changing.failed, 0.0, "")


def _change(gateway: Running, project: Path, name: str, taken: list[float], stop: threading.Event) -> None:
    weight = 0.1
    while not stop.is_set():
        begun = time.perf_counter()
        _effect(gateway, project, name, weight)
        taken.append(time.perf_counter() - begun)
        weight = 0.6 - weight


def _effect(gateway: Running, project: Path, name: str, weight: float) -> None:
    """Change the weight, and wait until the gateway says that it is so."""
    import json

    second_release(project, name)
    set_endpoint(project, name, candidate=2 if weight else None, weight=weight)
    status = project / ".engine" / "serving" / "status.json"
    end = time.monotonic() + 60
    while time.monotonic() < end:
        if json.loads(status.read_text())["models"][name]["effective"]["weight"] == weight:
            return
        time.sleep(0.005)
    raise TimeoutError(f"{gateway.server.name}: the weight {weight} of {name} is not in effect")


def second_release(project: Path, name: str) -> None:
    """A release like the first, unless there is one."""
    from engine.app.workspace import open_workspace

    store = open_workspace(project).store
    releases = {release.version: release for release in store.releases(name)}
    if 2 not in releases:
        lease = store.acquire(name, "bench", 30)
        store.add_release(lease, replace(releases[1], version=2, key="a second one"))
        store.release(lease)
    store.close()


def set_endpoint(project: Path, name: str, **changes: Any) -> None:
    """Change what shall be live."""
    from engine.app.workspace import open_workspace

    store = open_workspace(project).store
    before = store.models([name])[name].endpoint
    assert before is not None
    lease = store.acquire(name, "bench", 30)
    after = replace(before, generation=before.generation + 1, **changes)
    store.set_endpoint(lease, before, after, actor="bench", reason="measured")
    store.release(lease)
    store.close()
