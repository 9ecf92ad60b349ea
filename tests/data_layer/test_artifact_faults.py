"""Kills, full disks, tampering and crowds: the store loses nothing that it acknowledged, and notices every change."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from engine.adapters.artifacts import objects
from engine.adapters.artifacts.local import LocalArtifacts
from engine.core.records import Artifact
from engine.errors import EngineError, IntegrityError

POINTS = ("artifacts.write", "artifacts.sync", "artifacts.rename", "artifacts.renamed")

PUT = """
import sys
from pathlib import Path
from engine.adapters.artifacts.local import LocalArtifacts
artifact = LocalArtifacts(Path(sys.argv[1])).put(Path(sys.argv[2]), move=sys.argv[3] == "move")
print(artifact.digest, artifact.size)
"""


def put_elsewhere(root: Path, source: Path, failpoints: str = "", move: bool = False) -> subprocess.Popen[str]:
    environment = {**os.environ, "ENGINE_FAILPOINTS": failpoints}
    command = [sys.executable, "-c", PUT, str(root), str(source), "move" if move else "copy"]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def strays(root: Path) -> list[Path]:
    return list((root / "tmp").iterdir())


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "artifacts"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "data.csv"
    path.write_bytes(os.urandom(3 << 20))
    return path


@pytest.mark.parametrize("hit", (1, 3))
@pytest.mark.parametrize("point", POINTS)
def test_a_kill_in_a_folder_loses_none_of_it(root: Path, tmp_path: Path, point: str, hit: int) -> None:
    folder = tmp_path / "model"
    files = {"a": b"1", "b/c": b"22", "b/d": b"1"}
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    put_elsewhere(root, folder, f"{point}=kill@{hit}", move=True).communicate()
    store = LocalArtifacts(root)
    path = store.path(store.put(folder, move=True))
    assert {p.relative_to(path).as_posix(): p.read_bytes() for p in path.rglob("*") if p.is_file()} == files


@pytest.mark.parametrize("move", [False, True])
@pytest.mark.parametrize("point", POINTS)
def test_a_kill_leaves_a_whole_object_or_none(root: Path, source: Path, point: str, move: bool) -> None:
    process = put_elsewhere(root, source, f"{point}=kill", move)
    process.communicate()
    assert process.returncode == -9
    store = LocalArtifacts(root)
    artifact = store.put(source, move=move)
    assert store.path(artifact).read_bytes() == source.read_bytes()
    store.collect([artifact.digest])
    assert strays(root) == []
    assert store.path(artifact).read_bytes() == source.read_bytes()


@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize(("action", "says"), [("enospc", "No space left"), ("eio", "Input/output error")])
@pytest.mark.parametrize("move", [False, True])
def test_a_refusing_disk_is_a_clear_error(
    root: Path, source: Path, point: str, action: str, says: str, move: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = source.read_bytes()
    monkeypatch.setattr("engine.failpoints._hits", {})
    monkeypatch.setenv("ENGINE_FAILPOINTS", f"{point}={action}")
    store = LocalArtifacts(root)
    with pytest.raises(EngineError, match=says) as caught:
        store.put(source, move=move)
    assert caught.value.remedy
    assert strays(root) == []
    assert source.read_bytes() == content
    assert store.path(store.put(source, move=move)).read_bytes() == content


def test_many_processes_put_the_same_content_at_once(root: Path, source: Path) -> None:
    processes = [put_elsewhere(root, source) for _ in range(50)]
    answers = {process.communicate() for process in processes}
    assert [process.returncode for process in processes] == [0] * 50
    assert len(answers) == 1
    digest, size = answers.pop()[0].split()
    store = LocalArtifacts(root)
    assert store.path(Artifact(digest, int(size), "data.csv")).read_bytes() == source.read_bytes()
    assert strays(root) == []
    assert len([path for path in root.glob("??/*") if path.is_file()]) == 1


@pytest.mark.parametrize("same_size", [True, False])
def test_tampering_with_a_file_is_found_and_heals(root: Path, source: Path, same_size: bool) -> None:
    store = LocalArtifacts(root)
    artifact = store.put(source)
    path = store.path(artifact)
    before = path.stat()
    path.chmod(0o644)
    with path.open("r+b" if same_size else "ab") as file:
        file.write(b"x")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(IntegrityError, match="altered") as caught:
        store.path(artifact)
    assert "engine apply" in caught.value.remedy
    assert not store.has(artifact)
    assert store.put(source) == artifact
    assert store.path(artifact).read_bytes() == source.read_bytes()


def test_putting_replaces_an_altered_object(root: Path, source: Path) -> None:
    store = LocalArtifacts(root)
    path = store.path(store.put(source))
    path.chmod(0o644)
    path.write_bytes(b"something else")
    artifact = store.put(source)
    assert store.path(artifact).read_bytes() == source.read_bytes()


def test_a_linked_file_changed_in_place_is_found(root: Path, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objects, "COPY_UP_TO", 0)
    store = LocalArtifacts(root)
    old = store.put(source)
    assert source.stat().st_nlink > 1
    with source.open("r+b") as file:
        file.write(b"changed in place")
    with pytest.raises(IntegrityError, match="altered"):
        store.path(old)
    new = store.put(source)
    assert new.digest != old.digest
    assert store.path(new).read_bytes() == source.read_bytes()


def test_tampering_with_a_tree_is_found(root: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "weights").write_bytes(b"weights")
    (folder / "meta.json").write_bytes(b"{}")
    store = LocalArtifacts(root)
    artifact = store.put(folder)
    view = store.path(artifact)

    (view / "smuggled.pkl").write_bytes(b"evil")
    assert sorted(p.name for p in store.path(artifact).iterdir()) == ["meta.json", "weights"]

    (store.path(artifact) / "weights").unlink()
    assert (store.path(artifact) / "weights").read_bytes() == b"weights"

    path = store.path(artifact) / "weights"
    path.chmod(0o644)
    path.write_bytes(b"WEIGHTS")
    with pytest.raises(IntegrityError, match="model/weights"):
        store.path(artifact)
    assert not store.has(artifact)
    assert store.put(folder) == artifact
    assert (store.path(artifact) / "weights").read_bytes() == b"weights"


def test_verification_survives_the_loss_of_its_notes(root: Path, source: Path) -> None:
    store = LocalArtifacts(root)
    artifact = store.put(source)
    for note in (root / "verified").rglob("*"):
        if note.is_file():
            note.write_bytes(b"\xff garbage")
    assert store.path(artifact).read_bytes() == source.read_bytes()


def test_objects_are_read_only(root: Path, source: Path) -> None:
    store = LocalArtifacts(root)
    assert store.path(store.put(source)).stat().st_mode & 0o777 == 0o444
    assert source.stat().st_mode & 0o200


def test_temporaries_of_the_dead_are_collected_and_of_the_living_are_not(root: Path, source: Path) -> None:
    store = LocalArtifacts(root)
    artifact = store.put(source)
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    host = os.uname().nodename
    (root / "tmp" / f"{host}.{dead.pid}.aa").write_bytes(b"stray")
    (root / "tmp" / f"{host}.{os.getpid()}.bb").write_bytes(b"in use")
    (root / "tmp" / f"elsewhere.{dead.pid}.cc").write_bytes(b"in use")
    old = root / "tmp" / f"elsewhere.{dead.pid}.dd"
    old.write_bytes(b"stray")
    os.utime(old, (0, 0))
    assert store.collect([artifact.digest]) == 0
    assert sorted(path.suffix for path in strays(root)) == [".bb", ".cc"]


def test_a_file_with_two_names_is_not_taken(root: Path, source: Path, tmp_path: Path) -> None:
    content = source.read_bytes()
    (tmp_path / "out.csv").hardlink_to(source)
    store = LocalArtifacts(root)
    artifact = store.put(tmp_path / "out.csv", move=True)
    source.write_bytes(b"the user's own file goes on")
    assert store.path(artifact).read_bytes() == content
