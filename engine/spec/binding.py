"""The sections that belong to kinds: triggers, gates, strategies → their resolved form, by the kinds' own blocks.

A kind that a later version will honour is read and checked like any other, and then refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field, model_validator

from engine.errors import Diagnostic
from engine.spec.diagnostics import suggestion, validate
from engine.spec.fields import Block, Budget, ClockTime, Day, Seconds, ZoneName, empty_list, mistake, show
from engine.spec.kinds import Kinds
from engine.spec.yaml_tree import Node

LATER = "Remove it; a later version will honour it."


class Binder:
    """Binds blocks to the kinds; mistakes and warnings are collected."""

    def __init__(self, kinds: Kinds) -> None:
        self.kinds = kinds
        self.diagnostics: list[Diagnostic] = []
        self.warnings: list[Diagnostic] = []

    # ── triggers ─────────────────────────────────────────────────────────────────────────────────────────────

    def trigger(self, node: Node | None) -> dict[str, Any] | None:
        """The resolved `retrain_trigger`: always a group, or None."""
        if node is None or node.value is None:
            return None
        if "type" in node.fields:
            leaf = self._leaf(node, "retrain_trigger")
            return {"any_of": [leaf], **_GROUP_DEFAULTS} if leaf else None
        return self._group(node, "retrain_trigger")

    def _group(self, node: Node, label: str) -> dict[str, Any] | None:
        if isinstance(node.value, list):
            return {"any_of": self._members(node, label), **_GROUP_DEFAULTS}
        present = [key for key in ("any_of", "all_of") if key in node.fields]
        if len(present) != 1:
            self._say_group(node, label, present)
            return None
        rest = Node({key: child for key, child in node.fields.items() if key not in present}, node.place, node.key)
        options, mistakes = validate(GroupOptions, rest, label)
        self.diagnostics += mistakes
        members = self._members(node.fields[present[0]], f"{label}.{present[0]}")
        return {present[0]: members, **(_dump(options) if options else _GROUP_DEFAULTS)}

    def _say_group(self, node: Node, label: str, present: list[str]) -> None:
        if present:
            message = f"{label} has both any_of and all_of"
            self._say(node.fields["all_of"].name_place.diagnostic(message, "Nest one of them in the other."))
        elif isinstance(node.value, Mapping) and node.value:
            message = f'{label} has no "type"'
            self._say(node.place.diagnostic(message, f"Add one: {', '.join(sorted(self.kinds.triggers))}."))
        else:
            message = f"{label} is {show(node.plain())}, not a trigger"
            self._say(node.place.diagnostic(message, 'Write it like {type: scheduled, cron: "0 0 * * 0"}.'))

    def _members(self, node: Node, label: str) -> list[dict[str, Any]]:
        if not node.items:
            self._say(node.place.diagnostic(f"{label} must be a list of triggers", "List at least one trigger."))
        bound = []
        for index, item in enumerate(node.items):
            name = f"{label}[{index}]"
            nested = "any_of" in item.fields or "all_of" in item.fields
            bound.append(self._group(item, name) if nested else self._leaf(item, name))
        return [item for item in bound if item is not None]

    def _leaf(self, node: Node, label: str) -> dict[str, Any] | None:
        if "type" not in node.fields:
            self._say_group(node, label, [])
            return None
        return self._block(self.kinds.triggers, "type", node, label)

    # ── gates ────────────────────────────────────────────────────────────────────────────────────────────────

    def gates(self, node: Node | None) -> list[dict[str, Any]]:
        """The resolved `validation`; one gate against a baseline if there is none."""
        if node is None or node.value is None:
            return self._default_gate()
        if node.value == []:
            self._say(node.place.diagnostic("validation is empty: nothing would be proved", _GATE_EXAMPLE))
        if isinstance(node.value, list):
            bound = [self._gate(item, f"validation[{index}]") for index, item in enumerate(node.items)]
        else:
            bound = [self._gate(node, "validation")]
        complete = [gate for gate in bound if gate is not None]
        if bound == complete and bound and all(gate["on_failure"] == "alert" for gate in complete):
            message = "every gate only alerts, so nothing decides whether a candidate goes on"
            self._say(node.name_place.diagnostic(message, "Let at least one gate have on_failure: stop or retrain."))
        return complete

    def _default_gate(self) -> list[dict[str, Any]]:
        if "baseline" not in self.kinds.gates:
            return []
        return [_dump(self.kinds.gates["baseline"].model_validate({"baseline": "better"}))]

    def _gate(self, node: Node, label: str) -> dict[str, Any] | None:
        if not isinstance(node.value, Mapping):
            self._say(node.place.diagnostic(f"{label} is {show(node.plain())}, not a gate", _GATE_EXAMPLE))
            return None
        keys = [key for key in self.kinds.gates if key in node.fields]
        own = [key for key in keys if key != "metric"]
        if len(own) > 1:
            message = f"{label} is several gates in one: {' and '.join(own)}"
            self._say(node.fields[own[1]].name_place.diagnostic(message, "Write a list of gates."))
            return None
        if not keys:
            self._say_no_gate(node, label)
            return None
        return self._checked(self.kinds.gates[(own or keys)[0]], (own or keys)[0], node, label)

    def _say_no_gate(self, node: Node, label: str) -> None:
        for key, child in node.fields.items():
            near = suggestion(key, list(self.kinds.gates), "Gates")
            if near.startswith("Did you mean"):
                self._say(child.name_place.diagnostic(f'unknown key "{key}" in {label}', near))
                return
        names = ", ".join(self.kinds.gates)
        self._say(node.name_place.diagnostic(f"{label} does not say which gate it is", f"Add one of: {names}."))

    # ── strategies ───────────────────────────────────────────────────────────────────────────────────────────

    def deployment(self, node: Node | None) -> dict[str, Any] | None:
        """The resolved `deployment`; `recreate` if there is none."""
        if node is None or node.value is None:
            return {"strategy": "recreate"}
        if not isinstance(node.value, Mapping):
            message = f"deployment must be a mapping, not {show(node.plain())}"
            self._say(node.place.diagnostic(message, "Write it like {strategy: canary, initial_traffic: 10%}."))
            return None
        if "strategy" not in node.fields:
            names = ", ".join(self.kinds.strategies)
            self._say(node.name_place.diagnostic('deployment needs "strategy"', f"Add one of: {names}."))
            return None
        return self._block(self.kinds.strategies, "strategy", node, "deployment")

    # ── all of them ──────────────────────────────────────────────────────────────────────────────────────────

    def _block(self, table: Mapping[str, Any], key: str, node: Node, label: str) -> dict[str, Any] | None:
        chosen = node.fields[key]
        if not isinstance(chosen.value, str) or chosen.value not in table:
            word = chosen.value if isinstance(chosen.value, str) else ""
            message = f"{label}.{key} cannot be {show(chosen.plain())}"
            self._say(chosen.place.diagnostic(message, suggestion(word, list(table), "One of")))
            return None
        return self._checked(table[chosen.value], chosen.value, node, label)

    def _checked(self, model: Any, kind: str, node: Node, label: str) -> dict[str, Any] | None:
        block, mistakes = validate(model, node, label)
        self.diagnostics += mistakes
        later = not_yet(model, node, label)
        if not model.supported:
            later = [
                node.fields.get(kind, _chosen(node, kind)).name_place.diagnostic(
                    f"{label}: {kind} is not supported yet", LATER
                )
            ]
        self.diagnostics += later
        if block is None:
            return None
        if isinstance(block, Block):
            for name, message, remedy in block.warnings():
                self.warnings.append(node.fields.get(name, node).place.diagnostic(f"{label}: {message}", remedy))
        return _dump(block)

    def _say(self, diagnostic: Diagnostic) -> None:
        self.diagnostics.append(diagnostic)


class QuietHours(Block):
    """Hours of each day: from (included) to (not included), over midnight if from is the later one."""

    from_: ClockTime = Field(alias="from")
    """When they begin, like 22:00."""
    to: ClockTime
    """When they end, like 06:00."""
    timezone: ZoneName = "UTC"
    """The zone of this wall clock."""

    @model_validator(mode="after")
    def _is_a_span(self) -> QuietHours:
        if self.from_ == self.to:
            raise mistake("quiet hours that end when they begin", "Write two different times.")
        return self


class Freeze(Block):
    """Days without retrains, both ends included."""

    from_: Day = Field(alias="from")
    """The first day, like 2026-12-20."""
    to: Day
    """The last day, like 2027-01-02."""
    timezone: ZoneName = "UTC"
    """The zone in which these days begin and end."""

    @model_validator(mode="after")
    def _is_a_span(self) -> Freeze:
        if self.to < self.from_:
            raise mistake(f"the freeze ends on {self.to}, before it begins", "Write the earlier day under from.")
        return self


class GroupOptions(Block):
    """Several triggers as one."""

    cooldown: Seconds | None = None
    """The shortest time between two retrains that the group starts."""
    budget: Budget | None = None
    """The most retrains that the group may start in a period."""
    quiet_hours: QuietHours | None = None
    """No retrain starts within these hours of each day; one that is due waits for their end."""
    freeze: list[Freeze] = Field(default_factory=empty_list)
    """No retrain starts on these days; one that is due waits for their end."""


_GROUP_DEFAULTS: dict[str, Any] = {"cooldown": None, "budget": None, "quiet_hours": None, "freeze": []}
_GATE_EXAMPLE = "Write it like {metric: f1_score, threshold: 0.85}."


def not_yet(model: Any, node: Node, label: str) -> list[Diagnostic]:
    """The fields of a block that are written and not honoured yet."""
    prefix = f"{label}." if label else ""
    return [
        child.name_place.diagnostic(f"{prefix}{key} is not supported yet", LATER)
        for key, child in node.fields.items()
        if key in getattr(model, "not_yet", ())
    ]


def _chosen(node: Node, kind: str) -> Node:
    return next((child for child in node.fields.values() if child.value == kind), node)


def _dump(block: Any) -> dict[str, Any]:
    hidden = set(getattr(block, "not_yet", ()))
    resolved: dict[str, Any] = block.model_dump(mode="json", by_alias=True, exclude=hidden)
    return resolved
