"""The loop that heals, on real data and in real time: `make demo-loop`.

`engine up` serves two models that learned the same from the first 2,000 half-hours of an electricity market, by the
estimator that a spec gets which names none: one with triggers, one that nobody touches. All half-hours that follow are
replayed in their order, one request each; what the price did comes back as feedback a day later. Nothing else is done:
no command is typed after `engine up`. The market goes on while a retrain trains, is checked and proves itself: at 148
half-hours a second each second of that costs three days.

Usage: python docs/demo_loop.py [FOLDER] [--rows N] [--rate N]; needs `engine` beside this Python.
"""

from __future__ import annotations

import argparse
import csv
import http.client
import json
import signal
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
READY_SECONDS = 240.0
FIRST, DAY = 2_000, 48  # rows that the first models learn from; half-hours of a day
SPEC = """\
model_spec:
  name: {name}
  data: {{source: data/prices.csv, target: class, ignore: [date]{feedback}}}
  validation: {{metric: accuracy, threshold: 60%}}
"""
HEALING = """\
  retrain_trigger:
    any_of:
      - {type: performance, metric: accuracy, drop: 5%, min_labels: 250, persistence: 1 of 1}
      - {type: drift, persistence: 2 of 3}
  deployment:
    strategy: canary
    initial_traffic: 50%
    steps: [50%, 100%]
    step_duration: 1s
    analysis: {guardrails: [errors, accuracy], min_requests: 100, max_error_rate: 5%, max_drop: 20%}
  monitoring: {window: {rows: 500}, labels: {min: 250}}
"""
LEARNS = ", feedback: true, window: {rows: 4000}, split: {strategy: time}"
MODELS = ("electricity", "untouched")


def main() -> int:
    """Set up, replay, tell."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--rows", type=int, default=43_312, help="half-hours, of 43,312")
    parser.add_argument("--rate", type=float, default=148.0, help="requests a second")
    asked = parser.parse_args()
    folder = asked.folder or Path(tempfile.mkdtemp(), "electricity")
    stream = set_up(folder)[: asked.rows]
    say(f"A project in {folder}: two models of the same first {FIRST:,} half-hours, one of them with triggers")
    print((folder / "specs/electricity.yaml").read_text())
    say("engine up: it trains both, serves both, and watches. Nothing is typed from here on")
    with (folder / "up.log").open("w") as log:
        command = [*engine(), "up", "--port", "0"]
        up = subprocess.Popen(command, cwd=folder, stdout=log, stderr=subprocess.STDOUT)  # noqa: S603
    try:
        address = wait_until_ready(folder, up)
        say(f"{len(stream):,} half-hours in their order, {asked.rate:.0f} a second; the outcome follows a day later")
        right = replay(address, stream, asked.rate, folder / "up.log")
    finally:
        up.send_signal(signal.SIGTERM)
        up.wait(60)
    say("What was kept of it, to be read at any time")
    for command in (["history"], ["releases", "electricity"], ["triggers", "electricity"]):
        print(f"\n$ engine {' '.join(command)}", flush=True)
        shown = subprocess.run([*engine(), *command], cwd=folder, capture_output=True, text=True, check=True)  # noqa: S603
        print("\n".join(shown.stdout.splitlines()[:14]))
    return tell(right)


def set_up(folder: Path) -> list[dict[str, Any]]:
    """Write the project; the rows that are to come."""
    for name in ("data", "specs"):
        (folder / name).mkdir(parents=True)
    (folder / "engine.yaml").write_text("")
    with (HERE.parent / "tests/data/elec2.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    with (folder / "data/prices.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows[:FIRST])
    (folder / "specs/electricity.yaml").write_text(SPEC.format(name="electricity", feedback=LEARNS) + HEALING)
    (folder / "specs/untouched.yaml").write_text(SPEC.format(name="untouched", feedback=", split: {strategy: time}"))
    return [dict(row) for row in rows[FIRST:]]


def engine() -> list[str]:
    """The command beside this Python."""
    return [sys.executable, "-m", "engine"]


def wait_until_ready(folder: Path, up: subprocess.Popen[bytes]) -> str:
    """The gateway's address, once both models answer."""
    end = time.monotonic() + READY_SECONDS
    while True:
        text = (folder / "up.log").read_text()
        if up.poll() is not None or time.monotonic() > end:
            sys.exit(text)
        if "Serving at " in text:
            address = text.partition("Serving at http://")[2].split()[0]
            ready = ask(http.client.HTTPConnection(address, timeout=20), "GET", "/readyz", None)
            if ready.get("ready") and all((folder / f"specs/{name}.yaml").exists() for name in MODELS):
                models = ask(http.client.HTTPConnection(address, timeout=20), "GET", "/v1/models", None)["models"]
                if len(models) == len(MODELS):
                    return address
        time.sleep(0.3)


def replay(address: str, stream: list[dict[str, Any]], rate: float, log: Path) -> list[tuple[bool, bool, int]]:
    """For each row whether both were right, before anybody knew, and which release answered."""
    connection = http.client.HTTPConnection(address, timeout=60)
    right: list[tuple[bool, bool, int]] = []
    waiting: deque[list[dict[str, str]]] = deque()
    told = follow(log)
    started = time.monotonic()
    for day in days(stream):
        answers = []
        for row in day:
            answers.append(predict(connection, MODELS[0], [row]))
            time.sleep(max(0.0, started + (len(right) + len(answers)) / rate - time.monotonic()))
        fixed = predict(connection, MODELS[1], day)
        right += [
            (answer["predictions"][0] == row["class"], other == row["class"], answer["version"])
            for row, answer, other in zip(day, answers, fixed["predictions"], strict=True)
        ]
        waiting.append([{"id": a["ids"][0], "actual": row["class"]} for a, row in zip(answers, day, strict=True)])
        if len(waiting) > 1:  # a day later
            ask(connection, "POST", f"/v1/models/{MODELS[0]}/feedback", {"feedback": waiting.popleft()})
        for line in told:
            if line is None:
                break
            print(f"half-hour {len(right):>6,}  {line}", flush=True)
    return right


def days(stream: list[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """The rows of each day."""
    rows = iter(stream)
    while day := list(islice(rows, DAY)):
        yield day


def predict(connection: http.client.HTTPConnection, model: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """What a model says of rows, which hold no target."""
    sent = [{name: float(value) for name, value in row.items() if name not in ("class", "date")} for row in rows]
    return ask(connection, "POST", f"/v1/models/{model}/predict", {"instances": sent})


def ask(connection: http.client.HTTPConnection, method: str, path: str, body: Any) -> dict[str, Any]:
    """A request that has to be answered."""
    data = None if body is None else json.dumps(body)
    connection.request(method, path, data, {"content-type": "application/json"})
    answer = connection.getresponse()
    text = answer.read()
    if answer.status != 200 and path != "/readyz":
        sys.exit(f"{method} {path}: {answer.status} {text.decode()}")
    document: dict[str, Any] = json.loads(text)
    return document


def follow(path: Path) -> Iterator[str | None]:
    """The lines that come to a log that say what the loop does; None when there is none now."""
    with path.open() as file:
        file.seek(0, 2)
        while True:
            line = file.readline()
            said = line.partition(" ")[2].strip()
            yield said[:160] if any(word in said for word in (" trigger: ", " run: ", " rollout: ")) else None


def tell(right: list[tuple[bool, bool, int]]) -> int:
    """The accuracies, by time and in all."""
    say("Accuracy before the outcome was known, in steps of 2,000 half-hours (each mark is one point above 50 %)")
    for start in range(0, len(right), 2_000):
        part = right[start : start + 2_000]
        healed, fixed = (sum(each[place] for each in part) / len(part) for place in (0, 1))
        versions = sorted({each[2] for each in part})
        shown = f"{versions[0]}" if len(versions) == 1 else f"{versions[0]}-{versions[-1]}"
        print(f"{start + FIRST:>7,}  healed    {bar(healed)} {healed:.1%}  version {shown}")
        print(f"         untouched {bar(fixed)} {fixed:.1%}")
    healed, fixed = (sum(each[place] for each in right) / len(right) for place in (0, 1))
    print(f"\nOver {len(right):,} half-hours: {healed:.1%} with the loop, {fixed:.1%} untouched, "
          f"{100 * (healed - fixed):+.1f} points; 0 requests failed.")  # fmt: skip
    return 0 if healed - fixed >= 0.05 else 1


def bar(share: float) -> str:
    """One mark for each point above one half."""
    return ("█" * max(0, round((share - 0.5) * 100))).ljust(40)


def say(text: str) -> None:
    """A heading."""
    print(f"\n\033[1m# {text}\033[0m", flush=True)


if __name__ == "__main__":
    sys.exit(main())
