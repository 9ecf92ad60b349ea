"""The manifest of a tree: which files it has, with their digests, sizes and executable flags.

It is canonical JSON, stored as an object like any other; the digest of a tree is its manifest's. Empty folders
are not part of a tree. Paths are relative, POSIX, sorted, and never leave the tree.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import PurePosixPath

from engine.core.canonical import canonical_json
from engine.errors import IntegrityError, UsageError

_PREFIX = b'{"engine_tree":1,'


@dataclass(frozen=True, order=True)
class Entry:
    """One file of a tree; `size` in bytes."""

    path: str
    digest: str
    size: int
    executable: bool


def encode(entries: Iterable[Entry]) -> bytes:
    """The manifest's bytes. Raises UsageError for a path that leaves the tree or is both file and folder."""
    ordered = sorted(entries)
    files = {entry.path for entry in ordered}
    for entry in ordered:
        check_path(entry.path)
        if any(str(parent) in files for parent in PurePosixPath(entry.path).parents):
            raise UsageError(f"{entry.path!r} lies under another file of the same tree")
    document = {"engine_tree": 1, "files": [[e.path, e.digest, e.size, e.executable] for e in ordered]}
    return canonical_json(document).encode()


def decode(data: bytes) -> tuple[Entry, ...]:
    """The entries of a manifest. Raises IntegrityError if these bytes are not one."""
    try:
        files = json.loads(data)["files"]
        entries = tuple(Entry(str(path), str(digest), int(size), bool(x)) for path, digest, size, x in files)
        for entry in entries:
            check_path(entry.path)
    except (ValueError, TypeError, KeyError, UsageError):
        raise IntegrityError("this object is not the manifest of a tree") from None
    return entries


def is_manifest(head: bytes) -> bool:
    """Whether bytes that begin so may be a manifest."""
    return head.startswith(_PREFIX)


def check_path(path: str) -> None:
    """Raise UsageError unless `path` is relative, POSIX and stays inside its tree."""
    parts = path.split("/")
    if not path or "\0" in path or any(part in ("", ".", "..") for part in parts):
        raise UsageError(
            f"{path!r} cannot be a path inside a stored folder", remedy="It must be relative, without '..'."
        )
