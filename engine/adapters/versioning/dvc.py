"""Releases as DVC records: `versioning: dvc` in a spec.

For each release `versions/<model>/<role>.dvc` say the md5 of what the release is made of, and DVC's cache gets the
bytes. Commit them, and `git checkout REV && dvc checkout` brings a release's files back without the engine; `dvc push`
takes them to a remote. Written the way `dvc add` writes: the same md5, the same listing of a folder.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from engine.adapters.sources.dvc import Config, names
from engine.core.records import Artifact, Release
from engine.errors import UsageError

FOLDER = "versions"
ROLES = ("model", "data", "holdout", "evaluation", "predictions")
_CHUNK = 1 << 20


def refuse_without_repository(project: Path) -> None:
    """Raise UsageError where `versioning: dvc` has no DVC repository to write to."""
    if Config.around(project) is None:
        raise UsageError("versioning: dvc, but the project is in no DVC repository", remedy="Make it one: dvc init")


def record(project: Path, release: Release, inputs: Mapping[str, tuple[Artifact, Path]]) -> list[str]:
    """Write the records of a release; returns their paths from the project. `inputs`: its contents by role.

    Writing again what is there changes nothing. Raises UsageError without a repository, OSError as the disk does.
    """
    config = Config.around(project)
    if config is None:
        raise UsageError("versioning: dvc, but the project is in no DVC repository", remedy="Make it one: dvc init")
    folder = project / FOLDER / release.model
    folder.mkdir(parents=True, exist_ok=True)
    written, ignored = [], []
    for role in ROLES:
        if role in inputs:
            artifact, path = inputs[role]
            name = role + "".join(PurePosixPath(artifact.name).suffixes if not artifact.tree else ())
            out = {**_out(path, config.cache), "hash": "md5", "path": name}
            place = folder / f"{name}.dvc"
            _replace(place, _text(out, release, role, artifact))
            written.append(str(place.relative_to(project)))
            ignored.append(f"/{name}\n")
    _replace(folder / ".gitignore", "".join(ignored).encode())
    return written


def _out(path: Path, cache: Path) -> dict[str, Any]:
    """What DVC says of a file or a folder, whose bytes are put into its cache."""
    if not path.is_dir():
        return {"md5": _cached(path, cache), "size": path.stat().st_size}
    files = sorted((file.relative_to(path).as_posix(), file) for file in path.rglob("*") if file.is_file())
    listing = [{"md5": _cached(file, cache), "relpath": relative} for relative, file in files]
    text = json.dumps(listing, sort_keys=True).encode()
    md5 = f"{hashlib.md5(text, usedforsecurity=False).hexdigest()}.dir"
    _keep(cache / names(md5)[0], lambda copy: copy.write_bytes(text))
    return {"md5": md5, "size": sum(file.stat().st_size for _, file in files), "nfiles": len(files)}


def _cached(path: Path, cache: Path) -> str:
    digest = hashlib.md5(usedforsecurity=False)
    for block in _blocks(path):
        digest.update(block)
    md5 = digest.hexdigest()
    _keep(cache / names(md5)[0], lambda copy: shutil.copyfile(path, copy))
    return md5


def _blocks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while block := file.read(_CHUNK):
            yield block


def _keep(place: Path, write: Any) -> None:
    """Put content into the cache, read-only and whole, unless it is there."""
    if place.exists():
        return
    place.parent.mkdir(parents=True, exist_ok=True)
    copy = place.with_name(f".{place.name}.{secrets.token_hex(4)}")
    write(copy)
    copy.chmod(0o444)
    copy.replace(place)


def _text(out: Mapping[str, Any], release: Release, role: str, artifact: Artifact) -> bytes:
    import yaml

    content = {
        "outs": [out],
        "desc": f"{role} of {release.model}@{release.version}",
        "meta": {"engine": {"release": release.version, "run": release.run_id, "digest": artifact.digest}},
    }
    return yaml.safe_dump(content, sort_keys=False).encode()


def _replace(place: Path, content: bytes) -> None:
    if place.is_file() and place.read_bytes() == content:
        return
    partial = place.with_name(f".{place.name}.{os.getpid()}.partial")
    partial.write_bytes(content)
    partial.replace(place)
