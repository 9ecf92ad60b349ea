"""Content-addressed storage in a local folder: objects by their digests, and views of them by their names.

A crash at any point leaves either the whole object or a stray temporary, which `collect` removes. What was altered
is found when it is read and set aside, so that `has` says no and the step that made it runs again.

A file is cloned where the file system can, copied up to 256 MiB, and beyond that hard-linked: a 2 GB snapshot
costs its hash and no second copy. The price is documented: who later changes such a file *in place* changes the
object too, which the next reading finds. Replacing the file (write beside it, rename) leaves the object alone.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path

from engine.adapters.artifacts import manifest
from engine.adapters.artifacts.disk import remove, storing, walk
from engine.adapters.artifacts.objects import Objects
from engine.adapters.artifacts.views import Views
from engine.core.records import Artifact
from engine.errors import IntegrityError, UsageError
from engine.ports import Hashed


class LocalArtifacts:
    """An `ArtifactStore` in the folder `root`, which is created when the first object is stored."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        self._objects = Objects(root)
        self._views = Views(self._objects)

    def put(self, path: Path, name: str | None = None, *, move: bool = False, known: Hashed | None = None) -> Artifact:
        """Store a file or a folder (as a tree), durably; a folder's empty subfolders are left out.

        `known` says what the file held when it was hashed: a large one is not read again while it is that file.

        With `move`, files become the objects themselves, by link: they stay where they are, read-only, until the
        caller removes them, so that a crash in between loses nothing and the same call can be made again.
        Raises UsageError for links, pipes and devices in a folder, EngineError when the disk refuses.
        """
        name = _checked_name(name or path.name)
        with storing(name):
            status = path.stat()
            if stat.S_ISDIR(status.st_mode):
                return self._put_files(dict(walk(path)), name, move=move)
            if not stat.S_ISREG(status.st_mode):
                raise UsageError(f"{path} is neither a file nor a folder")
            digest, size = self._objects.store(path, move=move, known=known)
            self._views.present(digest, name)
            return Artifact(digest, size, name)

    def put_tree(self, files: Mapping[str, Path], name: str) -> Artifact:
        """Store several files as one tree; keys are relative POSIX paths inside it. Raises as `put`."""
        name = _checked_name(name)
        for path in files:
            manifest.check_path(path)
        with storing(name):
            return self._put_files(files, name, move=False)

    def path(self, artifact: Artifact) -> Path:
        """The verified content, read-only, under a path that ends in the artifact's name.

        Raises IntegrityError if it is missing or altered.
        """
        name = _checked_name(artifact.name)
        self._objects.verify(artifact.digest, name)
        if not artifact.tree:
            return self._views.present(artifact.digest, name)
        entries = self._objects.entries(artifact.digest)
        for entry in entries:
            self._objects.verify(entry.digest, f"{name}/{entry.path}")
        return self._views.present_tree(artifact.digest, name, entries)

    def files(self, artifact: Artifact) -> dict[str, tuple[str, str]]:
        """The verified files of an artifact by their names in it: the place and the digest of each.

        For who reads a place once and verifies the bytes that it read: here a note that an object was found sound is
        believed. The list itself is read and verified now. Raises IntegrityError if anything is missing or altered.
        """
        name = _checked_name(artifact.name)
        self._objects.verify(artifact.digest, name)
        if not artifact.tree:
            return {name: (self._objects.place(artifact.digest), artifact.digest)}
        entries = self._objects.read_entries(artifact.digest)
        for entry in entries:
            self._objects.verify(entry.digest, f"{name}/{entry.path}")
        return {entry.path: (self._objects.place(entry.digest), entry.digest) for entry in entries}

    def has(self, artifact: Artifact) -> bool:
        """Whether the content is there with the right size, without reading it."""
        if not artifact.tree:
            return self._objects.size(artifact.digest) == artifact.size
        try:
            entries = self._objects.entries(artifact.digest)
        except (OSError, IntegrityError):
            return False
        return all(self._objects.size(entry.digest) == entry.size for entry in entries)

    def has_object(self, digest: str) -> bool:
        """Whether there is any content of this digest."""
        return digest in self._objects

    def places(self, artifact: Artifact) -> list[str]:
        """The paths that must exist for the content to be there; for a plan that watches them."""
        members = [entry.digest for entry in self._objects.entries(artifact.digest)] if artifact.tree else []
        return [self._objects.place(digest) for digest in (artifact.digest, *members)]

    def collect(self, keep: Iterable[str], *, dry_run: bool = False) -> int:
        """Remove every object that no digest in `keep` reaches, and strays; returns the bytes freed.

        The caller makes sure that no run is storing anything meanwhile. A `dry_run` only counts.
        """
        wanted = set(keep)
        for digest in list(wanted):
            wanted.update(self._objects.members(digest))
        freed = 0
        for digest in self._objects.all():
            if digest in wanted:
                continue
            place = self._objects.at(digest)
            freed += place.stat().st_size
            if dry_run:
                continue
            place.unlink()
            for trace in (self._objects.note(digest), *self._views.of(digest)):
                remove(trace)
        if not dry_run:
            self._objects.remove_strays()
        return freed

    def _put_files(self, files: Mapping[str, Path], name: str, *, move: bool) -> Artifact:
        entries = []
        for relative, path in sorted(files.items()):
            mode = path.stat().st_mode
            if not stat.S_ISREG(mode):
                raise UsageError(f"{path} is not a regular file")
            digest, size = self._objects.store(path, move=move)
            entries.append(manifest.Entry(relative, digest, size, bool(mode & stat.S_IXUSR)))
        digest = self._objects.store_tree(entries)
        self._views.present_tree(digest, name, entries)
        return Artifact(digest, sum(entry.size for entry in entries), name, tree=True)


def _checked_name(name: str) -> str:
    if name in ("", ".", "..") or "/" in name or "\0" in name or len(os.fsencode(name)) > 255:
        raise UsageError(f"{name[:80]!r} cannot be the name of an artifact", remedy="Use a plain file name.")
    return name
