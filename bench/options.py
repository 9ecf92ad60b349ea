"""What every benchmark is given."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Options:
    """`home` holds peers and projects; `runs`: how often a command is measured; `full` asks for what takes long."""

    home: Path
    runs: int
    full: bool
