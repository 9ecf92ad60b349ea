"""The snapshot step's two ways: files of this machine are stored in place by the process that applies
(`engine.adapters.sources.files`); every other source is fetched by a worker (`engine.adapters.sources.remote:run`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from engine.core.canonical import Json

DATA_SUFFIXES = (".csv", ".tsv", ".parquet", ".jsonl", ".ndjson", ".csv.gz", ".tsv.gz", ".jsonl.gz", ".ndjson.gz")

SEEN = "seen"
"""The fact under which a worker says what identified the content that it fetched, where it can tell."""

_ELSEWHERE = re.compile(r"[a-z][a-z0-9+.-]*://|sklearn:|dvc:|\$\{", re.IGNORECASE)


def is_local(source: Json) -> bool:
    """Whether `data.source` names files of the project: a path, a folder, a glob, or `{"default": NAME}`.

    A reference such as `${env:DATA}` does not: only the worker that resolves it knows what it is.
    """
    if isinstance(source, Mapping):
        return "default" in source
    return isinstance(source, str) and not _ELSEWHERE.match(source)
