"""Every kind of data source behind the one port: files of the project in place, all others through a worker.

`{"default": NAME}` stands for `data/<NAME>.csv` or `.parquet`. Fetching code is imported only for a source that
needs it, so that planning over local files stays fast.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from engine.adapters.sources import files
from engine.adapters.sources.stat_cache import FileStatCache
from engine.core.canonical import Json
from engine.steps.snapshot import is_local

if TYPE_CHECKING:
    from engine.core.records import Artifact
    from engine.ports import ArtifactStore, StatCache


class DataSources:
    """A `Source` for all that `data.source` may be. `cache` is told of files that the store has linked."""

    def __init__(self, cache: FileStatCache | None = None) -> None:
        self._cache = cache

    def is_local(self, source: Json) -> bool:
        """Whether it lies in the project's own files, so that `snapshot` needs no worker."""
        return is_local(source)

    def observe(self, source: Json, project: Path, cache: StatCache) -> str | None:
        """The digest of the content as it is now; None when only reading all of it would tell.

        Raises UsageError when there is nothing at that place, TransientError when it does not answer in time.
        """
        if is_local(source):
            return files.observe(_place(source, project), project, cache)
        if isinstance(source, str) and source.startswith("dvc:"):
            from engine.adapters.sources import dvc

            return dvc.track(source, project).identity
        from engine.adapters.sources import remote

        return remote.observe(source)

    def snapshot(self, source: Json, project: Path, store: ArtifactStore, seen: str) -> Artifact:
        """Bring local content into the store, as it was when it was `seen`; files may have grown since.

        Raises UsageError, StalePlanError for another change, or EngineError when the disk refuses.
        """
        return files.snapshot(_place(source, project), project, store, self._cache or FileStatCache(), seen)

    def watched(self, source: Json, project: Path) -> list[str]:
        """The files and folders whose stat tells whether local data is as it was; empty for other data."""
        return files.watched(_place(source, project), project) if is_local(source) else []


def _place(source: Json, project: Path) -> Json:
    if isinstance(source, Mapping):
        return files.default_source(str(source["default"]), project)
    return source
