"""What a model process reads of a release, and how it is told."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from engine.steps.stored_files import StoredFile


@dataclass(frozen=True)
class ModelFiles:
    """A release's files by their paths in it, the column that names a row, evaluation report and hold-out.

    `signed` says whether this project's training wrote the model; it is asked again for each process.
    """

    model: Mapping[str, StoredFile]
    signed: Callable[[], bool]
    id_column: str | None = None
    evaluation: StoredFile | None = None
    holdout: StoredFile | None = None

    def to_request(self) -> dict[str, Any]:
        """As JSON, for the process that is to read them."""
        return {
            "model": {name: _pair(file) for name, file in self.model.items()},
            "signed": self.signed(),
            "id": self.id_column,
            "evaluation": _pair(self.evaluation),
            "holdout": _pair(self.holdout),
        }

    @staticmethod
    def of_request(request: Mapping[str, Any]) -> ModelFiles:
        """The other way round."""
        signed = request["signed"] is True
        return ModelFiles(
            {name: StoredFile(*pair) for name, pair in request["model"].items()},
            lambda: signed,
            request["id"],
            _file(request["evaluation"]),
            _file(request["holdout"]),
        )


def _pair(file: StoredFile | None) -> tuple[str, str] | None:
    return None if file is None else (file.path, file.digest)


def _file(pair: tuple[str, str] | None) -> StoredFile | None:
    return None if pair is None else StoredFile(*pair)
