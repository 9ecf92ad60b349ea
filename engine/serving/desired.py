"""What shall be live, as the state says it, and where the gateway gets it from.

`Truth` is the port: the composition root implements it over the state and the artifact store. `last_good` keeps the
last snapshot on disk, so that a gateway serves on while the state cannot be read.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from engine.core.records import Artifact
from engine.serving.files import ModelFiles


@dataclass(frozen=True)
class ReleaseRef:
    """A release: its artifact, the column that names a row, the digests of its evaluation report and its hold-out."""

    version: int
    artifact: Artifact
    id_column: str | None = None
    evaluation: str | None = None
    holdout: str | None = None


@dataclass(frozen=True)
class Wanted:
    """One endpoint. `weight` is the share of traffic that was approved for the candidate, `mirror` that of copies.

    `warm` is a release that serves nobody and stays loaded until `warm_until` (UTC), for a rollback.
    """

    model: str
    generation: int
    stable: ReleaseRef
    candidate: ReleaseRef | None = None
    weight: float = 0.0
    mirror: float = 0.0
    warm: ReleaseRef | None = None
    warm_until: str = ""


@dataclass(frozen=True)
class Desired:
    """All endpoints of one state, which its `lineage` names."""

    lineage: str
    endpoints: Mapping[str, Wanted]


class Truth(Protocol):
    """Reads the state and the artifact store; never writes the state."""

    def desired(self) -> Desired:
        """What shall be live now. Raises EngineError while the state cannot be read."""

    def files(self, release: ReleaseRef) -> ModelFiles:
        """The release's verified files. Raises IntegrityError."""


def save(path: Path, desired: Desired) -> None:
    """Keep a snapshot, durably and atomically."""
    document = {
        "format_version": 1,
        "lineage": desired.lineage,
        "models": {name: asdict(wanted) for name, wanted in sorted(desired.endpoints.items())},
    }
    replace_file(path, json.dumps(document, indent=1).encode(), durable=True)


def load(path: Path) -> Desired | None:
    """The snapshot that was kept, None if there is none that can be read."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        if document["format_version"] != 1:
            return None
        return Desired(document["lineage"], {name: _wanted(value) for name, value in document["models"].items()})
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _wanted(value: Mapping[str, Any]) -> Wanted:
    candidate, warm = value["candidate"], value.get("warm")
    return Wanted(
        value["model"],
        value["generation"],
        _ref(value["stable"]),
        None if candidate is None else _ref(candidate),
        value["weight"],
        value["mirror"],
        None if warm is None else _ref(warm),
        value.get("warm_until", ""),
    )


def _ref(value: Mapping[str, Any]) -> ReleaseRef:
    return ReleaseRef(**{**value, "artifact": Artifact(**value["artifact"])})


def replace_file(path: Path, data: bytes, *, durable: bool = False) -> None:
    """Write a file that others read: whole or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with temporary.open("wb") as file:
        file.write(data)
        if durable:
            file.flush()
            os.fsync(file.fileno())
    temporary.replace(path)
