"""What can change a step's result, and nothing else, as one digest.

A fingerprint covers the step's kind and version, its settings, the contents of its inputs, and the versions of
the packages that matter to it. The parts are kept beside the digest, so that a later difference can be named.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from engine.core.canonical import Json, canonical_json, digest
from engine.core.champion import Champion, Opponent
from engine.core.graph import Against, Input, Observed, Step
from engine.core.records import StepResult


@dataclass(frozen=True)
class Observations:
    """What the world says now: digests of contents, and versions of installed packages.

    `contents` maps an observed key to its digest, to one digest a file, or to None where only reading everything
    would tell. `imports` names, by observed key, the installed packages that the code there uses. `aliases` and
    `versions` come from the registry, and are None unless it was asked. `champion` is what is live, for the steps that
    ask.
    """

    contents: Mapping[str, str | Mapping[str, str] | None] = field(default_factory=dict)
    imports: Mapping[str, frozenset[str]] = field(default_factory=dict)
    packages: Mapping[str, str] = field(default_factory=dict)
    aliases: Mapping[str, int] | None = None
    versions: frozenset[int] | None = None
    champion: Champion | None = None


@dataclass(frozen=True)
class Fingerprint:
    """A digest and what it is made of."""

    digest: str
    components: Mapping[str, Any]


@dataclass(frozen=True)
class Difference:
    """One thing that differs between two fingerprints. `kind` is settings, inputs, packages or step."""

    kind: str
    name: str
    before: Json
    after: Json


def fingerprint(step: Step, results: Mapping[str, StepResult], observations: Observations) -> Fingerprint | None:
    """The fingerprint of a step whose upstream results are known; None if an input's content is not known yet."""
    inputs: dict[str, Json] = {}
    packages = set(step.packages)
    for role, source in step.inputs.items():
        content = _content(source, results, observations)
        if content is None:
            return None
        inputs[role] = content
        if isinstance(source, Observed):
            packages |= observations.imports.get(source.key, frozenset())
    components: dict[str, Json] = {
        "step": {"kind": step.kind, "version": step.version},
        "settings": step.settings,
        "inputs": inputs,
        "packages": {name: observations.packages.get(name) for name in packages},
    }
    return Fingerprint(digest(components), components)


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[Difference, ...]:
    """What differs between the components of two fingerprints, settings first, each to the innermost field."""
    found = []
    for kind in ("settings", "inputs", "packages", "step"):
        for name, old, new in _leaves("", before.get(kind), after.get(kind)):
            found.append(Difference(kind, name, old, new))
    return tuple(found)


def opponent_of(source: Against, results: Mapping[str, StepResult], world: Observations) -> Opponent | None:
    """Who the candidate of these results is held against; None where there is nobody."""
    if world.champion is None:
        return None
    model, rows = (results[each.step].outputs[each.output].digest for each in (source.candidate, source.holdout))
    return world.champion.against(model, rows)


def _content(source: Input, results: Mapping[str, StepResult], world: Observations) -> str | Mapping[str, str] | None:
    if isinstance(source, Observed):
        return world.contents.get(source.key)
    if isinstance(source, Against):
        opponent = opponent_of(source, results, world)
        return "none" if opponent is None else opponent.content
    return results[source.step].outputs[source.output].digest


def _leaves(path: str, before: Any, after: Any) -> list[tuple[str, Json, Json]]:
    if canonical_json(before) == canonical_json(after):  # what is hashed; 1 and True are equal to Python
        return []
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        found = []
        for key in sorted({*before, *after}):
            found += _leaves(f"{path}.{key}" if path else key, before.get(key), after.get(key))
        return found
    if _are_lists(before, after):
        found = []
        for position, (old, new) in enumerate(zip(before, after, strict=True)):
            found += _leaves(path if len(before) == 1 else f"{path}[{position}]", old, new)
        return found
    return [(path, before, after)]


def _are_lists(before: Any, after: Any) -> bool:
    """Whether two values can be compared item by item."""
    lists = isinstance(before, list | tuple) and isinstance(after, list | tuple)
    return lists and len(before) == len(after)
