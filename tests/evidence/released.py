"""What the tests of this folder share: a project whose data DVC tracks, with two releases of it."""

from __future__ import annotations

import os
from pathlib import Path

from tracked_data import TrackedData, find_dvc, git, rows

from engine.cli.entry import run

SPEC = """\
model_spec:
  name: churn
  description: Who leaves within a month.
  owner: growth
  versioning: dvc
  data: {source: "dvc:data/churn.csv@v1", target: churned, positive: "yes", id: customer}
  training: {function: "model:train", params: {C: 1.0}}
  validation: {metric: accuracy, threshold: 0.6}
"""


CODE = """\
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OrdinalEncoder

UNSEEN = {"handle_unknown": "use_encoded_value", "unknown_value": -1}

def train(X, y, C):
    return make_pipeline(OrdinalEncoder(**UNSEEN), LogisticRegression(C=C)).fit(X, y)
"""


def make_releases(folder: Path) -> None:
    """A project in `folder/project` with releases 1 and 2, of the data at v1 and at v2."""
    project = folder / "project"
    (project / "specs").mkdir(parents=True)
    (project / "engine.yaml").write_text("stores: {openlineage: lineage.jsonl}\n")
    (project / "model.py").write_text(CODE)
    (project / ".gitignore").write_text("lineage.jsonl\n")
    by_dvc = find_dvc() if os.environ.get("ENGINE_SOAK") == "1" else None  # DVC itself, where a soak finds it
    data = TrackedData(project, folder / "remote", by_dvc)
    data.begin()
    data.track("data/churn.csv", rows(300, 0), "v1")
    data.track("data/churn.csv", rows(360, 1), "v2")
    spec = project / "specs/churn.yaml"
    for revision in ("v1", "v2"):
        spec.write_text(SPEC.replace("@v1", f"@{revision}"))
        git(project, "add", "--all")
        git(project, "commit", "--quiet", "-m", f"data at {revision}")
        assert run(["--chdir", str(project), "apply", "--auto-approve"]) == 0
