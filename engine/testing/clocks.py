"""A clock that tests move, shared by processes: one file, eight bytes.

Hand it to a `Workspace`, and to whatever another process serves: time passes for all of them when it is moved.
"""

from __future__ import annotations

import mmap
import struct
from datetime import datetime, timezone
from pathlib import Path

_SECONDS = struct.Struct("=d")


class SharedClock:
    """Stands still until it is moved. `start` sets it; without one it joins those who share the file."""

    def __init__(self, path: Path, start: datetime | None = None) -> None:
        self.path = path
        if start is not None:
            path.write_bytes(_SECONDS.pack(start.timestamp()))
        with path.open("r+b") as file:
            self._memory = mmap.mmap(file.fileno(), _SECONDS.size)

    def __call__(self) -> datetime:
        return datetime.fromtimestamp(_SECONDS.unpack(self._memory)[0], timezone.utc)

    def move(self, seconds: float) -> None:
        """Let so many seconds pass."""
        _SECONDS.pack_into(self._memory, 0, _SECONDS.unpack(self._memory)[0] + seconds)
