"""The model card of a release, from its record."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engine.app.lineage import find_release, record_of
from engine.app.workspace import Workspace
from engine.core.records import Artifact
from engine.core.release_record import approval_rows, slices_of
from engine.errors import IntegrityError
from engine.steps.card import Card, Subject, card_of, headline, pictures_in


def card_of_release(workspace: Workspace, what: str) -> Card:
    """The card of a release, with the releases before it."""
    return card_from(workspace, record_of(workspace, find_release(workspace, what)))


def card_from(workspace: Workspace, record: Mapping[str, Any]) -> Card:
    """The card of a release whose record is at hand."""
    release = record["release"]
    earlier = [each for each in workspace.reader.releases(release["model"]) if each.version < release["version"]]
    history = [
        (f"{each.model}@{each.version}", each.created_at, headline(_mapping(each.evidence.get("metrics"))))
        for each in earlier
    ]
    return card_of(
        Subject(
            document=record["spec"]["document"] or {"name": release["model"]},
            reports=record["reports"],
            verdict=record["verdict"],
            version=release["version"],
            run_id=release["run_id"],
            created_at=release["created_at"],
            commit=record["code"]["commit"] or "",
            clean=record["code"]["clean"],
            digests=record["artifacts"],
            slices=slices_of(record),
            history=history,
            approvals=approval_rows(record),
            figures=pictures(workspace, record),
        )
    )


def pictures(workspace: Workspace, record: Mapping[str, Any]) -> dict[str, bytes]:
    """The evaluation's pictures, as far as they are still kept."""
    step = next((each for each in record["steps"] if each["step"] == "evaluate"), None)
    stored = step["outputs"].get("figures") if step else None
    if stored is None:
        return {}
    try:
        return pictures_in(workspace.artifacts.path(Artifact(**stored)))
    except IntegrityError:
        return {}


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
