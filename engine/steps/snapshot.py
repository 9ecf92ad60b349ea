"""The snapshot step's two ways: files of this machine are stored in place by the process that applies
(`engine.adapters.sources.files`); every other source is fetched by a worker (`engine.adapters.sources.remote:run`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from engine.core.canonical import Json, canonical_json

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


def source_text(source: Json) -> str:
    """A data source for people: URLs without user, password and query; references to secrets as they stand."""
    if source is None:
        return ""
    if isinstance(source, Mapping):
        return canonical_json({name: source_text(value) for name, value in source.items()})
    from urllib.parse import urlsplit, urlunsplit

    text = str(source)
    parts = urlsplit(text)
    if "://" not in text or "${" in text:
        return text
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment=""))
