"""Validated documents: of specs, and of `engine.yaml`. Texts that were validated before are not read again.

A document's key covers the text, `engine.yaml`, the environment, the variables, and the engine's own code; so a
cached document is what reading the text again would give.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine import __version__
from engine.app.cache import Cache
from engine.app.workspace import PROJECT_FILE, Workspace
from engine.core.canonical import canonical_json, digest, digest_bytes
from engine.errors import Diagnostic, SpecError, UsageError

if TYPE_CHECKING:
    from engine.spec.load import LoadedSpec
    from engine.spec.yaml_tree import Place

PLANNING_CODE = ("spec", "triggers", "gates", "strategies", "steps", "core")


@dataclass(frozen=True)
class SpecDocument:
    """A spec as everything below the spec layer sees it. `file` is as the user knows it."""

    file: str
    key: str
    document: Mapping[str, Any]
    digest: str
    warnings: tuple[Diagnostic, ...] = ()


def project_stores(workspace: Workspace) -> Mapping[str, str]:
    """The stores that `engine.yaml` names, references unresolved. Raises SpecError, UsageError."""
    text = workspace.project_text
    if text is None:
        return {}
    key = digest([own_code(), PROJECT_FILE, workspace.environment, digest_bytes(text)])
    store = Cache(workspace.cache_file)
    known = store.documents([key]).get(key)
    if known is not None:
        return _object(known)
    from engine.spec.project import load_project

    stores = load_project(text, PROJECT_FILE).stores_of(workspace.environment, {})
    store.keep({key: canonical_json(stores)}, [])
    return stores


def spec_keys(workspace: Workspace, texts: Mapping[str, bytes], variables: Mapping[str, str]) -> dict[str, str]:
    """The key of each text, by file."""
    project = digest_bytes(workspace.project_text or b"")
    context = digest([own_code(), project, workspace.environment, dict(variables)]).encode()
    return {file: digest_bytes(context + text) for file, text in texts.items()}


def load_specs(
    workspace: Workspace, texts: Mapping[str, bytes], keys: Mapping[str, str], variables: Mapping[str, str]
) -> list[SpecDocument]:
    """Every spec's document, in the order of `texts`. Raises SpecError with the mistakes of all files."""
    store = Cache(workspace.cache_file)
    known = store.documents(keys.values())
    loaded: list[SpecDocument] = []
    mistakes: list[Diagnostic] = []
    fresh: dict[str, str] = {}
    used: set[str] = set()
    for file, text in texts.items():
        key = keys[file]
        try:
            value = known.get(key) or _read(workspace, file, text, variables)
        except SpecError as error:
            mistakes += error.diagnostics
            continue
        if key not in known:
            fresh[key] = value
        content = _object(value)
        used.update(content["variables"])
        warnings = tuple(Diagnostic(**warning) for warning in content["warnings"])
        loaded.append(SpecDocument(file, key, content["document"], content["digest"], warnings))
    store.keep(fresh, [])
    mistakes += _same_names(loaded)
    if mistakes:
        raise SpecError(mistakes)
    unused = sorted(variables.keys() - used)
    if unused:
        raise UsageError(
            f"no spec uses the variable {unused[0]}", remedy=f"Write ${{var:{unused[0]}}} where it is meant."
        )
    return loaded


def place_of(
    workspace: Workspace, spec: SpecDocument, text: bytes, variables: Mapping[str, str], pointer: str
) -> Place:
    """Where a value of a valid spec stands, by its JSON pointer; line 0 where a default stands for it."""
    from engine.spec.yaml_tree import Place

    places = _load(workspace, spec.file, text, variables).places
    return places.get(pointer, Place(spec.file, 0, 0))


def _read(workspace: Workspace, file: str, text: bytes, variables: Mapping[str, str]) -> str:
    """Parse, validate and resolve one spec; the result as JSON. Raises SpecError."""
    loaded = _load(workspace, file, text, variables)
    return canonical_json(
        {
            "document": loaded.document,
            "digest": loaded.digest,
            "warnings": [warning.__dict__ for warning in loaded.warnings],
            "variables": sorted(loaded.variables_used),
        }
    )


def _load(workspace: Workspace, file: str, text: bytes, variables: Mapping[str, str]) -> LoadedSpec:
    from engine.kinds import KINDS
    from engine.spec.load import load_spec
    from engine.spec.project import load_project

    project = load_project(workspace.project_text, PROJECT_FILE)
    return load_spec(
        text,
        file,
        project=project,
        kinds=KINDS,
        environment=workspace.environment,
        variables=variables,
        exists=lambda name: (workspace.root / name).exists(),
    )


def read_texts(workspace: Workspace, files: Sequence[Path]) -> dict[str, bytes]:
    """The bytes of spec files, by the name that the user knows them by. Raises UsageError."""
    texts = {}
    inside = f"{workspace.root}/"
    for path in map(os.fspath, files):
        try:
            with open(path, "rb") as file:  # noqa: PTH123 - strings, for speed
                texts[path.removeprefix(inside)] = file.read(_MOST_BYTES + 1)
        except OSError as error:
            raise UsageError(f"{path} cannot be read: {error.strerror}", remedy="Check the path.") from None
    return texts


_MOST_BYTES = 1 << 20  # more than any valid spec; the loader says what the limit is


@cache
def own_code() -> str:
    """A digest that changes with the engine's version and with its code that a document or a plan depends on."""
    package = Path(__file__).parent.parent
    stamps: list[Any] = [__version__]
    for name in PLANNING_CODE:
        with os.scandir(package / name) as entries:
            for entry in sorted(entries, key=lambda e: e.name):
                if entry.name.endswith(".py"):
                    status = entry.stat()
                    stamps.append([entry.name, status.st_size, status.st_mtime_ns])
    return digest(stamps)


def _same_names(specs: Sequence[SpecDocument]) -> list[Diagnostic]:
    first: dict[str, str] = {}
    mistakes = []
    for spec in specs:
        name = str(spec.document["name"])
        if name in first:
            mistakes.append(
                Diagnostic(spec.file, 0, 0, f"model {name} is defined in {first[name]} too", "Give one another name.")
            )
        first.setdefault(name, spec.file)
    return mistakes


def _object(text: str) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(text)
    return value
