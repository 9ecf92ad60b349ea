"""Data that DVC tracks: `dvc:data/train.csv`, in the work tree or at a revision of git (`dvc:data/train.csv@v1`).

DVC's own records (`.dvc` files, `dvc.lock`) are read as they are, here or as git keeps them, and say the data's md5.
The bytes come from the first of the work tree, DVC's cache and its remote that has them with that md5; every one is
hashed on the way. DVC itself is not needed.

Raises UsageError for what is not tracked, or nowhere to be had, NotSupportedError for a remote that only DVC reads.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from configparser import ConfigParser
from configparser import Error as ConfigError
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path, PurePosixPath
from typing import Any

from engine.adapters.sources.urls import open_files, shown, translated
from engine.core.canonical import Json
from engine.errors import IntegrityError, NotSupportedError, UsageError

SCHEME = "dvc:"
READ_HERE = ("", "file", "http", "https", "s3", "gs")  # schemes of remotes that are read without DVC
_MD5 = re.compile(r"[0-9a-f]{32}(\.dir)?")
_GIT_SECONDS = 30.0
_CHUNK = 1 << 20
_S3_OPTIONS = {  # in DVC's configuration → of s3fs
    "profile": ("profile",),
    "access_key_id": ("key",),
    "secret_access_key": ("secret",),
    "session_token": ("token",),
    "endpointurl": ("client_kwargs", "endpoint_url"),
    "region": ("client_kwargs", "region_name"),
}


@dataclass(frozen=True)
class Tracked:
    """What DVC's records say of a source.

    `md5` ends in `.dir` for a folder, whose `inside` is the path of what is meant within it (empty: all of it).
    `legacy` is the hash of DVC before 3.0, for which a text's line ends are made LF. `remote` is empty for the default
    one; `commit` and `revision` are empty for the work tree.
    """

    path: str
    md5: str
    record: str  # the file that says so, from the project
    place: Path  # where the tracked file or folder lies in the work tree
    legacy: bool = False
    inside: str = ""
    remote: str = ""
    revision: str = ""
    commit: str = ""

    @property
    def identity(self) -> str:
        """What identifies the content."""
        return f"md5:{self.md5}" + (f"/{self.inside}" if self.inside else "")


def split_revision(source: str) -> tuple[str, str]:
    """The path and the revision of a source `dvc:PATH@REVISION`; the revision is empty for the work tree."""
    path, _, revision = source.removeprefix(SCHEME).partition("@")
    return path, revision


def track(source: str, project: Path) -> Tracked:
    """Find what DVC's records say of a source. Raises UsageError when it is not tracked."""
    path, revision = split_revision(source)
    records = _Records(project, revision)
    for found in _looked_up(PurePosixPath(path), records):
        return found
    where = f" at {revision}" if revision else ""
    raise UsageError(
        f"data.source {source}: DVC does not track {path}{where}",
        remedy="Track it: dvc add, then commit its .dvc file." if not revision else "Choose a revision that has it.",
    )


@dataclass(frozen=True)
class Fetched:
    """What was fetched.

    `origin` says from where: `work tree`, `cache` or `remote NAME`, the farthest of all its files.
    `remote` is the URL of the remote that has it too, without its secrets; empty without one.
    """

    tracked: Tracked
    origin: str
    size: int  # bytes
    remote: str = ""

    def facts(self) -> dict[str, Json]:
        """What the snapshot's record keeps of it."""
        tracked = self.tracked
        return {
            "path": tracked.path,
            "md5": tracked.md5,
            "record": tracked.record,
            "revision": tracked.revision or None,
            "commit": tracked.commit or None,
            "from": self.origin,
            "remote": self.remote or None,
        }


def fetch(source: str, project: Path, target: Callable[[str, bool], Path]) -> Fetched:
    """Bring the tracked content to `target(relative path, whether there are several)`.

    Raises UsageError when it is nowhere, IntegrityError when a store holds other bytes.
    """
    tracked = track(source, project)
    stores = _Stores(tracked, project)
    if not tracked.md5.endswith(".dir"):
        local = target(PurePosixPath(tracked.path).name, False)
        place = stores.bring(tracked.md5, tracked.place, local)
        return Fetched(tracked, place, local.stat().st_size, stores.address)
    size, farthest = 0, 0
    wanted = list(_within(tracked, stores.listing()))
    for relative, name, md5 in wanted:
        local = target(name, len(wanted) > 1)
        farthest = max(farthest, _NEAREST.index(stores.bring(md5, tracked.place / relative, local).partition(" ")[0]))
        size += local.stat().st_size
    return Fetched(tracked, stores.named(_NEAREST[farthest]), size, stores.address)


_NEAREST = ("work", "cache", "remote")


def _within(tracked: Tracked, listing: Sequence[Mapping[str, str]]) -> Iterator[tuple[str, str, str]]:
    """The files that are meant of a tracked folder: their paths in it, their names here, their md5."""
    found = False
    for entry in sorted(listing, key=lambda each: each["relpath"]):
        path = entry["relpath"]
        if PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts:
            raise UsageError(f"{tracked.record} lists {path}, which leads out of its folder")
        if not tracked.inside or path == tracked.inside or path.startswith(f"{tracked.inside}/"):
            found = True
            name = path.removeprefix(f"{tracked.inside}/") if tracked.inside != path else PurePosixPath(path).name
            yield path, name, entry["md5"]
    if not found:
        remedy = "Correct data.source." if tracked.inside else "Add data to it."
        raise UsageError(f"{tracked.record} has no files for {tracked.path}", remedy=remedy)


# ── records ──────────────────────────────────────────────────────────────────────────────────────────────────


class _Records:
    """DVC's files, in the work tree or at a revision of git. Paths are relative to the project."""

    def __init__(self, project: Path, revision: str) -> None:
        self.project = project
        self.revision = revision
        self.commit = self._git("rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}") if revision else ""
        if revision and not self.commit:
            raise UsageError(f"git knows no revision {revision}", remedy="Correct data.source, or fetch it: git fetch")

    def read(self, path: PurePosixPath) -> Mapping[str, Any]:
        """A YAML file; empty if there is none."""
        if self.revision:
            text = self._git("show", f"{self.commit}:./{path}") or ""
        else:
            file = self.project / path
            text = file.read_text(encoding="utf-8") if file.is_file() else ""
        return _mapping(text, str(path)) if text else {}

    def _git(self, *words: str) -> str | None:
        """What git answers; None when it refuses."""
        try:
            answer = subprocess.run(  # noqa: S603 - no shell, and a revision never begins with a dash
                ["git", "-C", str(self.project), *words],  # noqa: S607 - the user's git
                capture_output=True,
                encoding="utf-8",
                timeout=_GIT_SECONDS,
                check=False,
            )
        except FileNotFoundError:
            raise UsageError("data at a revision needs git", remedy="Install git.") from None
        except subprocess.TimeoutExpired:
            raise UsageError("git did not answer", remedy="Check the repository.") from None
        return answer.stdout.strip() if answer.returncode == 0 else None


def _mapping(text: str, name: str) -> Mapping[str, Any]:
    import yaml

    try:
        content = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError) as error:
        raise UsageError(f"{name} is not YAML: {error}", remedy="Mend it, or track the data anew.") from None
    return content if isinstance(content, Mapping) else {}


def _looked_up(path: PurePosixPath, records: _Records) -> Iterator[Tracked]:
    """What the records say of a path: its own, those of the folders that it lies in, those of pipelines."""
    for tracked in (path, *path.parents):
        if tracked.name:
            record = tracked.with_name(f"{tracked.name}.dvc")
            yield from _of(records.read(record).get("outs"), record, record.parent, path, records)
    for folder in path.parents:
        lock = folder / "dvc.lock"
        stages = records.read(lock).get("stages")
        if not isinstance(stages, Mapping):
            continue
        declared = records.read(folder / "dvc.yaml").get("stages")
        for name, stage in stages.items():
            own = declared.get(name) if isinstance(declared, Mapping) else None
            base = folder / str(own["wdir"]) if isinstance(own, Mapping) and own.get("wdir") else folder
            yield from _of(stage.get("outs") if isinstance(stage, Mapping) else None, lock, base, path, records)


def _of(outs: Any, record: PurePosixPath, base: PurePosixPath, path: PurePosixPath, records: _Records) -> Any:
    """Those of a record's outputs that are the path, or a folder that it lies in."""
    for out in outs if isinstance(outs, list) else ():
        if not isinstance(out, Mapping) or not isinstance(out.get("path"), str):
            continue
        place = PurePosixPath(os.path.normpath(base / out["path"]))
        if place != path and place not in path.parents:
            continue
        md5 = str(out.get("md5") or "")
        if not _MD5.fullmatch(md5):
            raise NotSupportedError(
                f"{record} has no md5 of {place}: its data is versioned by the remote itself",
                remedy="Name the data by its URL, or track it with dvc add.",
            )
        if place != path and not md5.endswith(".dir"):
            continue
        yield Tracked(
            path=str(path),
            md5=md5,
            record=str(record),
            place=records.project / place,
            legacy=out.get("hash") != "md5",
            inside="" if place == path else str(path.relative_to(place)),
            remote=str(out.get("remote") or ""),
            revision=records.revision,
            commit=records.commit or "",
        )


# ── bytes ────────────────────────────────────────────────────────────────────────────────────────────────────


class _Stores:
    """Where tracked bytes may lie: the work tree, DVC's cache, a remote."""

    def __init__(self, tracked: Tracked, project: Path) -> None:
        self._tracked = tracked
        self._config = Config.of(project, tracked.place.parent)

    def named(self, kind: str) -> str:
        """`work tree`, `cache`, or the remote with its name."""
        return {"work": "work tree", "cache": "cache"}.get(kind) or f"remote {self._remote_name}"

    @cached_property
    def _remote_name(self) -> str:
        return self._tracked.remote or self._config.default_remote

    @property
    def address(self) -> str:
        """The remote's URL without its secrets; empty without one, or for one that only DVC reads."""
        try:
            return shown(self._config.remote(self._remote_name)[0]) if self._remote_name else ""
        except (UsageError, NotSupportedError):
            return ""

    @cached_property
    def _remote(self) -> tuple[Any, str, str]:
        """The remote's file system, its path there, and its URL."""
        url, options = self._config.remote(self._remote_name)
        system, path = open_files(url, options)
        return system, path, url

    def listing(self) -> Sequence[Mapping[str, str]]:
        """The files of a tracked folder."""
        from tempfile import TemporaryDirectory

        with TemporaryDirectory(prefix="engine-") as folder:
            file = Path(folder, "listing")
            self.bring(self._tracked.md5, None, file)
            listed: Sequence[Mapping[str, str]] = json.loads(file.read_text(encoding="utf-8"))
        return listed

    def bring(self, md5: str, place: Path | None, local: Path) -> str:
        """Copy the content with this md5 to `local`; says where it was."""
        local.parent.mkdir(parents=True, exist_ok=True)
        if place is not None and place.is_file() and self._copied(place, local, md5):
            return "work tree"
        for cached in (self._config.cache / name for name in names(md5)):
            if cached.is_file():
                if not self._copied(cached, local, md5):
                    raise IntegrityError(
                        f"DVC's cache holds other bytes than md5 {md5}", remedy=f"Remove {cached}, and try again."
                    )
                return "cache"
        self._pull(md5, local)
        return self.named("remote")

    def _copied(self, path: Path, local: Path, md5: str) -> bool:
        with path.open("rb") as source, local.open("wb") as copy:
            while block := source.read(_CHUNK):
                copy.write(block)
        return _matches(local, md5, self._tracked.legacy)

    def _pull(self, md5: str, local: Path) -> None:
        where = f"data.source {SCHEME}{self._tracked.path}: its bytes (md5 {md5}) are neither here nor in DVC's cache"
        if not self._remote_name:
            raise UsageError(f"{where}, and there is no remote", remedy="Add one with dvc remote add, or dvc checkout.")
        system, base, url = self._remote
        for name in names(md5):
            place = f"{base.rstrip('/')}/{name}"
            try:
                translated(url, partial(system.get_file, place, str(local)))
            except UsageError:
                if translated(url, partial(system.exists, place)):
                    raise
                continue
            if not _matches(local, md5, self._tracked.legacy):
                raise IntegrityError(f"{shown(url)} holds other bytes than md5 {md5}")
            return
        raise UsageError(
            f"{where} nor in its remote {self._remote_name}", remedy="Push it from where it is: dvc push --all-commits"
        )


def names(md5: str) -> tuple[str, str]:
    """Where content lies in a cache or remote: as DVC 3 keeps it, and as it was before."""
    return f"files/md5/{md5[:2]}/{md5[2:]}", f"{md5[:2]}/{md5[2:]}"


def _matches(path: Path, md5: str, legacy: bool) -> bool:
    wanted = md5.removesuffix(".dir")
    # Not for secrecy: it is the name that DVC gave the content.
    with path.open("rb") as file:
        digest = hashlib.md5(usedforsecurity=False)
        while block := file.read(_CHUNK):
            digest.update(block)
    if digest.hexdigest() == wanted:
        return True
    return (
        legacy and hashlib.md5(path.read_bytes().replace(b"\r\n", b"\n"), usedforsecurity=False).hexdigest() == wanted
    )


@dataclass(frozen=True)
class Config:
    """DVC's configuration: `.dvc/config`, over it `.dvc/config.local`."""

    folder: Path  # .dvc
    values: ConfigParser

    @classmethod
    def of(cls, project: Path, place: Path) -> Config:
        """That of the nearest repository around a place. Raises UsageError when there is none."""
        found = cls.around(place)
        if found is None:
            raise UsageError(f"{project} is in no DVC repository", remedy="Make it one: dvc init")
        return found

    @classmethod
    def around(cls, place: Path) -> Config | None:
        """The same; None when there is none."""
        home = next((folder / ".dvc" for folder in (place, *place.parents) if (folder / ".dvc").is_dir()), None)
        if home is None:
            return None
        values = ConfigParser(interpolation=None)
        try:
            values.read([home / "config", home / "config.local"], encoding="utf-8")
        except ConfigError as error:
            raise UsageError(f"DVC's configuration cannot be read: {error.message}") from None
        return cls(home, values)

    @property
    def cache(self) -> Path:
        """The folder of DVC's cache."""
        return self.folder / self.values.get("cache", "dir", fallback="cache")

    @property
    def default_remote(self) -> str:
        """The name of the default remote, empty without one."""
        return self.values.get("core", "remote", fallback="")

    def remote(self, name: str) -> tuple[str, dict[str, Any]]:
        """A remote's URL, and how its file system is opened. Raises UsageError, NotSupportedError."""
        section = f"'remote \"{name}\"'"
        if not self.values.has_option(section, "url"):
            raise UsageError(f"DVC has no remote {name}", remedy="Add it: dvc remote add")
        url = self.values.get(section, "url")
        scheme, mark, rest = url.partition("://")
        if not mark:
            return f"file://{Path(os.path.normpath(self.folder / url))}", {}
        if scheme == "remote":
            other, _, path = rest.partition("/")
            base, options = self.remote(other)
            return f"{base.rstrip('/')}/{path}", options
        if scheme not in READ_HERE:
            raise NotSupportedError(
                f"DVC's remote {name} is read by DVC alone ({scheme}://)", remedy="Fetch it: dvc fetch --all-commits"
            )
        return url, self._options(section) if scheme == "s3" else {}

    def _options(self, section: str) -> dict[str, Any]:
        options: dict[str, Any] = {}
        for name, way in _S3_OPTIONS.items():
            if self.values.has_option(section, name):
                inner = options
                for step in way[:-1]:
                    inner = inner.setdefault(step, {})
                inner[way[-1]] = self.values.get(section, name)
        return options
