"""Data that DVC tracks, read without DVC from repositories made by hand, and in a soak from those that DVC makes."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from real_data import MakeContext
from tracked_data import TrackedData, find_dvc, git

from engine.adapters.sources import dvc
from engine.adapters.sources.remote import run
from engine.adapters.versioning.dvc import record
from engine.core.records import Artifact, Release
from engine.errors import IntegrityError, NotSupportedError, UsageError

FIRST, SECOND = "a,b\n1,2\n", "a,b\n3,4\n5,6\n"
SOAK = os.environ.get("ENGINE_SOAK") == "1"


@pytest.fixture(params=["by hand", pytest.param("by DVC", marks=pytest.mark.skipif(not SOAK, reason="takes DVC"))])
def data(request: pytest.FixtureRequest, tmp_path: Path) -> TrackedData:
    command = find_dvc() if request.param == "by DVC" else None
    if request.param == "by DVC" and command is None:
        pytest.skip("DVC is not installed")
    repository = TrackedData(tmp_path, tmp_path.parent / f"{tmp_path.name}-remote", command)
    repository.begin()
    repository.track("data/train.csv", FIRST, "v1")
    repository.track("data/parts", {"p1.csv": FIRST, "deep/p2.csv": SECOND}, "parts")
    repository.track("data/train.csv", SECOND, "v2")
    return repository


def fetched(source: str, make_context: MakeContext, output: str = "data") -> tuple[Path, Any]:
    context = make_context({"source": source}, outputs={"data": output})
    shutil.rmtree(context.outputs["data"], ignore_errors=True)
    return context.outputs["data"], run(context)


def test_a_file_is_pulled_at_each_revision(data: TrackedData, make_context: MakeContext) -> None:
    for source, content in (("@v1", FIRST), ("@v2", SECOND), ("@main~2", FIRST), ("", SECOND)):
        target, outcome = fetched(f"dvc:data/train.csv{source}", make_context)
        assert (target / "train.csv").read_text() == content
        seen = dvc.track(f"dvc:data/train.csv{source}", data.root)
        assert outcome.facts["seen"] == seen.identity
        assert outcome.facts["dvc"]["from"] == "remote storage"
        assert outcome.facts["dvc"]["remote"] == f"file://{data.remote}"
        assert outcome.facts["dvc"]["commit"] == (git(data.root, "rev-parse", source[1:]) if source else None)


def test_a_folder_and_what_lies_in_it(data: TrackedData, make_context: MakeContext) -> None:
    target, outcome = fetched("dvc:data/parts", make_context)
    assert (target / "p1.csv").read_text() == FIRST and (target / "deep/p2.csv").read_text() == SECOND
    assert outcome.facts["bytes"] == len(FIRST) + len(SECOND)
    target, _ = fetched("dvc:data/parts/deep@parts", make_context)
    assert [file.name for file in target.iterdir()] == ["p2.csv"]
    target, _ = fetched("dvc:data/parts/p1.csv", make_context)
    assert (target / "p1.csv").read_text() == FIRST
    with pytest.raises(UsageError, match="no files for data/parts/p9"):
        fetched("dvc:data/parts/p9.csv", make_context)


def test_the_nearest_bytes_are_taken_and_never_others(data: TrackedData, make_context: MakeContext) -> None:
    (data.root / "data/train.csv").write_text("edited\n")
    target, outcome = fetched("dvc:data/train.csv", make_context)
    assert (target / "train.csv").read_text() == SECOND and outcome.facts["dvc"]["from"] == "remote storage"
    (data.root / "data/train.csv").write_text(SECOND)
    assert fetched("dvc:data/train.csv", make_context)[1].facts["dvc"]["from"] == "work tree"
    md5 = dvc.track("dvc:data/train.csv@v1", data.root).md5
    shutil.copytree(data.remote, data.root / ".dvc/cache")
    assert fetched("dvc:data/train.csv@v1", make_context)[1].facts["dvc"]["from"] == "cache"
    cached = data.root / ".dvc/cache/files/md5" / md5[:2] / md5[2:]
    cached.chmod(0o644)
    cached.write_text("other")
    with pytest.raises(IntegrityError, match="cache holds other bytes"):
        fetched("dvc:data/train.csv@v1", make_context)
    shutil.rmtree(data.root / ".dvc/cache")
    kept = data.remote / "files/md5" / md5[:2] / md5[2:]
    kept.chmod(0o644)
    kept.write_text("other")
    with pytest.raises(IntegrityError, match="holds other bytes"):
        fetched("dvc:data/train.csv@v1", make_context)


def test_what_is_not_there_is_said(data: TrackedData, make_context: MakeContext) -> None:
    cases = (
        ("dvc:data/other.csv", "DVC does not track data/other.csv"),
        ("dvc:data/parts@v1", "does not track data/parts at v1"),
        ("dvc:data/train.csv@v9", "git knows no revision v9"),
    )
    for source, said in cases:
        with pytest.raises(UsageError, match=said):
            dvc.track(source, data.root)
    shutil.rmtree(data.remote)
    with pytest.raises(UsageError, match="nor in its remote storage") as caught:
        fetched("dvc:data/train.csv", make_context)
    assert "dvc push" in (caught.value.remedy or "")
    config = data.root / ".dvc/config"
    config.write_text(config.read_text().replace(str(data.remote), "gdrive://folder"))
    with pytest.raises(NotSupportedError, match="read by DVC alone"):
        fetched("dvc:data/train.csv", make_context)
    config.write_text("")
    with pytest.raises(UsageError, match="there is no remote"):
        fetched("dvc:data/train.csv", make_context)


def test_the_output_of_a_pipeline_and_an_old_record(data: TrackedData, make_context: MakeContext) -> None:
    md5 = dvc.track("dvc:data/train.csv@v1", data.root).md5
    (data.root / "dvc.yaml").write_text(
        "stages:\n  clean:\n    wdir: data\n    cmd: python clean.py\n    outs: [clean.csv]\n"
    )
    outs = f"    outs:\n    - path: clean.csv\n      md5: {md5}\n"
    (data.root / "dvc.lock").write_text(f"schema: '2.0'\nstages:\n  clean:\n    cmd: python clean.py\n{outs}")
    old = data.remote / md5[:2] / md5[2:]  # no `hash`: DVC before 3.0, with its own layout
    old.parent.mkdir(exist_ok=True)
    old.write_text(FIRST.replace("\n", "\r\n"))  # whose md5 is of the text with other line ends
    (data.remote / "files/md5" / md5[:2] / md5[2:]).unlink()
    target, outcome = fetched("dvc:data/clean.csv", make_context)
    assert (target / "clean.csv").read_text() == FIRST and outcome.facts["dvc"]["record"] == "dvc.lock"


def test_records_of_a_release_are_what_dvc_writes(data: TrackedData, tmp_path: Path) -> None:
    model = tmp_path / "kept/model"
    (model / "parts").mkdir(parents=True)
    (model / "meta.json").write_text("{}")
    (model / "parts/a.bin").write_bytes(b"\x00" * 3_000_000)
    table = tmp_path / "kept/train.csv"
    table.write_text(FIRST)
    release = Release("churn", 2, "key", "run", "models:/churn/2", Artifact("blake3:m", 1, "model", tree=True), {})
    inputs = {"model": (release.artifact, model), "data": (Artifact("blake3:d", 1, "train.csv"), table)}
    assert record(data.root, release, inputs) == ["versions/churn/model.dvc", "versions/churn/data.csv.dvc"]
    before = (data.root / "versions/churn/model.dvc").read_bytes()
    record(data.root, release, inputs)
    assert (data.root / "versions/churn/model.dvc").read_bytes() == before
    found = dvc.track("dvc:versions/churn/model", data.root)  # our own reading of it
    dvc.fetch("dvc:versions/churn/model", data.root, lambda name, several: tmp_path / "again" / name)
    assert (tmp_path / "again/parts/a.bin").read_bytes() == (model / "parts/a.bin").read_bytes()
    if data.dvc:
        shutil.rmtree(tmp_path / "kept")
        subprocess.run([data.dvc, "checkout", "--quiet", "versions/churn/model.dvc"], cwd=data.root, check=True)
        assert (data.root / "versions/churn/model/meta.json").read_text() == "{}"
        subprocess.run([data.dvc, "add", "--quiet", "versions/churn/model"], cwd=data.root, check=True)
        assert dvc.track("dvc:versions/churn/model", data.root).md5 == found.md5
