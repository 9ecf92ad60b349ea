"""Tables of kinds, name → `"module:attribute"`, resolved when a spec uses one. The tables' contents come from above.

A block of a kind is a pydantic model with the class attribute `supported`; False means that it is read and
checked, and then refused as not supported yet.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any


class KindTable(Mapping[str, Any]):
    """Names of kinds; looking one up imports it."""

    def __init__(self, targets: Mapping[str, str]) -> None:
        self._targets = dict(targets)

    def __getitem__(self, name: str) -> Any:
        module, _, attribute = self._targets[name].partition(":")
        return getattr(import_module(module), attribute)

    def __iter__(self) -> Iterator[str]:
        return iter(self._targets)

    def __len__(self) -> int:
        return len(self._targets)

    def __contains__(self, name: object) -> bool:
        return name in self._targets


@dataclass(frozen=True)
class Kinds:
    """The block model of every kind: triggers by `type`, strategies by `strategy`, gates by the key only they have."""

    triggers: Mapping[str, Any] = field(default_factory=dict)
    gates: Mapping[str, Any] = field(default_factory=dict)
    strategies: Mapping[str, Any] = field(default_factory=dict)
