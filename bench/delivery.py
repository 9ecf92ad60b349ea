"""Delivery as its users see it: how long `engine rollback` takes until traffic is back, and a change of weight.

A gateway serves; a client asks it all the time. A rollback is timed from the start of the command until the first
answer of the old release: with its processes loaded, as during `keep_warm` or a rollout, and without. A start of the
interpreter that imports nothing stands beside it.
"""

from __future__ import annotations

import http.client
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bench.measure import environment
from bench.options import Options
from bench.projects import ENGINE, apply_project, names, spec_text, write_project
from bench.report import Report
from bench.serving import second_release, set_endpoint

SECOND = 1.0
_PATIENCE = 60.0


def run(options: Options) -> Report:
    """All of it."""
    report = Report("delivery")
    (name,) = names(1)
    with TemporaryDirectory(dir=options.home) as scratch:
        project = apply_project(write_project(Path(scratch) / "project", {name: spec_text(name)}))
        second_release(project, name)
        with (Path(scratch) / "serve.log").open("wb") as log:
            argv = [ENGINE, "serve", "--port", "0"]
            gateway = subprocess.Popen(argv, cwd=project, env=environment({}), stdout=log, stderr=log)
        try:
            _measure(report, project, name, options.runs)
        finally:
            gateway.terminate()
            gateway.wait(30)
    bare = [_seconds([sys.executable, "-c", "pass"], project.parent.parent) for _ in range(options.runs)]
    report.compare("beside it: a start of the interpreter", statistics.median(bare), unit="s")
    report.notes.append(f"medians of {options.runs}; a rollback counts from the start of the command")
    return report


def _measure(report: Report, project: Path, name: str, runs: int) -> None:
    _until(project, name, stable=1)
    loaded, cold, weights = [], [], []
    for _ in range(runs):
        set_endpoint(project, name, stable=2, previous=1, candidate=1, weight=0.0)
        _until(project, name, stable=2, ready=1)
        loaded.append(_roll_back(project, name))
        set_endpoint(project, name, stable=2, previous=1, candidate=None, weight=0.0)
        _until(project, name, stable=2)
        _until_gone(project, name, 1)
        cold.append(_roll_back(project, name))
        set_endpoint(project, name, candidate=2, weight=0.1)
        _until(project, name, weight=0.1)
        begun = time.perf_counter()
        set_endpoint(project, name, weight=0.5)
        _until(project, name, weight=0.5)
        weights.append(time.perf_counter() - begun)
    for what, found in (("loaded", loaded), ("to be loaded", cold)):
        report.compare(f"rollback, the old release is {what}: traffic", _middle(found, 0), SECOND, "s")
        report.compare(f"rollback, the old release is {what}: the command says so", _middle(found, 1), unit="s")
        report.compare(
            f"rollback, the old release is {what}: the registry's aliases follow", _middle(found, 2), unit="s"
        )
        report.compare(f"rollback, the old release is {what}: requests that failed", sum(f[3] for f in found), 0.0, "")
    report.compare("a change of weight: until it is in effect", statistics.median(weights) * 1e3, unit="ms")


def _middle(found: list[tuple[float, float, float, int]], place: int) -> float:
    return float(statistics.median(each[place] for each in found))


def _roll_back(project: Path, name: str) -> tuple[float, float, float, int]:
    """Seconds until traffic is on version 1, the command has said so, and it has ended; requests that failed."""
    host, _, port = str(_status(project)["address"]).rpartition(":")
    client = http.client.HTTPConnection(host, int(port), timeout=30)
    row = {column["name"]: 0.0 for column in _asked(client, f"/v1/models/{name}")[1]["columns"]}
    argv = [ENGINE, "rollback", name, "--to", "1"]
    begun, failed = time.perf_counter(), 0
    command = subprocess.Popen(argv, cwd=project, env=environment({}), stdout=subprocess.PIPE)
    while True:
        status, answer = _asked(client, f"/v1/models/{name}/predict", row)
        failed += status != 200
        if answer.get("version") == 1:
            break
        time.sleep(0.005)
    traffic = time.perf_counter() - begun
    assert command.stdout is not None
    said = command.stdout.readline()
    told = time.perf_counter() - begun
    assert command.wait() == 0, said
    client.close()
    return traffic, max(told, traffic), time.perf_counter() - begun, failed


def _asked(client: http.client.HTTPConnection, path: str, body: Any = None) -> tuple[int, Any]:
    data = None if body is None else json.dumps(body)
    client.request("GET" if body is None else "POST", path, data, {"content-type": "application/json"})
    response = client.getresponse()
    return response.status, json.loads(response.read())


def _status(project: Path) -> Any:
    path = project / ".engine/serving/status.json"
    return json.loads(path.read_text()) if path.exists() else {"models": {}}


def _until(project: Path, name: str, ready: int | None = None, **effective: Any) -> None:
    """Wait until this is in effect, and a release is ready."""
    end = time.monotonic() + _PATIENCE
    while time.monotonic() < end:
        model = _status(project)["models"].get(name) or {"effective": None, "releases": {}}
        known = model["releases"].get(str(ready), {"state": ""})["state"]
        here = model["effective"] is not None and effective.items() <= model["effective"].items()
        if here and (ready is None or known == "ready"):
            return
        time.sleep(0.005)
    raise TimeoutError(f"not in effect: {effective}")


def _until_gone(project: Path, name: str, version: int) -> None:
    end = time.monotonic() + _PATIENCE
    while str(version) in _status(project)["models"][name]["releases"]:
        if time.monotonic() > end:
            raise TimeoutError(f"version {version} is still loaded")
        time.sleep(0.005)


def _seconds(argv: list[str], folder: Path) -> float:
    begun = time.perf_counter()
    subprocess.run(argv, cwd=folder, check=True)
    return time.perf_counter() - begun
