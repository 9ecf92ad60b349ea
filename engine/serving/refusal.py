"""A request that is the client's mistake: a status 4xx, one sentence, and the single mistakes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


class Refusal(Exception):  # noqa: N818 - it is an answer
    """`details` are `{"row", "column", "problem"}`, each where it applies."""

    def __init__(self, status: int, message: str, details: Sequence[Mapping[str, Any]] = ()) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.details = details
