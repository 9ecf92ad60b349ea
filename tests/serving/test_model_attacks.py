"""Releases that somebody tampered with: none runs code, all are refused, and the stable release goes on serving."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pandas as pd
import pytest
from evil_models import MAKERS, naive
from served import MISCHIEF, TWIN, Gateway, add_release, release_of, set_endpoint

from engine.adapters.artifacts.objects import _signature
from engine.app.serving import StateTruth
from engine.app.signing import ModelSignatures
from engine.app.workspace import open_workspace
from engine.cli.entry import run
from engine.core.canonical import digest_bytes
from engine.core.records import Artifact
from engine.errors import IntegrityError
from engine.serving.desired import ReleaseRef
from engine.serving.files import ModelFiles
from engine.steps.model_files import META, load_stored
from engine.steps.stored_files import StoredFile

Tamper = Callable[[Path], None]


def ref_of(folder: Path, version: int) -> ReleaseRef:
    """A release as the gateway gets to know it."""
    workspace = open_workspace(folder)
    set_endpoint(folder, stable=version)
    found = StateTruth(workspace).desired().endpoints["churn"].stable
    workspace.reader.close()
    return found


# ── what is not ours ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def forged(live: Gateway, tmp_path: Path) -> Callable[[str, int], Artifact]:
    """Adds a release with the model folder of an attack, as who can write the state and the store may."""
    workspace = open_workspace(live.folder)
    sound = workspace.artifacts.path(release_of(live.folder, 1).artifact)

    def forge(name: str, version: int) -> Artifact:
        folder, canary = tmp_path / name / "model", tmp_path / "canary"
        shutil.copytree(sound, folder)
        MAKERS[name](folder, canary)
        naive(folder)
        assert canary.exists(), f"{name} does nothing"
        canary.unlink()
        artifact = workspace.artifacts.put(folder)
        add_release(live.folder, version, artifact=artifact, evidence={})
        return artifact

    return forge


def test_no_foreign_model_runs_code(live: Gateway, forged: Callable[[str, int], Artifact], tmp_path: Path) -> None:
    client = live.client()
    for version, name in enumerate(MAKERS, 20):
        forged(name, version)
        set_endpoint(live.folder, candidate=version, weight=0.9)
        live.wait(lambda: live.state(version)["state"] == "failed")  # noqa: B023
        assert live.state(version)["reason"], name
        assert client.predict().json["version"] == 1, name
        assert client.predict(headers={"x-engine-release": str(version)}).status == 404, name
        assert not (tmp_path / "canary").exists(), f"{name} ran"
    set_endpoint(live.folder, candidate=20, weight=0.9)
    live.wait(lambda: "engine apply --replace train" in live.state(20).get("reason", ""))


@pytest.mark.parametrize("way", ["swapped", "altered"])
def test_nor_where_it_is_evaluated(project: Path, tmp_path: Path, way: str, capsys: pytest.CaptureFixture[str]) -> None:
    workspace = open_workspace(project)
    model = workspace.reader.models(["churn"])["churn"].latest["train"].outputs["model"]
    folder, canary = tmp_path / "model", tmp_path / "canary"
    shutil.copytree(workspace.artifacts.path(model), folder)
    MAKERS["pickled"](folder, canary)
    if way == "swapped":  # by who can write the state and the store
        forged = workspace.artifacts.put(folder)
        with closing(sqlite3.connect(project / ".engine/state.db")) as connection, connection:
            [(outputs,)] = connection.execute("SELECT outputs FROM steps WHERE step = 'train'")
            outputs = outputs.replace(model.digest, forged.digest).replace(f":{model.size}", f":{forged.size}")
            connection.execute("UPDATE steps SET outputs = ? WHERE step = 'train'", (outputs,))
    else:  # by who can write the store alone
        _, digest = workspace.artifacts.files(model)[META]
        rewritten(Path(workspace.artifacts._objects.place(digest)), (folder / META).read_bytes())
    workspace.close()
    refused = way == "swapped"
    assert run(["--chdir", str(project), "apply", "--auto-approve", "--replace", "evaluate"]) == int(refused)
    expected = "was not signed by this project's training" if refused else "train done"  # it is trained anew
    assert expected in "".join(capsys.readouterr())
    assert not canary.exists()


def test_only_a_signature_of_this_project_counts(
    live: Gateway, forged: Callable[[str, int], Artifact], tmp_path: Path
) -> None:
    artifact = forged("pickled", 40)
    workspace = open_workspace(live.folder)
    place = workspace.artifacts.root / "signed" / artifact.digest.partition(":")[2]
    own = workspace.artifacts.root / "signed" / release_of(live.folder, MISCHIEF).artifact.digest.partition(":")[2]
    assert own.exists()
    signatures = ModelSignatures(workspace)
    for forgery in (own.read_text(), "", "0" * 64, "ü"):
        place.write_text(forgery)
        assert not signatures.holds(artifact.digest)
    other = open_workspace(tmp_path / "pickled")  # has a key of its own
    ModelSignatures(other).sign(artifact)
    shutil.copyfile(other.artifacts.root / "signed" / place.name, place)
    assert not signatures.holds(artifact.digest)
    signatures.sign(artifact)
    assert signatures.holds(artifact.digest)
    place.with_name("f" * 64).write_text("of what is not there")
    signatures.collect()
    assert {path.name for path in place.parent.iterdir()} >= {place.name, own.name}
    assert not place.with_name("f" * 64).exists()
    place.unlink()


# ── what was ours, and is not any more ───────────────────────────────────────────────────────────────────────


@pytest.fixture
def files(project: Path) -> ModelFiles:
    """The files of release 1, checked as the gateway does before it has them loaded."""
    workspace = open_workspace(project)
    found = StateTruth(workspace).files(ref_of(project, 1))
    workspace.reader.close()
    return found


def flipped(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    rewritten(path, bytes(data))


def rewritten(path: Path, data: bytes) -> None:
    path.chmod(0o600)
    path.write_bytes(data)


def replaced(path: Path) -> None:
    other = path.with_name("other")
    other.write_bytes(path.read_bytes() + b" ")
    other.replace(path)


def a_link(path: Path) -> None:
    """To the very content: a link is another's to move."""
    path.rename(path.with_name("moved"))
    path.symlink_to(path.with_name("moved"))


def a_hard_link(path: Path) -> None:
    other = path.with_name("other")
    other.write_bytes(b"{}")
    path.unlink()
    path.hardlink_to(other)


def a_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def gone(path: Path) -> None:
    path.unlink()


def a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


TAMPERS: tuple[Tamper, ...] = (flipped, replaced, a_link, a_hard_link, a_pipe, gone, a_folder)


@pytest.mark.parametrize("tamper", TAMPERS)
def test_what_changes_after_the_check_is_not_read(files: ModelFiles, tamper: Tamper, tmp_path: Path) -> None:
    named = {**files.model, "evaluation.json": files.evaluation, "holdout.parquet": files.holdout}
    assert {META, "model.skops"} <= named.keys()
    for name, file in named.items():
        assert file is not None
        file.read(name)
        shutil.copyfile(file.path, tmp_path / "kept")
        tamper(Path(file.path))
        with pytest.raises(IntegrityError, match=name):
            file.read(name)
        if name in files.model:
            with pytest.raises(IntegrityError, match=name):
                load_stored(files.model, tmp_path / "private", signed=True)
        place = Path(file.path)
        shutil.rmtree(place) if place.is_dir() else place.unlink(missing_ok=True)
        shutil.copyfile(tmp_path / "kept", place)


def test_a_note_that_says_sound_is_not_believed(project: Path, tmp_path: Path) -> None:
    workspace = open_workspace(project)
    truth, ref = StateTruth(workspace), ref_of(project, 1)
    store, files = workspace.artifacts, truth.files(ref)
    for name, file in files.model.items():
        kept = Path(file.path).read_bytes()
        flipped(Path(file.path))
        note = store._objects.note(file.digest)
        note.write_text(_signature(Path(file.path).stat()))
        checked = truth.files(ref)  # it believes the note
        with pytest.raises(IntegrityError, match=name):
            load_stored(checked.model, tmp_path / "private", signed=True)
        rewritten(Path(file.path), kept)
    place = store._objects.at(ref.artifact.digest)
    rewritten(place, place.read_bytes().replace(b"meta.json", b"mate.json"))
    store._objects.note(ref.artifact.digest).write_text(_signature(place.stat()))
    with pytest.raises(IntegrityError, match="list of files"):
        truth.files(ref)
    workspace.reader.close()


def test_what_is_shown_beside_the_objects_does_not_matter(project: Path, tmp_path: Path) -> None:
    """Views are for programs and people; a model is read from the objects, and from what its list names alone."""
    workspace = open_workspace(project)
    truth, ref = StateTruth(workspace), ref_of(project, 1)
    view = workspace.artifacts.path(ref.artifact)
    (view / "model.skops").unlink()
    (view / "model.skops").symlink_to("/etc/passwd")
    (view / "sitecustomize.py").write_text("raise SystemExit")
    (view / META).unlink()
    (view / META).write_text(json.dumps({"format": "pickle", "file": "model.pkl", "digest": ""}))
    found = load_stored(truth.files(ref).model, tmp_path / "private", signed=False)
    assert found.meta["format"] == "skops"
    workspace.reader.close()


def mischief_again(live: Gateway, folder: Path, more: bytes = b" ") -> Artifact:
    """The model of MISCHIEF in an artifact of its own: something follows the end of the pickle."""
    artifacts = open_workspace(live.folder).artifacts
    own = shutil.copytree(artifacts.path(release_of(live.folder, MISCHIEF).artifact), folder / "own")
    with (own / "model.pkl").open("ab") as file:
        file.write(more)
    return artifacts.put(own)


def test_a_file_that_is_replaced_under_a_running_release(live: Gateway, tmp_path: Path) -> None:
    artifact = mischief_again(live, tmp_path)
    workspace = open_workspace(live.folder)
    ModelSignatures(workspace).sign(artifact)
    add_release(live.folder, 41, artifact=artifact, evidence={})
    set_endpoint(live.folder, candidate=41, weight=0.5)
    live.effective(stable=1, candidate=41, weight=0.5)
    place, _ = workspace.artifacts.files(artifact)["model.pkl"]
    flipped(Path(place))
    os.kill(live.model_pid(41), signal.SIGKILL)  # the next process reads it again
    live.wait(lambda: live.state(41)["state"] == "failed")
    assert "model.pkl is not the file that was stored" in live.state(41)["reason"]
    live.effective(stable=1)
    assert {live.client().predict().json["version"] for _ in range(5)} == {1}


def test_a_release_is_served_once_it_is_signed(live: Gateway, tmp_path: Path) -> None:
    """As training it again does, for one that an older version of engine wrote."""
    artifact = mischief_again(live, tmp_path, b"  ")
    add_release(live.folder, 42, artifact=artifact, evidence={})
    set_endpoint(live.folder, candidate=42, weight=0.5)
    live.wait(lambda: live.state(42)["state"] == "failed")
    ModelSignatures(open_workspace(live.folder)).sign(artifact)
    live.effective(stable=1, candidate=42, weight=0.5)


def test_models_that_training_wrote_are_signed(project: Path) -> None:
    signatures = ModelSignatures(open_workspace(project))
    assert signatures.holds(release_of(project, TWIN).artifact.digest)


_LOADER = """
class Model:
    def predict(self, frame):
        from later import LABEL
        return [LABEL] * len(frame)

def _load_pyfunc(path):
    return Model()
"""


@pytest.mark.filterwarnings("ignore")  # of MLflow about a model without type hints
def test_a_signed_mlflow_model_is_read_from_a_copy(files: ModelFiles, tmp_path: Path) -> None:
    """Also what it reads only when it predicts."""
    folder = tmp_path / "mlflow"
    (folder / "code").mkdir(parents=True)
    (folder / "code" / "own_loader.py").write_text(_LOADER)
    (folder / "code" / "later.py").write_text("LABEL = 'yes'\n")
    flavor = "python_function: {loader_module: own_loader, code: code, data: MLmodel}"
    (folder / "MLmodel").write_text(f"flavors:\n  {flavor}\n")
    meta = json.loads(files.model[META].read(META))
    (folder / META).write_text(json.dumps({**meta, "format": "mlflow", "file": "MLmodel"}))
    names = ("MLmodel", META, "code/own_loader.py", "code/later.py")
    stored = {name: StoredFile(str(folder / name), digest_bytes((folder / name).read_bytes())) for name in names}
    loaded = load_stored(stored, tmp_path / "private", signed=True)
    shutil.rmtree(folder)
    assert loaded.predictor.predict(pd.DataFrame({"months": [1, 2]})) == ["yes", "yes"]
    assert (tmp_path / "private").stat().st_mode & 0o077 == 0
