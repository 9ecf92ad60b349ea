"""The ledger's durable cost of a step, in turns with a bare durable SQLite commit: `ledger.py FOLDER STEPS`.

Prints both lists of seconds as JSON. The bare commit writes one row of the same size, WAL and `synchronous=FULL`.
"""

import json
import sqlite3
import sys
import time
from datetime import datetime, timezone
from pathlib import Path

from engine.adapters.state import holder
from engine.adapters.state.store import SqlStateStore
from engine.core.canonical import canonical_json, digest, utc
from engine.core.records import Artifact, Attempt, AttemptStatus, Run, RunStatus, StepResult

folder, steps = Path(sys.argv[1]), int(sys.argv[2])


def result(number: int) -> StepResult:
    """A result of usual size."""
    content = digest(number)
    settings = {"training": {"estimator": "sklearn.linear_model.LogisticRegression", "params": {"max_iter": 500}}}
    packages = dict.fromkeys(("python", "numpy", "pandas", "pyarrow", "scikit-learn", "scipy"), "1.2.3")
    components = {"settings": settings, "inputs": {"train": content, "schema": content}, "packages": packages}
    outputs = {"model": Artifact(content, 12_345, "model", True), "report": Artifact(content, 678, "training.json")}
    now = utc(datetime.now(timezone.utc))
    return StepResult(f"s{number}", content, components, outputs, {"rows": 40_000}, "done", None, 1.0, "run", now)


def intent(number: int) -> Attempt:
    """The intent of a step."""
    return Attempt(f"s{number}", digest(number), AttemptStatus.INTENT, run_id="run")


store = SqlStateStore(f"sqlite:///{folder / 'state.db'}")
lease = store.acquire("model", holder.this_process(), 3600.0)
store.start_run(lease, Run("run", "model", RunStatus.RUNNING, utc(datetime.now(timezone.utc)), None, "digest", {}))
bare = sqlite3.connect(folder / "bare.db", isolation_level=None)
bare.execute("PRAGMA journal_mode=WAL")
bare.execute("PRAGMA synchronous=FULL")
bare.execute("CREATE TABLE rows (id INTEGER PRIMARY KEY, content TEXT)")

ours, theirs = [], []
store.advance(lease, "run", intent=intent(0))
for number in range(steps):
    done, following = result(number), intent(number + 1)
    content = canonical_json(done.components)
    begin = time.perf_counter()
    store.advance(lease, "run", done=done, intent=following)
    middle = time.perf_counter()
    bare.execute("BEGIN IMMEDIATE")
    bare.execute("INSERT INTO rows (content) VALUES (?)", (content,))
    bare.execute("COMMIT")
    ours.append(middle - begin)
    theirs.append(time.perf_counter() - middle)
store.close()
print(json.dumps({"ledger": ours, "bare": theirs}))
