"""Releases of data that DVC tracks, from the command line."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

from command_line import Call
from tracked_data import git

from engine.adapters.sources import dvc
from engine.cli.reasons import reason_text
from engine.core.plan import Reason, ReasonCode
from engine.runtime.environment import provenance


def test_two_revisions_are_two_releases(released: Path, call: Call) -> None:
    first, second = (json.loads(call(released, "show", f"churn@{n}", "--json").out) for n in (1, 2))
    for shown, tag in ((first, "v1"), (second, "v2")):
        tracked = shown["lineage"]["snapshot"]["facts"]["dvc"]
        assert (tracked["revision"], tracked["from"]) == (tag, "remote storage")
        assert tracked["commit"] == git(released, "rev-parse", tag)
    assert call(released, "plan", "--detailed-exitcode").code == 0
    spec = released / "specs/churn.yaml"
    text = spec.read_text()
    spec.write_text(text.replace("@v2", "@v2~1"))
    assert "data.source: dvc:data/churn.csv@v2 → dvc:data/churn.csv@v2~1, 1 more" in call(released, "plan").out
    spec.write_text(text.replace("@v2", "@main"))  # the same bytes under another name: nothing to train
    planned = call(released, "plan").out
    assert "dvc:data/churn.csv@v2 → dvc:data/churn.csv@main" in planned
    if os.environ.get("ENGINE_SOAK") != "1":
        return
    assert call(released, "apply", "--auto-approve").code == 0
    assert call(released, "releases", "churn", "--json").out.count('"version": 3') == 0
    git(released, "update-ref", "refs/heads/main", "v1")  # the revision names other data now
    first, second = (dvc.track(f"dvc:data/churn.csv@{tag}", released).md5[:8] for tag in ("v1", "v2"))
    assert f"data changed: dvc:data/churn.csv@main, md5 {second} → md5 {first}" in call(released, "plan").out


def test_a_revision_that_moved_is_named() -> None:
    reason = Reason(ReasonCode.DATA_CHANGED, "data", f"md5:{'a' * 32}", f"md5:{'b' * 32}/part.csv")
    text = reason_text(reason, lambda: {"data": {"source": "dvc:data/churn.csv@main"}})
    assert text == "data changed: dvc:data/churn.csv@main, md5 aaaaaaaa → md5 bbbbbbbb"


def test_a_release_is_recorded_for_dvc(made: Path, tmp_path: Path) -> None:
    place = made / "versions/churn"
    assert sorted(file.name for file in place.glob("*.dvc")) == [
        "data.dvc",
        "evaluation.json.dvc",
        "holdout.parquet.dvc",
        "model.dvc",
        "predictions.parquet.dvc",
    ]
    assert git(made, "status", "--porcelain", "--untracked-files=no"), "release 2 wrote over what release 1 had"
    assert provenance(made)["git"]["dirty"] is False, "which is no local change of the code"
    before = git(made, "rev-list", "-1", "HEAD", "--", "versions")  # what release 1 wrote, committed before release 2
    for revision, tag in (("", "v2"), (f"@{before}", "v1")):
        dvc.fetch(f"dvc:versions/churn/data{revision}", made, lambda name, several: tmp_path / "data" / name)
        [file] = (tmp_path / "data").iterdir()
        assert hashlib.md5(file.read_bytes()).hexdigest() == dvc.track(f"dvc:data/churn.csv@{tag}", made).md5
