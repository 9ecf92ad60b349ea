"""What every artifact store must do. Subclass `ArtifactStoreContract` in a test module with a fixture `store`."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from engine.core.canonical import digest_bytes
from engine.core.records import Artifact
from engine.errors import EngineError, IntegrityError
from engine.ports import ArtifactStore


def write(path: Path, content: bytes) -> Path:
    """A file with this content, its folders included."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def tree_of(folder: Path) -> dict[str, bytes]:
    """All files under a folder by their relative paths."""
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


class ArtifactStoreContract:
    """The contract of `ArtifactStore`."""

    def test_a_file_comes_back_under_its_name(self, store: ArtifactStore, tmp_path: Path) -> None:
        artifact = store.put(write(tmp_path / "in/churn.csv", b"a,b\n1,2\n"))
        assert artifact == Artifact(digest_bytes(b"a,b\n1,2\n"), 8, "churn.csv")
        path = store.path(artifact)
        assert path.name == "churn.csv"
        assert path.read_bytes() == b"a,b\n1,2\n"
        assert store.has(artifact)

    def test_a_file_can_have_another_name(self, store: ArtifactStore, tmp_path: Path) -> None:
        source = write(tmp_path / "x.tmp", b"same")
        one, two = store.put(source, "one.csv"), store.put(source, "two.json")
        assert one.digest == two.digest
        assert (store.path(one).name, store.path(two).name) == ("one.csv", "two.json")
        assert store.path(one).read_bytes() == store.path(two).read_bytes() == b"same"

    def test_an_empty_file_is_content_too(self, store: ArtifactStore, tmp_path: Path) -> None:
        artifact = store.put(write(tmp_path / "empty.csv", b""))
        assert store.path(artifact).read_bytes() == b""

    def test_a_folder_comes_back_as_it_was(self, store: ArtifactStore, tmp_path: Path) -> None:
        folder = tmp_path / "model"
        files = {"model.skops": b"weights", "meta/input.json": b"{}", "meta/ä b.txt": b""}
        for name, content in files.items():
            write(folder / name, content)
        (folder / "run.sh").write_bytes(b"#!/bin/sh\n")
        (folder / "run.sh").chmod(0o755)
        artifact = store.put(folder)
        assert artifact.tree
        assert artifact.size == sum(map(len, files.values())) + 10
        path = store.path(artifact)
        assert path.name == "model"
        assert tree_of(path) == {**files, "run.sh": b"#!/bin/sh\n"}
        assert os.access(path / "run.sh", os.X_OK)
        assert not (path / "model.skops").stat().st_mode & 0o111

    def test_a_tree_is_its_files_and_nothing_else(self, store: ArtifactStore, tmp_path: Path) -> None:
        one, two = write(tmp_path / "1", b"one"), write(tmp_path / "2", b"two")
        tree = store.put_tree({"b/x.csv": one, "a.csv": two}, "data")
        assert store.put_tree({"a.csv": two, "b/x.csv": one}, "data") == tree
        assert store.put_tree({"a.csv": one, "b/x.csv": two}, "data").digest != tree.digest
        assert tree_of(store.path(tree)) == {"a.csv": b"two", "b/x.csv": b"one"}

    def test_an_empty_folder_is_an_empty_tree(self, store: ArtifactStore, tmp_path: Path) -> None:
        (tmp_path / "figures").mkdir()
        artifact = store.put(tmp_path / "figures")
        assert store.has(artifact)
        assert tree_of(store.path(artifact)) == {}

    def test_what_was_given_away_can_be_put_again_and_removed(self, store: ArtifactStore, tmp_path: Path) -> None:
        file = write(tmp_path / "report.json", b"{}")
        folder = write(tmp_path / "model/weights.bin", b"w").parent
        stored = [store.put(file, move=True), store.put(folder, move=True)]
        assert [store.put(file, move=True), store.put(folder, move=True)] == stored
        shutil.rmtree(folder)
        file.unlink()
        assert store.path(stored[0]).read_bytes() == b"{}"
        assert tree_of(store.path(stored[1])) == {"weights.bin": b"w"}

    def test_putting_again_changes_nothing(self, store: ArtifactStore, tmp_path: Path) -> None:
        source = write(tmp_path / "a.csv", b"1\n")
        assert store.put(source) == store.put(source)
        assert store.path(store.put(source)).read_bytes() == b"1\n"

    def test_replacing_the_source_does_not_touch_the_object(self, store: ArtifactStore, tmp_path: Path) -> None:
        source = write(tmp_path / "a.csv", b"old")
        artifact = store.put(source)
        write(tmp_path / "new", b"new").replace(source)
        assert store.path(artifact).read_bytes() == b"old"

    def test_what_is_not_there_is_said(self, store: ArtifactStore) -> None:
        absent = Artifact(digest_bytes(b"never stored"), 12, "a.csv")
        assert not store.has(absent)
        assert not store.has(replace(absent, tree=True))
        with pytest.raises(IntegrityError, match="missing"):
            store.path(absent)

    def test_collect_keeps_what_is_reached(self, store: ArtifactStore, tmp_path: Path) -> None:
        kept = store.put(write(tmp_path / "model/weights", b"weights").parent)
        shared = store.put(write(tmp_path / "weights", b"weights"))
        other = store.put(write(tmp_path / "other.csv", b"0123456789"))
        assert store.collect([kept.digest]) == 10
        assert not store.has(other)
        assert store.has(shared)
        assert tree_of(store.path(kept)) == {"weights": b"weights"}
        store.collect([])
        assert not store.has(kept)
        assert not store.has(shared)

    def test_links_and_pipes_are_refused(self, store: ArtifactStore, tmp_path: Path) -> None:
        for kind in ("link", "pipe", "dangling"):
            folder = tmp_path / kind
            write(folder / "fine.txt", b"")
            if kind == "pipe":
                os.mkfifo(folder / "x")
            else:
                (folder / "x").symlink_to("/etc/hostname" if kind == "link" else "nowhere")
            with pytest.raises(EngineError, match="cannot be stored"):
                store.put(folder)

    @pytest.mark.parametrize("path", ["../up.csv", "/root.csv", "a/../../b", "a//b", "", ".", "nul\0"])
    def test_paths_stay_inside_their_tree(self, store: ArtifactStore, tmp_path: Path, path: str) -> None:
        with pytest.raises(EngineError):
            store.put_tree({path: write(tmp_path / "x", b"")}, "data")

    @pytest.mark.parametrize("name", ["..", ".", "a/b", "x" * 300])
    def test_names_are_plain(self, store: ArtifactStore, tmp_path: Path, name: str) -> None:
        with pytest.raises(EngineError):
            store.put(write(tmp_path / "x", b""), name)

    def test_what_does_not_exist_cannot_be_stored(self, store: ArtifactStore, tmp_path: Path) -> None:
        with pytest.raises(EngineError, match=r"absent\.csv"):
            store.put(tmp_path / "absent.csv")
