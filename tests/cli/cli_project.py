"""A small project, and golden files, which UPDATE_GOLDEN=1 writes anew."""

from __future__ import annotations

import os
import random
import re
from pathlib import Path

GOLDEN = Path(__file__).parent / "golden"

SPEC = """\
model_spec:
  name: churn
  data:
    source: data/churn.csv
    target: churned
    positive: "yes"
    id: customer
  training:
    estimator: sklearn.linear_model.LogisticRegression
    params: {C: 1.0}
  retrain_trigger: {type: scheduled, cron: "0 0 * * 0"}
  validation: {metric: accuracy, threshold: 0.6}
  deployment: {strategy: canary, initial_traffic: 10%}
"""


def rows(number: int, seed: int = 0) -> str:
    """A table that a linear model understands well enough."""
    generator = random.Random(seed)
    lines = ["customer,months,calls,plan,churned"]
    for index in range(number):
        months, calls = generator.randint(0, 60), generator.randint(0, 9)
        leaves = calls * 6 - months + generator.gauss(0, 10) > 0
        lines.append(f"c{index},{months},{calls},{generator.choice('abc')},{'yes' if leaves else 'no'}")
    return "\n".join(lines) + "\n"


def make_project(folder: Path) -> Path:
    """A small project with one spec."""
    (folder / "specs").mkdir(parents=True)
    (folder / "data").mkdir()
    (folder / "engine.yaml").write_text("")
    (folder / "specs" / "churn.yaml").write_text(SPEC)
    (folder / "data" / "churn.csv").write_text(rows(300))
    return folder


def edit(path: Path, old: str, new: str) -> None:
    """Replace a text that must be there."""
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def neutral(text: str) -> str:
    """A command's text without what differs from run to run and from machine to machine."""
    text = re.sub(r"\d{8}T\d{6}-[0-9a-f]{8}", "RUN", text)
    text = re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d(:\d\d)? UTC", "TIME", text)
    text = re.sub(r"About .*?\.(?= |$)(?!\d)", "About TIME.", text, flags=re.MULTILINE)
    text = re.sub(r"(done|stopped|failed|cancelled)( in| after) [\d.]+ (s|min)( \d+ s)?", r"\1\2 TIME", text)
    return re.sub(r"\d\.\d{3}\b", "#", text)


def check_golden(name: str, text: str) -> None:
    """Compare with a golden file."""
    path = GOLDEN / name
    text = neutral(text)
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(text)
    assert text == path.read_text(), f"{name} differs; if that is meant: UPDATE_GOLDEN=1"
