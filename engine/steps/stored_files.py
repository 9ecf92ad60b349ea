"""Files of the artifact store, each read once: what was verified is, byte for byte, what is used.

No link is followed and nothing but a regular file is opened, so that what is swapped in between verifying and using
a file cannot be had: there is no in between.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from engine.core.canonical import digest_bytes
from engine.errors import IntegrityError

_REMEDY = "Run `engine apply` again: the step that made it will run."


@dataclass(frozen=True)
class StoredFile:
    """Where a file is, and the digest that its bytes must have."""

    path: str
    digest: str

    def read(self, name: str) -> bytes:
        """Its bytes. Raises IntegrityError, which calls it `name`, for anything but what was stored."""
        try:
            # Not blocking: a pipe in the file's place would wait for a writer for ever.
            descriptor = os.open(self.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
            with open(descriptor, "rb") as file:  # noqa: PTH123 - a descriptor, not a path
                data = file.read() if stat.S_ISREG(os.fstat(descriptor).st_mode) else None
        except OSError as error:
            raise IntegrityError(f"{name} cannot be read: {error.strerror}", remedy=_REMEDY) from None
        if data is None or digest_bytes(data) != self.digest:
            raise IntegrityError(f"{name} is not the file that was stored", remedy=_REMEDY)
        return data


def write_all(contents: Mapping[str, bytes], folder: Path) -> None:
    """Write files by their relative paths into a folder that nobody else can enter; it must not exist yet."""
    folder.mkdir(mode=0o700, parents=True)
    for name, data in contents.items():
        path = folder / name
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.write_bytes(data)
