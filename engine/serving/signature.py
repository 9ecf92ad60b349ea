"""What a model takes and gives: its columns with their kinds, its classes, and the column that names a row.

JSON's types stand for the kinds: numbers for `numeric`, true and false for `boolean`, strings for `categorical`, `text`
and `date` (ISO 8601); null, anywhere, for a missing value.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

_NONE = type(None)
TAKES: Mapping[str, frozenset[type]] = {
    "numeric": frozenset({int, float, _NONE}),
    "boolean": frozenset({bool, _NONE}),
    "categorical": frozenset({str, _NONE}),
    "text": frozenset({str, _NONE}),
    "date": frozenset({str, _NONE}),
}
WORDS: Mapping[str, str] = {
    "numeric": "a number",
    "boolean": "true or false",
    "categorical": "a string",
    "text": "a string",
    "date": "a string with a date (ISO 8601)",
}
DATATYPES: Mapping[str, str] = {"numeric": "FP64", "boolean": "BOOL"}  # of the Open Inference Protocol; else BYTES


@dataclass(frozen=True)
class Signature:
    """`features` are (name, kind) in the model's order. `id` is a column that may come along and is not a feature."""

    features: tuple[tuple[str, str], ...]
    classes: tuple[str, ...]
    positive: str | None
    id: str | None = None

    @staticmethod
    def of(meta: Mapping[str, Any], id_column: str | None) -> Signature:
        """That of a model with this meta.json."""
        features = tuple((feature["name"], feature["kind"]) for feature in meta["features"])
        names = {name for name, _ in features}
        return Signature(
            features, tuple(meta["classes"]), meta.get("positive"), None if id_column in names else id_column
        )

    @staticmethod
    def from_json(document: Mapping[str, Any]) -> Signature:
        """From what `to_json` gave."""
        return Signature(
            tuple((name, kind) for name, kind in document["features"]),
            tuple(document["classes"]),
            document["positive"],
            document["id"],
        )

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "features": list(self.features),
            "classes": list(self.classes),
            "positive": self.positive,
            "id": self.id,
        }

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The features' names, in order."""
        return tuple(name for name, _ in self.features)

    @cached_property
    def kinds(self) -> Mapping[str, str]:
        """The features' kinds by name."""
        return dict(self.features)

    @property
    def positive_number(self) -> int | None:
        """The place of the positive class of two."""
        return None if self.positive is None else self.classes.index(self.positive)

    def datatype(self, name: str) -> str:
        """A feature's type in the Open Inference Protocol."""
        return DATATYPES.get(self.kinds[name], "BYTES")


def list_of(names: Sequence[str], most: int = 10) -> str:
    """Names for a message, not all of them when there are many."""
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"
