"""Validated documents: of specs, and of `engine.yaml`. Texts that were validated before are not read again.

A document's key covers the text, `engine.yaml`, the environment, the variables, and the engine's own code; so a
cached document is what reading the text again would give. Among many specs, new texts are validated in children.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, cast

from engine import __version__
from engine.app.cache import Cache
from engine.app.children import Children
from engine.app.workspace import PROJECT_FILE, Workspace
from engine.core.canonical import canonical_json, digest, digest_bytes
from engine.errors import Diagnostic, SpecError, UsageError

if TYPE_CHECKING:
    from engine.spec.load import LoadedSpec
    from engine.spec.project import Project
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


def project_webhooks(workspace: Workspace) -> Mapping[str, str]:
    """What `webhooks` in `engine.yaml` says, references unresolved. Raises SpecError, UsageError."""
    from engine.spec.project import load_project

    return load_project(workspace.project_text, PROJECT_FILE).webhooks_of(workspace.environment)


def spec_keys(workspace: Workspace, texts: Mapping[str, bytes], variables: Mapping[str, str]) -> dict[str, str]:
    """The key of each text, by file."""
    project = digest_bytes(workspace.project_text or b"")
    context = digest([own_code(), project, workspace.environment, dict(variables)]).encode()
    return {file: digest_bytes(context + text) for file, text in texts.items()}


def new_texts(workspace: Workspace, texts: Mapping[str, bytes], keys: Mapping[str, str]) -> dict[str, bytes]:
    """Those of `texts` that no document is known of."""
    known = Cache(workspace.cache_file).documents(keys[file] for file in texts)
    return {file: text for file, text in texts.items() if keys[file] not in known}


def begin_validating(
    workspace: Workspace, new: Mapping[str, bytes], variables: Mapping[str, str], *, among: int
) -> Children:
    """Begin to validate new texts, by file, for `load_specs`. `among`: how many specs there are in all.

    In children if there are many specs: then there is other work to do meanwhile, or there are many texts.
    """
    most = -(-len(new) // _SHARE) if among >= _MANY else 0
    return Children(partial(_validate_share, workspace, new, variables), list(new), most)


def load_specs(
    workspace: Workspace,
    texts: Mapping[str, bytes],
    keys: Mapping[str, str],
    variables: Mapping[str, str],
    begun: Children | None = None,
) -> list[SpecDocument]:
    """Every spec's document, in the order of `texts`. Raises SpecError with the mistakes of all files.

    `begun` are children that validate some of the texts already.
    """
    store = Cache(workspace.cache_file)
    known = store.documents(keys[file] for file in texts)
    if begun is None:
        new = {file: text for file, text in texts.items() if keys[file] not in known}
        with begin_validating(workspace, new, variables, among=len(texts)) as children:
            answers = children.answers()
    else:
        answers = begun.answers()
    loaded: list[SpecDocument] = []
    mistakes: list[Diagnostic] = []
    fresh: dict[str, str] = {}
    used: set[str] = set()
    for file, text in texts.items():
        key = keys[file]
        try:
            value = known.get(key) or _answered(answers.get(file)) or _read(workspace, file, text, variables)
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


def _validate_share(
    workspace: Workspace, texts: Mapping[str, bytes], variables: Mapping[str, str], files: Sequence[str]
) -> dict[str, Any]:
    """In a child: for each file what `_read` gives, or its mistakes."""
    _without_plugins()
    answers: dict[str, Any] = {}
    for file in files:
        try:
            answers[file] = _read(workspace, file, texts[file], variables)
        except SpecError as error:
            answers[file] = [mistake.__dict__ for mistake in error.diagnostics]
    return answers


def _without_plugins() -> None:
    """Keep pydantic from looking for plugins: 10 ms, and 20 for importing what it would look with.

    In a child only. Should pydantic ever want more of that module, the child dies and its texts are validated in place.
    """
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    loader = ModuleType("pydantic.plugin._loader")
    loader.__dict__["get_plugins"] = lambda: ()
    sys.modules.setdefault(loader.__name__, loader)


def _answered(answer: Any) -> str | None:
    """A child's answer: a document as JSON, or None if there is no answer. Raises SpecError for mistakes."""
    if isinstance(answer, list):
        raise SpecError(Diagnostic(**mistake) for mistake in answer)
    return cast("str | None", answer)


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

    return load_spec(
        text,
        file,
        project=project_of(workspace.project_text),
        kinds=KINDS,
        environment=workspace.environment,
        variables=variables,
        exists=lambda name: (workspace.root / name).exists(),
    )


@cache
def project_of(text: bytes | None) -> Project:
    """What `engine.yaml` says. Raises SpecError."""
    from engine.spec.project import load_project

    return load_project(text, PROJECT_FILE)


def read_texts(workspace: Workspace, files: Sequence[Path]) -> dict[str, bytes]:
    """The bytes of spec files, by the name that the user knows them by. Raises UsageError."""
    texts = {}
    inside = f"{workspace.root}/"
    for path in map(os.fspath, files):
        try:
            texts[path.removeprefix(inside)] = _bytes_of(path)
        except OSError as error:
            raise UsageError(f"{path} cannot be read: {error.strerror}", remedy="Check the path.") from None
    return texts


def _bytes_of(path: str) -> bytes:
    """A file's content, or so much that it is seen to be too long. A file object would take five times the time."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        content = piece = os.read(descriptor, _PIECE)
        while piece and len(content) <= _MOST_BYTES:
            content += (piece := os.read(descriptor, _PIECE))
        return content
    finally:
        os.close(descriptor)


_MOST_BYTES = 1 << 20  # more than any valid spec; the loader says what the limit is
_PIECE = 1 << 16  # bytes: a usual spec comes whole
_MANY = 100  # specs: from here on a child saves more than it costs
_SHARE = 100  # texts for each child: fewer are validated before another has imported what it needs


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
