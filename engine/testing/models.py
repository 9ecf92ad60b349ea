"""A model as the train step left it in a folder, as it would be of the artifact store."""

from __future__ import annotations

from pathlib import Path

from engine.core.canonical import digest_bytes
from engine.ports import StoredModel
from engine.steps.model_files import LoadedModel, load_stored
from engine.steps.stored_files import StoredFile


def stored_model(folder: Path, *, signed: bool = True) -> StoredModel:
    """What a step is given of a model in a folder."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    found = {path.relative_to(folder).as_posix(): (str(path), digest_bytes(path.read_bytes())) for path in files}
    return StoredModel(found, signed)


def model_in(folder: Path, private: Path) -> LoadedModel:
    """The model in a folder; `private` as for `load_stored`."""
    files = {name: StoredFile(*place) for name, place in stored_model(folder).files.items()}
    return load_stored(files, private, signed=True)
