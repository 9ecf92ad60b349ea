"""What a resolved `deployment` says of approval, in one form however it was written. Imports nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

USUAL: Mapping[str, Any] = {"count": 1, "by": [], "expires": None, "independent": False, "hold": "promotion"}


def approval_of(deployment: Mapping[str, Any]) -> dict[str, Any]:
    """`required` and the terms. A shadow that waits for somebody (`then: approval`) requires none of anybody named."""
    wanted = deployment.get("approval", "automatic")
    if isinstance(wanted, Mapping):
        return {"required": True, **USUAL, **wanted}
    required = wanted == "required"
    return {"required": required, **USUAL, "count": int(required)}
