"""Layers of a spec: what lies on top wins, mapping by mapping; lists and scalars are replaced whole.

Blocks of which only one kind can hold are replaced whole as well: triggers, gates, the way a model is made, and a
deployment of another strategy.
"""

from __future__ import annotations

from collections.abc import Mapping

from engine.spec.yaml_tree import Node

_WHOLE = (("retrain_trigger",), ("validation",), ("data", "source"), ("training", "tuning", "space"))
_WAYS = ("estimator", "function", "run")
_BELONG_TO_WAY = (*_WAYS, "predict", "params", "tuning")


def overlay(base: Node | None, top: Node | None, path: tuple[str, ...] = ()) -> Node | None:
    """`top` over `base`; either may be missing. `path` is where in the model_spec they stand."""
    if base is None or top is None:
        return top or base
    if not (isinstance(base.value, Mapping) and isinstance(top.value, Mapping)) or path in _WHOLE:
        return top
    below = _without_rivals(base.value, top.value, path)
    merged: dict[str, Node] = dict(below)
    for key, node in top.value.items():
        merged[key] = overlay(below.get(key), node, (*path, key)) or node
    return Node(merged, top.place, top.key)


def _without_rivals(base: Mapping[str, Node], top: Mapping[str, Node], path: tuple[str, ...]) -> Mapping[str, Node]:
    if path == ("deployment",) and "strategy" in top and _value(base, "strategy") != _value(top, "strategy"):
        return {}
    if path == ("training",) and any(way in top and _value(base, way) != _value(top, way) for way in _WAYS):
        return {key: node for key, node in base.items() if key not in _BELONG_TO_WAY}
    return base


def _value(fields: Mapping[str, Node], key: str) -> object:
    return fields[key].plain() if key in fields else None
