"""Reading the dashboards that are exported for Grafana."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any


def queries(text: str) -> Sequence[str]:
    """Every query of a dashboard's JSON."""
    found: list[str] = []

    def walk(value: Any) -> None:
        if isinstance(value, Mapping):
            found.extend([value["expr"]] if isinstance(value.get("expr"), str) else [])
            for child in value.values():
                walk(child)
        elif isinstance(value, list):
            for child in value:
                walk(child)

    walk(json.loads(text))
    return found
