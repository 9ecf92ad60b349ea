"""Bytes of a model_spec → a resolved document with its digest, or every mistake in it.

Layers, the upper over the lower: the overrides of the environment, the spec, the project's entry for the model,
the project's defaults. The result is plain JSON; nothing above this package sees pydantic.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from blake3 import blake3
from pydantic import ValidationError

from engine.errors import Diagnostic, SpecError
from engine.spec.binding import Binder, not_yet
from engine.spec.checks import check_sections
from engine.spec.diagnostics import descend, diagnose, suggestion
from engine.spec.fields import show
from engine.spec.kinds import Kinds
from engine.spec.models import BOUND_BY_KIND, Data, ModelSpec, Monitoring
from engine.spec.overlay import overlay
from engine.spec.project import Project
from engine.spec.references import check_references, replace_variables
from engine.spec.wiring import Wiring, wire
from engine.spec.yaml_tree import Node, Place, parse_tree

if TYPE_CHECKING:
    from engine.spec.policies import Policy

_MOST_SHOWN = 100
_MOST_PRUNED = 8


@dataclass(frozen=True)
class LoadedSpec:
    """A valid spec. `places` maps JSON pointers into the spec as written to where the value stands."""

    document: dict[str, Any]
    digest: str
    warnings: tuple[Diagnostic, ...]
    places: Mapping[str, Place]
    file: str
    variables_used: frozenset[str]

    @property
    def name(self) -> str:
        """The model's name."""
        return str(self.document["name"])


def load_spec(
    text: bytes,
    file: str,
    *,
    project: Project,
    kinds: Kinds,
    exists: Callable[[str], bool],
    environment: str | None = None,
    variables: Mapping[str, str] | None = None,
) -> LoadedSpec:
    """Read, merge, check and resolve one spec.

    `file` names it in messages; `exists` says whether there is a file or folder at a path of the project. Raises
    SpecError with every mistake found, UsageError for an environment that the project does not have.
    """
    parsed = parse_tree(text, file)
    mistakes = list(parsed.diagnostics)
    root = _model_spec(parsed.root, mistakes) if parsed.root else None
    if root is None:
        raise SpecError(mistakes)
    used: set[str] = set()
    merged, unresolved = replace_variables(_layered(root, project, environment), variables or {}, used)
    mistakes += unresolved
    document, warnings = _resolve(merged, kinds, exists, mistakes)
    if mistakes:
        raise SpecError(_relevant(mistakes))
    places = {_pointer(path): node.place for path, node in merged.walk()}
    refused, said = _judged(document, places, file, project.policies_of(environment), environment, kinds)
    if refused:
        raise SpecError(refused)
    warnings += said
    return LoadedSpec(
        document,
        spec_digest(document),
        tuple(sorted(warnings)),
        places,
        file,
        frozenset(used),
    )


def _judged(
    document: Mapping[str, Any],
    places: Mapping[str, Place],
    file: str,
    policies: Sequence[Policy],
    environment: str | None,
    kinds: Kinds,
) -> tuple[list[Diagnostic], list[Diagnostic]]:
    """What the policies about specs refuse, and what they only say."""
    counting = [policy for policy in policies if not policy.at_deploy]
    if not counting:
        return [], []
    from engine.spec.policies import facts_of, judge, placed

    findings = judge(counting, facts_of(document, environment, kinds.gates))
    return (
        [placed(each, places, file) for each in findings if not each.policy.warns],
        [placed(each, places, file) for each in findings if each.policy.warns],
    )


def spec_digest(document: Mapping[str, Any]) -> str:
    """The digest of a resolved document in canonical form."""
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return f"blake3:{blake3(text.encode()).hexdigest()}"


def _model_spec(root: Node, mistakes: list[Diagnostic]) -> Node | None:
    """The value of the document's one key."""
    if not isinstance(root.value, Mapping):
        message = f"a spec is a mapping with the key model_spec, not {show(root.plain())}"
        mistakes.append(root.place.diagnostic(message, 'Start it with "model_spec:".'))
        return None
    spec = root.value.get("model_spec")
    if spec is None:
        _say_no_head(root, root.value, mistakes)
        return None
    for key, node in root.value.items():
        if key != "model_spec":
            remedy = "Indent it under model_spec." if key in ModelSpec.model_fields else "Remove it."
            mistakes.append(node.name_place.diagnostic(f'unknown key "{key}" beside model_spec', remedy))
    if isinstance(spec.value, Mapping):
        return spec
    what = "is empty" if spec.value is None else f"must be a mapping, not {show(spec.plain())}"
    mistakes.append(spec.name_place.diagnostic(f"model_spec {what}", "Add at least a name under it."))
    return None


def _say_no_head(root: Node, fields: Mapping[str, Node], mistakes: list[Diagnostic]) -> None:
    if "name" in fields:
        mistakes.append(
            root.place.diagnostic("model_spec is missing", 'Put "model_spec:" on top, and indent the rest.')
        )
        return
    for key, node in fields.items():
        mistakes.append(
            node.name_place.diagnostic(f'unknown key "{key}"', suggestion(key, ["model_spec"], "Known keys"))
        )
    if not fields:
        mistakes.append(root.place.diagnostic("model_spec is missing", 'Start the file with "model_spec:".'))


def _layered(root: Node, project: Project, environment: str | None) -> Node:
    name = root.fields["name"].value if "name" in root.fields else None
    model = name if isinstance(name, str) else ""
    merged: Node | None = None
    for layer in (*project.below(model), root, *project.above(model, environment)):
        merged = overlay(merged, layer)
    assert merged is not None, "the spec itself is a layer"
    return merged


def _resolve(
    root: Node, kinds: Kinds, exists: Callable[[str], bool], mistakes: list[Diagnostic]
) -> tuple[dict[str, Any], list[Diagnostic]]:
    mistakes += check_references(root)
    binder = Binder(kinds)
    trigger = binder.trigger(root.fields.get("retrain_trigger"))
    gates = binder.gates(root.fields.get("validation"))
    deployment = binder.deployment(root.fields.get("deployment"))
    mistakes += binder.diagnostics
    spec, own = _sections(root, mistakes)
    mistakes += not_yet(ModelSpec, root, "")
    if "monitoring" in root.fields:
        mistakes += not_yet(Monitoring, root.fields["monitoring"], "monitoring")
    mistakes += check_sections(spec, gates, trigger, root)
    wiring = _wired(spec, own, exists)
    mistakes += wiring.diagnostics
    document = spec.model_dump(mode="json", exclude={"data": {"expect", "personal"}, "steps": True})
    document["data"] |= {"table": wiring.table, **_contract(spec.data)}
    document["training"] |= {"estimator": _estimator(spec), "inputs": wiring.training}
    document["training"]["tuning"] = _tuning(document["training"]["tuning"])
    document["steps"] = [
        step.model_dump(mode="json") | {"inputs": inputs}
        for step, inputs in zip(spec.steps, wiring.inputs, strict=True)
    ]
    return document | {"retrain_trigger": trigger, "validation": gates, "deployment": deployment}, binder.warnings


def _sections(root: Node, mistakes: list[Diagnostic]) -> tuple[ModelSpec, Node]:
    """The spec without the sections of the kinds, and its nodes; what has mistakes is left out of both."""
    own = replace(root, value={key: node for key, node in root.fields.items() if key not in BOUND_BY_KIND})
    for attempt in range(_MOST_PRUNED):
        try:
            return ModelSpec.model_validate(own.plain()), own
        except ValidationError as error:
            if attempt == 0:
                mistakes += diagnose(error, ModelSpec, own, "")
            own = _complete(_without(own, _bad_paths(error, own)))
    return ModelSpec(name="unnamed"), Node({}, root.place)


def _bad_paths(error: ValidationError, root: Node) -> list[tuple[str | int, ...]]:
    """Where the mistakes are; what is only missing where `_complete` adds it is none."""
    added = [
        item for item in error.errors(include_url=False) if item["type"] == "missing" and _is_completed(item["loc"])
    ]
    return [descend(root, item["loc"])[0] for item in error.errors(include_url=False) if item not in added]


def _is_completed(loc: tuple[str | int, ...]) -> bool:
    return loc == ("name",) or (len(loc) == 3 and loc[0] == "steps" and loc[2] == "run")


def _complete(root: Node) -> Node:
    """A stand-in for the name and the commands that were left out, so that the rest can be checked."""
    fields = {"name": Node("unnamed", root.place), **root.fields}
    if "steps" in fields:
        run = Node([Node("true", root.place)], root.place)
        steps = [replace(step, value={"run": run, **step.fields}) for step in fields["steps"].items]
        fields["steps"] = replace(fields["steps"], value=steps)
    return replace(root, value=fields)


def _without(node: Node, paths: Sequence[tuple[str | int, ...]]) -> Node:
    """The tree without what stands at these paths, so that the rest can be checked as well."""
    below: dict[str | int, list[tuple[str | int, ...]]] = {}
    for path in paths:
        below.setdefault(path[0], []).append(path[1:])
    if isinstance(node.value, Mapping):
        kept = {key: child if key not in below else _pruned(child, below[key]) for key, child in node.value.items()}
        return replace(node, value={key: child for key, child in kept.items() if child})
    if isinstance(node.value, list):
        items = [item if i not in below else _pruned(item, below[i]) for i, item in enumerate(node.value)]
        return replace(node, value=[item for item in items if item])
    return node


def _pruned(node: Node, paths: list[tuple[str | int, ...]]) -> Node | None:
    return None if () in paths else _without(node, paths)


def _wired(spec: ModelSpec, root: Node, exists: Callable[[str], bool]) -> Wiring:
    nodes = root.fields["steps"].items if "steps" in root.fields else []
    training = (spec.training, root.fields["training"]) if "training" in root.fields else None
    table = root.fields["data"].fields.get("table") if spec.data.table else None
    return wire(list(zip(spec.steps, nodes, strict=True)), training, table, exists)


def _contract(data: Data) -> dict[str, Any]:
    """What is expected of the data, without what the contract leaves out: a field that comes later changes nothing."""
    found: dict[str, Any] = {"personal": list(data.personal)} if data.personal else {}
    if data.expect is not None:
        found["expect"] = data.expect.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    return found


def _estimator(spec: ModelSpec) -> str | None:
    made_otherwise = spec.training.function or spec.training.run
    return None if made_otherwise else spec.training.estimator or "auto"


def _tuning(tuning: dict[str, Any] | None) -> dict[str, Any] | None:
    if tuning and tuning["search"] == "random" and tuning["trials"] is None:
        return tuning | {"trials": 20}
    return tuning


def _relevant(mistakes: Iterable[Diagnostic]) -> list[Diagnostic]:
    """The first complaint about each place, in order of the file, and no more than a person reads."""
    first: dict[tuple[str, int, int], Diagnostic] = {}
    for mistake in mistakes:
        first.setdefault((mistake.file, mistake.line, mistake.column), mistake)
    return sorted(first.values())[:_MOST_SHOWN]


def _pointer(path: Iterable[str | int]) -> str:
    return "".join(f"/{str(part).replace('~', '~0').replace('/', '~1')}" for part in path)
