"""Delivery on real data, as a person would drive it: one good release and four bad ones meet live traffic.

Run it with `make demo-delivery`, or `python docs/demo_delivery.py [FOLDER]`. It makes a project, serves version 1,
sends it customers from a process of its own (which tells the gateway later who has left), and applies one changed spec
after the other. It ends with 0 when each came to what it deserves and no client ever got an error.
"""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

MODEL = "customer_churn"
DATA = "data/telco_customer_churn.csv"
CLIENTS = 3
ENGINE = [sys.executable, "-c", "from engine.cli import main; main()"]

SPEC = """\
model_spec:
  name: customer_churn
  data: {source: data/telco_customer_churn.csv, target: Churn, positive: "Yes", id: customerID}
  training: {function: "candidates:KIND"}
  validation: {metric: roc_auc, threshold: 0.75}
  deployment:
    strategy: canary
    steps: [10%, 25%, 50%, 100%]
    step_duration: 1s
    analysis:
      guardrails: [errors, latency, accuracy]
      report_only: [prediction_shift]
      min_requests: 100
      max_error_rate: 4%
      max_drop: 10%
      max_latency_ratio: 1.5
"""

CANDIDATES = '''\
"""A model of three columns, and four that are as good in an evaluation, where they are asked for many rows at once."""
import time

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

TERMS = {"Month-to-month": 0, "One year": 1, "Two year": 2}
LIVE = 10  # rows; live requests are of one each, and a batch has as many as there are clients


def numbers(rows):
    return np.column_stack([rows["tenure"], rows["MonthlyCharges"], rows["Contract"].map(TERMS)]).astype(float)


class Model:
    def __init__(self, fitted):
        self.fitted, self.classes_ = fitted, fitted.classes_

    def predict(self, rows):
        return self.classes_[self.predict_proba(rows).argmax(axis=1)]

    def predict_proba(self, rows):
        shares = self.fitted.predict_proba(numbers(rows))
        return self.live(rows, shares) if len(rows) < LIVE else shares

    def live(self, rows, shares):
        return shares


class Fragile(Model):
    def live(self, rows, shares):
        if ((rows["MonthlyCharges"] * 100).round() % 100 < 5).any():
            raise ValueError("a price that ends in .00 to .04")
        return shares


class Slow(Model):
    def live(self, rows, shares):
        time.sleep(0.03)
        return shares


class Broken(Model):
    def live(self, rows, shares):
        return shares * np.nan


class Noise(Model):
    def live(self, rows, shares):
        return shares[:, ::-1] if np.random.random() < 0.5 else shares


def fit(X, y, C=1.0):
    return make_pipeline(StandardScaler(), LogisticRegression(C=C)).fit(numbers(X), y)


def steady(X, y):
    return Model(fit(X, y))


def regularized(X, y):
    return Model(fit(X, y, C=0.5))


def fragile(X, y):
    return Fragile(fit(X, y))


def slow(X, y):
    return Slow(fit(X, y))


def broken(X, y):
    return Broken(fit(X, y))


def noise(X, y):
    return Noise(fit(X, y))
'''

STORY = (  # the candidate, what it is, whether it deserves to go live, and the guardrail that is to say so
    ("regularized", "another regularization", True, ""),
    ("fragile", "errs on 5 % of the requests", False, "errors"),
    ("slow", "takes 30 ms longer", False, "latency"),
    ("broken", "answers NaN", False, "errors"),
    ("noise", "answers at random, as the labels show", False, "accuracy"),
)


# ── the clients, in a process of their own ───────────────────────────────────────────────────────────────────


def send(folder: Path) -> None:
    """Customers one by one from several clients until the process is ended, and a second later whether they left."""
    from engine.app.predicting import find_gateway, rows_of
    from engine.app.workspace import open_workspace
    from engine.steps.table import read_table

    gateway = find_gateway(open_workspace(folder))
    rows = rows_of(gateway, MODEL, folder / DATA)
    left = list(read_table(folder / DATA)[0]["Churn"])
    numbers, answers, failures = count(), Counter[str](), Counter[str]()

    def ask(connection: http.client.HTTPConnection, path: str, body: Any, key: str = "") -> tuple[int, Any]:
        headers = {**gateway.headers(), **({"x-routing-key": key} if key else {})}
        connection.request("POST", f"/v1/models/{MODEL}/{path}", json.dumps(body), headers)
        response = connection.getresponse()
        return response.status, json.loads(response.read())

    def client() -> None:
        connection = gateway.connect()
        labels: list[dict[str, str]] = []
        told = time.monotonic()
        while True:
            number = next(numbers)
            place = number % len(rows)
            try:  # each visit is a key of its own
                status, answer = ask(connection, "predict", rows[place], f"visit {number}")
                if status == 200:
                    answers[str(answer["version"])] += 1
                    labels.append({"id": answer["ids"][0], "actual": left[place]})
                else:
                    failures[f"{status} {answer}"] += 1
                if time.monotonic() > told + 1:
                    status, answer = ask(connection, "feedback", {"feedback": labels})
                    failures.update({f"feedback: {status} {answer}"} if status not in (200, 503) else ())
                    labels, told = [], time.monotonic()
            except (OSError, http.client.HTTPException) as error:
                failures[repr(error)] += 1
                connection.close()

    for _ in range(CLIENTS):
        threading.Thread(target=client, daemon=True).start()
    while True:
        time.sleep(0.2)
        document = {"answers": dict(answers), "failures": dict(failures)}
        temporary = folder / "traffic.tmp"
        temporary.write_text(json.dumps(document))
        temporary.replace(folder / "traffic.json")


# ── the story ────────────────────────────────────────────────────────────────────────────────────────────────


def engine(folder: Path, *arguments: str, shown: bool = True) -> subprocess.CompletedProcess[str]:
    """Run a command in the project."""
    if shown:
        say(f"[dim]$ engine {' '.join(arguments)}[/dim]")
    argv = [*ENGINE, *arguments]
    return subprocess.run(argv, cwd=folder, capture_output=True, text=True, check=False)  # noqa: S603 - our own


def say(text: str) -> None:
    """Print a line."""
    from rich.console import Console

    Console(highlight=False, soft_wrap=True).print(text)


@contextmanager
def running(folder: Path, log: str, *argv: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process beside this one, which is ended."""
    with (folder / log).open("wb") as out:
        process = subprocess.Popen(argv, cwd=folder, stdout=out, stderr=out)  # noqa: S603 - our own
    try:
        yield process
    finally:
        process.terminate()
        process.wait(30)


def wait_for(path: Path, process: subprocess.Popen[bytes], log: Path) -> Any:
    """What a process writes into a JSON file once it is up."""
    while True:
        if process.poll() is not None:
            raise SystemExit(log.read_text())
        if path.exists():
            return json.loads(path.read_text())
        time.sleep(0.1)


def traffic_of(folder: Path) -> tuple[Counter[str], Counter[str]]:
    """Answers by version, and failures, until now."""
    found = json.loads((folder / "traffic.json").read_text())
    return Counter(found["answers"]), Counter(found["failures"])


def tell(folder: Path, number: int, kind: str, what: str) -> tuple[bool, str]:
    """Apply a candidate and follow it to its end; whether it went live, and why."""
    before, _ = traffic_of(folder)
    (folder / f"specs/{MODEL}.yaml").write_text(SPEC.replace("KIND", kind))
    say(f"\n[bold]Version {number}: {what}[/bold]")
    came = engine(folder, "apply", "--auto-approve", "--wait")
    lines = [line for line in came.stdout.splitlines() if line.startswith(f"{MODEL}: version")]
    for line in lines:
        say(f"  {line}")
    if came.returncode not in (0, 3) or not lines:
        raise SystemExit(came.stdout + came.stderr)
    after, failures = traffic_of(folder)
    served = ", ".join(f"{number:,} by version {version}" for version, number in sorted((after - before).items()))
    say(f"  meanwhile: {served}; [bold]{sum(failures.values())} failed[/bold]")
    return came.returncode == 0, lines[-1]


def main(folder: Path) -> int:
    """The whole story."""
    from rich.table import Table

    began = time.monotonic()
    engine(folder.parent, "init", str(folder))
    (folder / f"specs/{MODEL}.yaml").write_text(SPEC.replace("KIND", "steady"))
    (folder / "candidates.py").write_text(CANDIDATES)
    say("[bold]Version 1: churn of a telephone company's customers[/bold]")
    came = engine(folder, "apply", "--auto-approve")
    if came.returncode:
        raise SystemExit(came.stdout + came.stderr)
    table = Table("version", "what it is", "what became of it", title="What came of it")
    right = True
    with running(folder, "serve.log", *ENGINE, "serve", "--port", "0") as gateway:
        status = folder / ".engine/serving/status.json"
        while not (wait_for(status, gateway, folder / "serve.log")["models"].get(MODEL) or {}).get("effective"):
            time.sleep(0.1)
        with running(folder, "traffic.log", sys.executable, str(Path(__file__).resolve()), "--send", ".") as clients:
            wait_for(folder / "traffic.json", clients, folder / "traffic.log")
            for number, (kind, what, good, guardrail) in enumerate(STORY, 2):
                live, why = tell(folder, number, kind, what)
                right &= live == good and (live or f"{guardrail}:" in why)
                table.add_row(str(number), what, "went live" if live else f"sent away: {why.partition('aborted: ')[2]}")
            say("\n[bold]And back, by hand[/bold]")
            flip = time.monotonic()
            engine(folder, "rollback", MODEL)
            while json.loads(status.read_text())["models"][MODEL]["effective"]["stable"] != 1:
                time.sleep(0.01)
            say(f"  version 1 serves again; {time.monotonic() - flip:.1f} s, with the registry's aliases")
            answers, failures = traffic_of(folder)
    say("")
    from rich.console import Console

    Console(width=None if sys.stdout.isatty() else 140).print(table)
    say(engine(folder, "releases", MODEL).stdout)
    failed = f"{sum(failures.values())} failed"
    say(f"{sum(answers.values()):,} requests answered, [bold]{failed}[/bold] {dict(failures) or ''}")
    say(f"{time.monotonic() - began:.0f} s; the project is in {folder}")
    return 0 if right and not failures else 1


if __name__ == "__main__":
    if sys.argv[1:2] == ["--send"]:
        send(Path(sys.argv[2]).resolve())
    os.environ.setdefault("COLUMNS", "140")
    raise SystemExit(main(Path(sys.argv[1] if sys.argv[1:] else tempfile.mkdtemp() + "/churn").resolve()))
