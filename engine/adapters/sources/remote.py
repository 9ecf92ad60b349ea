"""Data that lies elsewhere: URLs, databases, what DVC tracks, scikit-learn's own data sets.

`observe` asks for what identifies the content (ETag, checksum, or size and time of change) and never reads it;
`run` is the worker's step that fetches it, streamed, into the output `data`. Secrets are resolved only there.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from engine.adapters.sources.datasets import dataset_name, write_dataset
from engine.adapters.sources.urls import ANSWER_WITHIN, find, shown
from engine.core.canonical import Json, digest
from engine.errors import UsageError
from engine.ports import StepContext, StepOutcome
from engine.steps.snapshot import DATA_SUFFIXES, SEEN, is_local

_REFERENCE = re.compile(r"\$\{(?:env|file):[^{}]+\}")


def observe(source: Json, timeout: float = ANSWER_WITHIN) -> str | None:
    """What identifies the content as it is now; None when only fetching it would tell."""
    if not isinstance(source, str) or _REFERENCE.search(source):
        return None
    if source.startswith("sklearn:"):
        return digest(["sklearn", dataset_name(source)])
    return find(source, wait=timeout).identity()


def run(context: StepContext) -> StepOutcome:
    """Fetch `data.source` into the output `data`: a file if that has a data suffix, else a folder of files."""
    source = context.settings["data"]["source"]
    target = context.outputs["data"]
    if isinstance(source, Mapping):
        rows = _fetch_query(context, target)
        return StepOutcome({"rows": rows}, f"{rows:,} rows from a query")
    place = _resolved(source, context)
    if place.startswith("sklearn:"):
        rows = write_dataset(dataset_name(place), _file_in(target, f"{dataset_name(place)}.parquet"))
        return StepOutcome({"rows": rows}, f"{rows:,} rows from scikit-learn")
    if place.startswith("dvc:"):
        return _fetch_tracked(place, context, target)
    size = _copy_files(place, context, target) if is_local(place) else _fetch_files(place, context, target)
    return StepOutcome({"bytes": size}, f"{size:,} bytes fetched")


def _fetch_query(context: StepContext, target: Path) -> int:
    from engine.adapters.sources.databases import fetch_query

    source = context.settings["data"]["source"]
    return fetch_query(
        str(source["sql"]),
        _resolved(source["url"], context),
        _file_in(target, "query.parquet"),
        project=context.project,
        scratch=context.scratch,
        progress=context.progress,
    )


def _fetch_tracked(source: str, context: StepContext, target: Path) -> StepOutcome:
    from engine.adapters.sources import dvc

    def placed(name: str, several: bool) -> Path:
        return target / name if several else _file_in(target, name)

    found = dvc.fetch(source, context.project, placed)
    tracked = found.tracked
    at = f" at {tracked.revision} ({tracked.commit[:8]})" if tracked.revision else ""
    facts = {"bytes": found.size, "dvc": found.facts(), SEEN: tracked.identity}
    return StepOutcome(facts, f"{found.size:,} bytes, md5 {tracked.md5[:8]}{at}, from DVC's {found.origin}")


def _fetch_files(url: str, context: StepContext, target: Path) -> int:
    found = find(url, patient=True)
    several = len(found.files) > 1
    size = 0
    for index, (relative, info) in enumerate(found.files):
        context.progress(index, len(found.files), relative)
        local = target / relative if several else _file_in(target, relative)
        if several and not local.resolve().is_relative_to(target.resolve()):
            raise UsageError(f"{shown(url)} has a file whose name leads out of its folder")
        local.parent.mkdir(parents=True, exist_ok=True)
        found.fetch(info, local)
        size += local.stat().st_size
    return size


def _copy_files(source: str, context: StepContext, target: Path) -> int:
    """A reference that turned out to be a path of the project."""
    from engine.adapters.sources.files import locate

    found = locate(source, context.project)
    for relative, path in found.items():
        local = target / relative if len(found) > 1 else _file_in(target, relative)
        local.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, local)
    return sum(path.stat().st_size for path in found.values())


def _file_in(target: Path, name: str) -> Path:
    """Where one file goes: to `target` itself if that is named like one, else into the folder `target`."""
    if target.name.lower().endswith(DATA_SUFFIXES):
        return target
    target.mkdir(parents=True, exist_ok=True)
    return target / PurePosixPath(name).name


def _resolved(text: str, context: StepContext) -> str:
    return _REFERENCE.sub(lambda match: context.resolve(match[0]), text)
