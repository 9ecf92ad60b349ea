"""Views: objects under their own names, as links, so that a program finds `train.parquet` and not a digest.

`files/<digest>/<name>` and `trees/<digest>/<name>/…` may be deleted at any time; they are made again.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from engine.adapters.artifacts import manifest
from engine.adapters.artifacts.content import digest_file
from engine.adapters.artifacts.disk import walk
from engine.adapters.artifacts.objects import Objects

FOLDERS = ("files", "trees")


class Views:
    """The views of a store's objects."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects

    def present(self, digest: str, name: str) -> Path:
        """A file under its name."""
        view = self._view("files", digest) / name
        if self._objects.is_object(view, digest):
            return view
        view.parent.mkdir(parents=True, exist_ok=True)
        with self._objects.relinking(digest), self._objects.temporary() as temporary:
            self._link(digest, temporary)
            temporary.replace(view)
        return view

    def present_tree(self, digest: str, name: str, entries: Iterable[manifest.Entry]) -> Path:
        """A folder of files under their names."""
        view = self._view("trees", digest) / name
        if not self._shows(view, entries):
            self._materialise(view, entries)
        return view

    def of(self, digest: str) -> list[Path]:
        """Where an object's views are."""
        return [self._view(kind, digest) for kind in FOLDERS]

    def _link(self, digest: str, target: Path) -> None:
        place = self._objects.at(digest)
        try:
            target.hardlink_to(place)
        except OSError:  # too many links, or a file system without them
            target.symlink_to(place)

    def _shows(self, view: Path, entries: Iterable[manifest.Entry]) -> bool:
        """Whether the folder `view` has exactly these files, each the object itself."""
        try:
            shown = dict(walk(view, links=True))
            expected = {entry.path: entry for entry in entries}
            return shown.keys() == expected.keys() and all(self._is(shown[p], e) for p, e in expected.items())
        except OSError:
            return False

    def _is(self, path: Path, entry: manifest.Entry) -> bool:
        if entry.executable:
            return digest_file(path) == entry.digest and os.access(path, os.X_OK)
        return self._objects.is_object(path, entry.digest)

    def _materialise(self, view: Path, entries: Iterable[manifest.Entry]) -> None:
        import shutil

        with self._objects.temporary() as temporary:
            temporary.mkdir()
            for entry in entries:
                target = temporary / entry.path
                target.parent.mkdir(parents=True, exist_ok=True)
                if entry.executable:  # a mode belongs to the file, so that it cannot be the shared object
                    shutil.copyfile(self._objects.at(entry.digest), target)
                    target.chmod(0o555)
                else:
                    with self._objects.relinking(entry.digest):
                        self._link(entry.digest, target)
            view.parent.mkdir(parents=True, exist_ok=True)
            try:
                temporary.rename(view)
            except OSError:  # there is one: an outdated one, or one that another process has just made
                if not self._shows(view, entries):
                    with self._objects.temporary() as old:
                        view.rename(old)
                        temporary.rename(view)

    def _view(self, kind: str, digest: str) -> Path:
        root = self._objects.root
        return root / kind / self._objects.at(digest).relative_to(root)
