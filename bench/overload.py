"""Five times the capacity: what those get who are taken, and how soon the others are told.

An open loop: h2load (`apt-get install nghttp2-client`) sends at a rate, whatever became of earlier requests, as far as
its connections are free; each request's status and time come from its log. Capacity is what 32 connections without a
pause are answered. "Unloaded" is the same open loop at a fifth of the capacity.
"""

from __future__ import annotations

import shutil
import statistics
import subprocess
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.compiled import LINEAR, table
from bench.measure import CommandError, environment
from bench.options import Options
from bench.projects import apply_project, is_up_to_date
from bench.report import Report
from bench.servers import Model, Running, servers, started
from bench.serving import ROWS

SECONDS = 5
CLOSED = 32  # connections
UNLOADED = 128  # connections of the open loop at a fifth of the capacity; all of them send in the same moment
OPEN = 512  # … and of the one at five times the capacity: more than may be in flight
MODELS = {
    "linear": ("logistic regression, compiled", LINEAR, "{}"),
    "bagging": ("100 bagged trees, by their own predict", "sklearn.ensemble.BaggingClassifier", "{n_estimators: 100}"),
}
_REFUSED = (429, 503)


@dataclass(frozen=True)
class Flow:
    """What h2load saw: latencies in seconds of those answered with 200 and of those refused."""

    taken: Sequence[float]
    refused: Sequence[float]
    failed: int
    seconds: float

    @property
    def rate(self) -> float:
        """Requests a second, whatever became of them."""
        return (len(self.taken) + len(self.refused) + self.failed) / self.seconds

    @property
    def good(self) -> float:
        """Of those, answered with 200."""
        return len(self.taken) / self.seconds


def run(options: Options) -> Report:
    """A cheap and an expensive model."""
    report = Report("overload")
    if shutil.which("h2load") is None:
        report.notes.append("not measured: h2load is not installed (apt-get install nghttp2-client)")
        return report
    project = overload_project(options.home / "overload")
    with TemporaryDirectory(dir=options.home) as scratch:
        for name in MODELS:
            _measure(report, name, project, options, Path(scratch))
    report.notes.append(f"{options.runs} turns of {SECONDS} s; {UNLOADED} and {OPEN} connections in the open loop")
    return report


def overload_project(folder: Path) -> Path:
    """A project with the models, applied."""
    if is_up_to_date(folder):
        return folder
    (folder / "specs").mkdir(parents=True, exist_ok=True)
    (folder / "data").mkdir(exist_ok=True)
    (folder / "engine.yaml").write_text("# a project of its own, whatever lies above it\n")
    frame, _, target = table("numbers", ROWS)
    frame.assign(target=target).to_csv(folder / "data" / "numbers.csv", index=False)
    for name, (_, estimator, params) in MODELS.items():
        (folder / "specs" / f"{name}.yaml").write_text(
            f"model_spec:\n  name: {name}\n  data: {{source: data/numbers.csv, target: target, positive: 'yes'}}\n"
            f"  training: {{estimator: {estimator}, params: {params}}}\n"
            "  retrain_trigger: {type: scheduled, cron: '0 0 * * 0'}\n"
            "  validation: {metric: accuracy, threshold: 0.5}\n"
            "  deployment: {strategy: recreate}\n"
        )
    return apply_project(folder)


def _measure(report: Report, name: str, project: Path, options: Options, scratch: Path) -> None:
    title = MODELS[name][0]
    row = table("numbers", ROWS)[0].dropna().head(1).to_dict("records")[0]
    nothing = Path()
    ours = servers(Model(name, nothing, None, nothing, nothing, row), project, options.home)[0][0]
    rates: list[float] = []
    turns: list[tuple[Flow, Flow]] = []
    for turn in range(options.runs):
        with ExitStack() as stack:  # a gateway that knows nothing yet, each time
            gateway = stack.enter_context(started(ours, scratch / f"{name}-{turn}.log"))
            flow(gateway, scratch, CLOSED, 1)
            rates.append(flow(gateway, scratch, CLOSED, SECONDS).good)
            calm = flow(gateway, scratch, UNLOADED, SECONDS, 0.2 * rates[-1])
            turns.append((calm, flow(gateway, scratch, OPEN, SECONDS, 5 * rates[-1])))
    _tell(report, title, statistics.median(rates), turns)


def _tell(report: Report, title: str, capacity: float, turns: Sequence[tuple[Flow, Flow]]) -> None:
    def over(what: str, of: str, share: float) -> None:
        found = statistics.median(quantile(getattr(storm, of), share) for _, storm in turns)
        report.compare(f"{title}: overloaded, {what}", found * 1e3, unit="ms")

    report.compare(f"{title}: capacity", capacity, unit="/s")
    for share, what in ((0.5, "p50"), (0.99, "p99")):
        found = statistics.median(quantile(calm.taken, share) for calm, _ in turns)
        report.compare(f"{title}: unloaded, {what}", found * 1e3, unit="ms")
    report.compare(f"{title}: overloaded, sent", statistics.median(storm.rate for _, storm in turns), unit="/s")
    report.compare(f"{title}: overloaded, answered", statistics.median(storm.good for _, storm in turns), unit="/s")
    over("p50 of the answered", "taken", 0.5)
    over("p99 of the answered", "taken", 0.99)
    over("p50 of the refused", "refused", 0.5)
    over("p99 of the refused", "refused", 0.99)
    ratio = statistics.median(quantile(storm.taken, 0.99) / quantile(calm.taken, 0.99) for calm, storm in turns)
    report.compare(f"{title}: p99 of the answered, overloaded / unloaded", ratio, 2.0)
    report.compare(f"{title}: refused while unloaded", sum(len(calm.refused) for calm, _ in turns), 0.0, "")
    report.compare(f"{title}: failed otherwise", sum(calm.failed + storm.failed for calm, storm in turns), 0.0, "")


def flow(running: Running, scratch: Path, connections: int, seconds: int, rate: float | None = None) -> Flow:
    """Send at a rate, or without a pause. Raises CommandError."""
    body, log = scratch / "body", scratch / "requests"
    body.write_bytes(running.server.body)
    log.unlink(missing_ok=True)
    command = ["h2load", "--h1", "-t1", f"-c{connections}", f"-D{seconds}", f"-d{body}", f"--log-file={log}"]
    command += ["-H", "content-type: application/json"]
    command += [] if rate is None else [f"--rps={rate / connections:.3f}"]
    done = subprocess.run(
        [*command, running.url], env=environment({}), check=False, capture_output=True, text=True, timeout=120
    )
    if done.returncode or not log.exists():
        raise CommandError(f"h2load: {done.stdout}{done.stderr}")
    requests = [line.split("\t") for line in log.read_text().splitlines()]
    by_status: dict[int, list[float]] = {}
    for _, status, taken in requests:
        by_status.setdefault(int(status), []).append(int(taken) / 1e6)
    refused = [taken for status in _REFUSED for taken in by_status.get(status, [])]
    good = by_status.get(200, [])
    return Flow(good, refused, len(requests) - len(good) - len(refused), seconds)


def quantile(values: Sequence[float], share: float) -> float:
    """Of some values; NaN of none."""
    return sorted(values)[int(len(values) * share)] if values else float("nan")
