"""Which packages are installed. Reads names of folders, not metadata: it is on every plan's path."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable
from contextlib import suppress

_DIST_INFO = re.compile(r"(?P<name>[^-]+)-(?P<version>[^-]+)\.dist-info$")


def installed_packages(path: Iterable[str] | None = None) -> dict[str, str]:
    """Distribution (normalised name) → version, for every installed one, and `python` → its minor version."""
    found: dict[str, str] = {}
    for folder in reversed(list(sys.path if path is None else path)):  # the first on the path wins
        with suppress(OSError), os.scandir(folder or ".") as entries:
            for entry in entries:
                match = _DIST_INFO.match(entry.name)
                if match:
                    found[re.sub(r"[-_.]+", "-", match["name"]).lower()] = match["version"]
    found["python"] = f"{sys.version_info.major}.{sys.version_info.minor}"
    return found
