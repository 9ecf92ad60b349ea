"""A command line as tests call it, in this process; the fixture `call` does so."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Outcome:
    """What a command line gave."""

    code: int
    out: str
    err: str


Call = Callable[..., Outcome]
MadeOnce = Callable[[str, Callable[[Path], object]], Path]
