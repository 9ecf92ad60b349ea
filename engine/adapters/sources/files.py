"""Data in files of the project: one path, a folder, or a glob; without any, `data/<name>.csv` or `.parquet`.

`observe` and `snapshot` see the same files in the same order: a folder is walked recursively, sorted, and only
names with a data suffix count, hidden and `_`-names apart. One file is stored as itself, so that its digest is the
artifact's; several are stored as a tree. A path must stay inside the project, though it may be a symbolic link
that points out of it. Imports nothing heavy, for it is on every plan's path.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from engine.adapters.artifacts.content import digest_file, start_of
from engine.core.canonical import Json, digest
from engine.errors import StalePlanError, UsageError
from engine.steps.snapshot import DATA_SUFFIXES

if TYPE_CHECKING:
    from engine.adapters.sources.stat_cache import FileStatCache, Seen
    from engine.core.records import Artifact
    from engine.ports import ArtifactStore, StatCache

_SHOWN = 8  # names listed in a message


def default_source(name: str, project: Path) -> str:
    """Where the data of model `name` lies when its spec does not say. Raises UsageError when it is not there."""
    candidates = [f"data/{name}.csv", f"data/{name}.parquet"]
    found = [candidate for candidate in candidates if os.path.isfile(f"{project}/{candidate}")]  # noqa: PTH113
    if len(found) == 1:
        return found[0]
    if found:
        raise UsageError(f"both {found[0]} and {found[1]} are there", remedy="Say which is meant with data.source.")
    raise UsageError(
        f"no data for {name}: neither {candidates[0]} nor {candidates[1]} exists",
        remedy=f"Put the data there, or name it with data.source.{_hint(candidates[0], project)}",
    )


def observe(source: Json, project: Path, cache: StatCache) -> str:
    """The digest of the content as it is now; for one file, that of its bytes. Raises UsageError."""
    try:
        return _digest_of({relative: cache.digest(path) for relative, path in locate(source, project).items()})
    except OSError as error:
        raise _unreadable(source, error) from error


def _digest_of(files: Mapping[str, str]) -> str:
    """That of a source, from its files' digests."""
    return next(iter(files.values())) if len(files) == 1 else digest([list(each) for each in files.items()])


def snapshot(source: Json, project: Path, store: ArtifactStore, cache: FileStatCache, seen: str) -> Artifact:
    """Store the content as it was when `cache` observed `seen`, so that it need not stand still to be learned from.

    What has only grown since, or got further files, is stored as far as it went. Raises UsageError when there is none,
    StalePlanError when it has changed otherwise, EngineError when the disk refuses.
    """
    files = locate(source, project)
    before = {relative: found for relative, path in files.items() if (found := cache.seen(path)) is not None}
    artifact = _store(files, source, store, cache)
    for path in files.values():
        cache.stored(path)
    if observe(source, project, cache) == seen:
        return artifact
    if not before or _digest_of({relative: each.digest for relative, each in before.items()}) != seen:
        raise StalePlanError("the data changed while it was read", remedy="Nothing was recorded. Apply again.")
    from tempfile import TemporaryDirectory  # costs some milliseconds, which planning can do without

    with TemporaryDirectory(prefix="engine-") as folder:
        earlier = {
            relative: _start(files[relative], each, Path(folder, str(place)))
            for place, (relative, each) in enumerate(before.items())
        }
        return _store(earlier, source, store)


def _store(
    files: Mapping[str, Path], source: Json, store: ArtifactStore, cache: FileStatCache | None = None
) -> Artifact:
    if len(files) > 1:
        return store.put_tree(files, _tree_name(str(source)))
    path = next(iter(files.values()))
    return store.put(path, path.name, known=None if cache is None else cache.known(path))


def _start(path: Path, seen: Seen, folder: Path) -> Path:
    """A file with what another one held when it was seen. Raises StalePlanError when that did not stay its start."""
    folder.mkdir()
    copy = folder / path.name
    with copy.open("wb") as file:
        for block in start_of(path, seen.size):
            file.write(block)
    if digest_file(copy) != seen.digest:
        raise StalePlanError("the data changed while it was read", remedy="Nothing was recorded. Apply again.")
    return copy


def watched(source: Json, project: Path) -> list[str]:
    """The files of a source and the folders that they lie in, whose stat tells of any change. Raises UsageError."""
    found = [os.fspath(path) for path in locate(source, project).values()]
    place = os.path.join(os.path.abspath(project), str(source))  # noqa: PTH100, PTH118
    if os.path.isfile(place):  # noqa: PTH113
        return found
    top = os.path.join(os.path.abspath(project), _fixed_part(f"{source}/"))  # noqa: PTH100, PTH118
    return [*found, *(folder for folder, _, _ in os.walk(top))]


def locate(source: Json, project: Path) -> dict[str, Path]:
    """The files of a source, sorted by their paths relative to it. Raises UsageError when there are none."""
    if not isinstance(source, str) or not source.strip():
        raise UsageError(f"data.source {source!r} is not a path", remedy="Give a path, a folder or a glob.")
    base = os.path.abspath(project)  # noqa: PTH100 - links stay as they are
    place = os.path.abspath(os.path.join(base, source))  # noqa: PTH100, PTH118
    if place != base and not place.startswith(base.rstrip("/") + "/"):
        raise UsageError(
            f"data.source {source} lies outside the project",
            remedy="Move the data into the project, or put a symbolic link to it there.",
        )
    if os.path.isfile(place):  # noqa: PTH113
        return {os.path.basename(place): Path(place)}  # noqa: PTH119
    if os.path.isdir(place):  # noqa: PTH112
        found = _walk(place)
        if not found:
            raise UsageError(
                f"data.source {source} is a folder without data files{_listing(place)}",
                remedy=f"Data files end in {', '.join(DATA_SUFFIXES)}.",
            )
        return found
    if any(sign in source for sign in "*?["):
        return _expand(source, base)
    if os.path.lexists(place):
        raise UsageError(f"data.source {source} is neither a file nor a folder that can be read")
    raise UsageError(f"data.source {source} does not exist", remedy=_hint(source, Path(base)).strip())


def _walk(folder: str) -> dict[str, Path]:
    found: list[str] = []
    for current, folders, names in os.walk(folder, followlinks=False):
        folders[:] = sorted(name for name in folders if not name.startswith((".", "_")))
        for name in names:
            if _counts(name) and name.lower().endswith(DATA_SUFFIXES):
                found.append(os.path.relpath(os.path.join(current, name), folder))  # noqa: PTH118
    return {relative: Path(folder, relative) for relative in sorted(found)}


def _expand(pattern: str, base: str) -> dict[str, Path]:
    from glob import glob

    fixed = _fixed_part(pattern)
    root = os.path.join(base, fixed)  # noqa: PTH118
    matches = glob(os.path.relpath(os.path.join(base, pattern), root), root_dir=root, recursive=True)  # noqa: PTH118, PTH207
    found = {match: Path(root, match) for match in sorted(matches) if _counts(match) and Path(root, match).is_file()}
    if not found:
        raise UsageError(
            f"data.source {pattern} matches no file{_listing(root)}",
            remedy="Correct the pattern; ** goes through folders.",
        )
    return found


def _counts(name: str) -> bool:
    """Whether a file of several is data, and neither hidden nor a mark such as `_SUCCESS`."""
    return not name.rpartition("/")[2].startswith((".", "_"))


def _fixed_part(pattern: str) -> str:
    """The leading folders of a glob that have no wildcard."""
    fixed = []
    for part in pattern.split("/")[:-1]:
        if any(sign in part for sign in "*?["):
            break
        fixed.append(part)
    return "/".join(fixed)


def _tree_name(source: str) -> str:
    fixed = _fixed_part(f"{source}/" if not any(sign in source for sign in "*?[") else source)
    return os.path.basename(os.path.normpath(fixed)) if fixed.strip("./") else "data"  # noqa: PTH119


def _listing(folder: str) -> str:
    try:
        names = sorted(os.listdir(folder))  # noqa: PTH208
    except OSError:
        return ""
    if not names:
        return "; it is empty"
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return f"; there are {', '.join(names[:_SHOWN])}{more}"


def _hint(source: str, project: Path) -> str:
    """What may have been meant instead, as a sentence with a leading space; empty when nothing comes to mind."""
    from difflib import get_close_matches

    if Path(project, f"{source}.dvc").is_file():
        return f" {source}.dvc is there: write dvc:{source}, and the data is fetched."
    there = sorted(_walk(os.fspath(project)))
    close = get_close_matches(os.path.normpath(source), there, n=1)
    if close:
        return f' Did you mean "{close[0]}"?'
    if not there:
        return f" The project has no data files ({', '.join(DATA_SUFFIXES[:3])}, …)."
    more = f" and {len(there) - _SHOWN} more" if len(there) > _SHOWN else ""
    return f" The project has {', '.join(there[:_SHOWN])}{more}."


def _unreadable(source: Json, error: OSError) -> UsageError:
    return UsageError(
        f"data.source {source} cannot be read: {error.filename or ''}: {error.strerror}",
        remedy="Check its permissions.",
    )
