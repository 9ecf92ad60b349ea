"""JSON Schema of model_spec and engine.yaml, generated from the blocks, in a form that editors use well.

Percentages, durations and sizes are numbers or patterned text; kinds are alternatives (`oneOf`) told apart by
their own key; every field has its description. `check` tells whether the committed files are in step.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from engine.spec.binding import GroupOptions
from engine.spec.descriptions import describe
from engine.spec.kinds import Kinds
from engine.spec.models import ModelSpec
from engine.spec.policies import PolicyBlock
from engine.spec.project import STORES, WEBHOOKS

_DIALECT = "http://json-schema.org/draft-07/schema#"
_LATER = "Not supported yet."


def render(kinds: Kinds) -> dict[str, str]:
    """The text of each schema file by its name."""
    schemas = {"model_spec.schema.json": spec_schema(kinds), "engine.schema.json": project_schema(kinds)}
    return {name: json.dumps(schema, indent=2, ensure_ascii=False) + "\n" for name, schema in schemas.items()}


def write(folder: Path, kinds: Kinds) -> None:
    """Write the schema files."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in render(kinds).items():
        (folder / name).write_text(text, encoding="utf-8")


def check(folder: Path, kinds: Kinds) -> list[str]:
    """The names of the files that are missing or not in step with the models."""
    return [
        name
        for name, text in render(kinds).items()
        if not (folder / name).is_file() or (folder / name).read_text(encoding="utf-8") != text
    ]


def spec_schema(kinds: Kinds) -> dict[str, Any]:
    """The schema of a file with one `model_spec`."""
    return {
        "$schema": _DIALECT,
        "title": "model_spec",
        "description": "The desired state of one model.",
        "type": "object",
        "properties": {"model_spec": {"$ref": "#/definitions/ModelSpec"}},
        "required": ["model_spec"],
        "additionalProperties": False,
        "definitions": _definitions(kinds),
    }


def project_schema(kinds: Kinds) -> dict[str, Any]:
    """The schema of engine.yaml."""
    definitions = _definitions(kinds)
    definitions["Layer"] = _layer(definitions["ModelSpec"])
    layer = {"$ref": "#/definitions/Layer"}
    layers = {"type": "object", "additionalProperties": layer}
    stores = {"$ref": "#/definitions/Stores"}
    definitions["Stores"] = {
        "type": "object",
        "description": "Where state, artifacts and releases are kept: URLs or paths; secrets as ${env:NAME}.",
        "properties": {
            name: {"description": about, "type": "string", "minLength": 1} for name, about in STORES.items()
        },
        "additionalProperties": False,
    }
    webhooks = {"$ref": "#/definitions/Webhooks"}
    definitions["Webhooks"] = {
        "type": "object",
        "description": "Events from other systems, which ask for a retrain: `secret` is what they are signed with.",
        "properties": {
            name: {"description": about, "type": "string", "pattern": r"^\$\{(env|file):[^{}]+\}$"}
            for name, about in WEBHOOKS.items()
        },
        "additionalProperties": False,
    }
    _block("Policy", PolicyBlock, definitions)
    rules = {"type": "array", "items": {"$ref": "#/definitions/Policy"}}
    environment = {
        "type": "object",
        "properties": {
            "overrides": layer | {"description": "Over every spec."},
            "models": layers | {"description": "Over the spec of one model, by its name."},
            "stores": stores,
            "webhooks": webhooks,
            "policies": rules | {"description": "Further rules; one takes the place of the project's of that name."},
        },
        "additionalProperties": False,
    }
    return {
        "$schema": _DIALECT,
        "title": "engine.yaml",
        "description": "The project: defaults, models, environments, stores, webhooks and policies.",
        "type": "object",
        "properties": {
            "defaults": layer | {"description": "Under every spec."},
            "models": layers | {"description": "Under the spec of one model, by its name."},
            "environments": {
                "type": "object",
                "description": "What differs with --env NAME.",
                "additionalProperties": environment,
            },
            "stores": stores,
            "webhooks": webhooks,
            "policies": rules | {"description": "Rules that every spec and every deployment must keep."},
        },
        "additionalProperties": False,
        "definitions": definitions,
    }


def _layer(spec: Mapping[str, Any]) -> dict[str, Any]:
    """A part of a model_spec: nothing is required, and a deployment may be completed by another layer."""
    properties = {key: value for key, value in spec["properties"].items() if key != "name"}
    properties["deployment"] = {"type": "object", "description": "Part of a deployment."}
    return {"type": "object", "properties": properties, "additionalProperties": False}


def _definitions(kinds: Kinds) -> dict[str, Any]:
    definitions: dict[str, Any] = {}
    spec = _block("ModelSpec", ModelSpec, definitions)
    triggers = _kinds("trigger", kinds.triggers, definitions)
    gates = _kinds("gate", kinds.gates, definitions)
    definitions["Trigger"] = {"oneOf": triggers}
    definitions["Gate"] = {"oneOf": gates}
    definitions["Deployment"] = {"oneOf": _kinds("strategy", kinds.strategies, definitions)}
    definitions["TriggerGroup"] = _trigger_group(definitions)
    _bind(spec, "retrain_trigger", _one_or_many("Trigger", "TriggerGroup"))
    _bind(spec, "validation", _one_or_many("Gate"))
    _bind(spec, "deployment", {"$ref": "#/definitions/Deployment"})
    return definitions


def _bind(spec: Mapping[str, Any], key: str, schema: Mapping[str, Any]) -> None:
    about = spec["properties"][key].get("description", "")
    spec["properties"][key] = (
        {"allOf": [schema], "description": about} if "$ref" in schema else {**schema, "description": about}
    )


def _one_or_many(*names: str) -> dict[str, Any]:
    one = [{"$ref": f"#/definitions/{name}"} for name in names]
    return {"anyOf": [*one, {"type": "array", "minItems": 1, "items": one[0] if len(one) == 1 else {"anyOf": one}}]}


def _trigger_group(definitions: dict[str, Any]) -> dict[str, Any]:
    members = {
        "type": "array",
        "minItems": 1,
        "items": {"anyOf": [{"$ref": "#/definitions/Trigger"}, {"$ref": "#/definitions/TriggerGroup"}]},
    }
    group = _block("TriggerGroup", GroupOptions, definitions)
    group["properties"] |= {
        "any_of": members | {"description": "Due when any of these is."},
        "all_of": members | {"description": "Due when all of these are."},
    }
    return group | {"oneOf": [{"required": ["any_of"]}, {"required": ["all_of"]}]}


def _kinds(prefix: str, table: Mapping[str, Any], definitions: dict[str, Any]) -> list[dict[str, str]]:
    for name, model in table.items():
        _block(f"{prefix}_{name}", model, definitions)
    return [{"$ref": f"#/definitions/{prefix}_{name}"} for name in table]


def _block(name: str, model: type[BaseModel], definitions: dict[str, Any]) -> dict[str, Any]:
    schema = model.model_json_schema(by_alias=True, ref_template="#/definitions/{model}")
    models = {m.__name__: m for m in _models_of(model)}
    for inner, definition in schema.pop("$defs", {}).items():
        described = _described(definition, models[inner])
        if definitions.setdefault(inner, described) != described:
            raise ValueError(f"two blocks have the name {inner}, and one would hide the other in the schema")
    definitions[name] = _described(schema, model)
    if not getattr(model, "supported", True):
        definitions[name]["description"] = f"{definitions[name].get('description', '')} {_LATER}".strip()
    block: dict[str, Any] = definitions[name]
    return block


def _described(schema: dict[str, Any], model: type[BaseModel]) -> dict[str, Any]:
    schema.pop("title", None)
    schema["description"] = (model.__doc__ or "").strip().partition("\n")[0]
    about = describe(model)
    for name, field in model.model_fields.items():
        key = field.alias or name
        prop = schema["properties"][key]
        prop.pop("title", None)
        if field.is_required():
            prop.pop("default", None)
        _tidy(prop)
        later = f" {_LATER}" if name in getattr(model, "not_yet", ()) else ""
        text = f"{about.get(name, '')}{later}".strip()
        schema["properties"][key] = _with_description(prop, text)
    return schema


def _tidy(schema: dict[str, Any]) -> None:
    """Take out what only some versions of pydantic write: defaults of inner types, and what is so anyway."""
    if schema.get("additionalProperties") is True:
        del schema["additionalProperties"]
    for key in ("anyOf", "oneOf", "allOf", "items", "additionalProperties"):
        for inner in schema[key] if isinstance(schema.get(key), list) else [schema.get(key)]:
            if isinstance(inner, dict):
                inner.pop("default", None)
                _tidy(inner)


def _with_description(prop: dict[str, Any], text: str) -> dict[str, Any]:
    if "$ref" in prop:  # draft 7 ignores what stands beside a $ref
        prop = {"allOf": [{"$ref": prop["$ref"]}], **{k: v for k, v in prop.items() if k != "$ref"}}
    return {"description": text, **prop} if text else prop


def _models_of(model: type[BaseModel]) -> list[type[BaseModel]]:
    from engine.spec.diagnostics import models_in

    found = [model]
    for candidate in found:
        for field in candidate.model_fields.values():
            found += [inner for inner in models_in(field.annotation) if inner not in found]
    return found
