"""What gates want to know of a candidate beyond its metrics, which the step `examine` finds out. Pure.

A gate's *ask* is the part of its resolved block that says what is measured; limits and consequences are left out, so
that a changed limit judges again what was measured before. Imports no pydantic: planning needs it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from engine.core.canonical import Json, canonical_json

ASKS: Mapping[str, Sequence[str]] = {
    "champion": ("metric", "average"),
    "churn": (),
    "fairness": ("fairness", "by", "min_rows"),
    "slices": ("by", "find", "metric", "average", "min_rows"),
    "calibration": (),
    "robustness": ("robustness", "share", "metric", "average"),
    "leakage": (),
    "latency_p99": (),
    "cost_per_million": (),
    "model_size": (),
    "value": ("value",),
    "function": ("function",),
}
"""Gate → the fields of its block that say what is measured, besides which gate it is."""

NEEDS: Mapping[str, frozenset[str]] = {
    "champion": frozenset({"champion"}),
    "churn": frozenset({"champion"}),
    "robustness": frozenset({"model"}),
    "leakage": frozenset({"train"}),
    "latency_p99": frozenset({"model"}),
    "cost_per_million": frozenset({"model"}),
    "model_size": frozenset({"model"}),
}
"""Gate → what it has to see besides the predictions: `model`, `train` (the training rows), `champion`."""


def ask_of(block: Mapping[str, Any]) -> dict[str, Json] | None:
    """What a resolved gate asks, None where metrics are enough."""
    gate = next((name for name in ASKS if block.get(name) is not None), None)
    if gate is None:
        return None
    fields = block[gate] if isinstance(block[gate], Mapping) else block
    return {"gate": gate, **{name: fields[name] for name in ASKS[gate] if fields.get(name) is not None}}


def asks_of(validation: Iterable[Mapping[str, Any]]) -> list[dict[str, Json]]:
    """The different asks of all gates, in order."""
    found = {key_of(ask): ask for ask in map(ask_of, validation) if ask is not None}
    return list(found.values())


def needs_of(asks: Iterable[Any]) -> frozenset[str]:
    """What the step that answers has to see besides the predictions."""
    return frozenset().union(*(NEEDS.get(ask["gate"], frozenset()) for ask in asks))


def key_of(ask: Mapping[str, Any]) -> str:
    """Under what an answer is kept."""
    return canonical_json(ask)
