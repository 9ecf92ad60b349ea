"""One byte string for one value, and its digest.

What is shown, compared or hashed goes through here: sorted keys, no spaces, UTF-8, no NaN. A digest is written
`blake3:<64 hex digits>`; `short()` is for people.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from typing import Any, TypeAlias

from blake3 import blake3

Json: TypeAlias = bool | int | float | str | Sequence[Any] | Mapping[str, Any] | None

# Made once, for `json.dumps` makes one for each call; without the search for cycles, which JSON cannot hold.
_ENCODER = json.JSONEncoder(
    sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False, check_circular=False
)


def canonical_json(value: Json) -> str:
    """`value` as JSON with sorted keys and no spaces; raises ValueError for NaN and infinities."""
    return _ENCODER.encode(value)


def digest(value: Json) -> str:
    """The digest of a JSON value in canonical form."""
    return digest_bytes(canonical_json(value).encode())


def digest_bytes(data: bytes) -> str:
    """The digest of raw bytes."""
    return f"blake3:{blake3(data).hexdigest()}"


def short(value: str) -> str:
    """The first 12 hex digits of a digest, enough for a person to tell two apart."""
    return value.removeprefix("blake3:")[:12]


def utc(moment: datetime) -> str:
    """A moment as it is written in every record: UTC, microseconds, sorts as text."""
    return moment.astimezone(timezone.utc).isoformat(timespec="microseconds").removesuffix("+00:00") + "Z"
