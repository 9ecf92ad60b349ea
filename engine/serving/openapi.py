"""The gateway's paths as OpenAPI 3.1, and a page that shows them without any asset from elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engine import __version__
from engine.serving.signature import Signature
from engine.serving.tensors import FORMATS

_TYPES: Mapping[str, list[str]] = {"numeric": ["number", "null"], "boolean": ["boolean", "null"]}
_TEXT = {"type": ["string", "null"]}
_DATE = {"anyOf": [{"type": "string", "format": "date"}, {"type": "string", "format": "date-time"}, {"type": "null"}]}


def document(models: Mapping[str, Signature | None]) -> dict[str, Any]:
    """The description of the paths for these models; None for one that is not ready."""
    paths: dict[str, Any] = {
        "/healthz": _get("Whether the gateway lives."),
        "/readyz": _get("Whether every model can answer.", {"503": "not yet"}),
        "/metrics": _get("Metrics in Prometheus' text format."),
        "/ping": _get("As /readyz, for MLflow's clients.", {"503": "not yet"}),
        "/health": _get("As /readyz, for MLflow's clients.", {"503": "not yet"}),
        "/version": _get("The engine's version, as text."),
        "/v1/models": _get("The models."),
        "/v2": _get("Open Inference Protocol: about the server."),
        "/v2/health/live": _get("Open Inference Protocol: whether the gateway lives."),
        "/v2/health/ready": _get("Open Inference Protocol: whether every model can answer.", {"503": "not yet"}),
        "/invocations": _post("MLflow's scoring payloads; ?model=NAME if several are served.", _mlflow(None)),
    }
    for name, signature in models.items():
        record = {"type": "object"} if signature is None else _record(signature)
        own = {"oneOf": [_only("instances", _many(record)), record]}
        paths[f"/v1/models/{name}"] = _get(f"About {name}.")
        paths[f"/v1/models/{name}/predict"] = _post(f"Predictions of {name}.", own)
        paths[f"/v1/models/{name}/invocations"] = _post("MLflow's scoring payloads.", _mlflow(signature))
        paths[f"/v1/models/{name}/feedback"] = _post(f"What predictions of {name} turned out to be.", _FEEDBACK)
        paths[f"/v2/models/{name}"] = _get("Open Inference Protocol: about the model.")
        paths[f"/v2/models/{name}/ready"] = _get("Open Inference Protocol: whether it can answer.", {"503": "not yet"})
        paths[f"/v2/models/{name}/infer"] = _post("Open Inference Protocol: predictions.", _infer(signature))
    return {"openapi": "3.1.0", "info": {"title": "engine", "version": __version__}, "paths": paths}


_LABEL = {
    "type": "object",
    "properties": {"id": {"type": "string"}, "actual": {"type": ["string", "number", "boolean"]}},
    "required": ["id", "actual"],
    "additionalProperties": False,
}
_FEEDBACK = {
    "oneOf": [
        {
            "type": "object",
            "properties": {"feedback": {"type": "array", "items": _LABEL, "minItems": 1}},
            "required": ["feedback"],
            "additionalProperties": False,
        },
        _LABEL,
    ]
}


def _record(signature: Signature) -> dict[str, Any]:
    properties = {name: _values_of(kind) for name, kind in signature.features}
    if signature.id is not None:
        properties[signature.id] = {}
    return {
        "type": "object",
        "properties": properties,
        "required": list(signature.names),
        "additionalProperties": False,
    }


def _values_of(kind: str) -> dict[str, Any]:
    return {"type": _TYPES[kind]} if kind in _TYPES else _DATE if kind == "date" else _TEXT


def _many(schema: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": schema, "minItems": 1}


def _only(name: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": {name: schema}, "required": [name], "additionalProperties": False}


def _mlflow(signature: Signature | None) -> dict[str, Any]:
    """MLflow's four forms; for any model when there is no signature."""
    record: dict[str, Any] = {"type": "object"}
    columns: dict[str, Any] = {"type": "array", "items": {"type": "string"}}
    inputs: dict[str, Any] = {"type": "object", "additionalProperties": {"type": "array"}}
    if signature is not None:
        record, columns = _record(signature), {"const": list(signature.names)}
        properties = {name: _many(_values_of(kind)) for name, kind in signature.features}
        inputs = {**_record(signature), "properties": properties}
    split = {
        "type": "object",
        "properties": {"columns": columns, "index": {"type": "array"}, "data": _many({"type": "array"})},
        "required": ["data"],
        "additionalProperties": False,
    }
    records = _many(record)
    by_name = {"dataframe_split": split, "dataframe_records": records, "instances": records}
    forms = [*by_name.items(), ("inputs", {"anyOf": [records, inputs]})]
    return {"oneOf": [_only(name, schema) for name, schema in forms]}


def _infer(signature: Signature | None) -> dict[str, Any]:
    """A request of the Open Inference Protocol as JSON."""
    name: dict[str, Any] = {"type": "string"}
    if signature is not None:
        name = {"type": "string", "description": f"one of {', '.join(signature.names)}, or any name for all of them"}
    tensor = {
        "type": "object",
        "properties": {
            "name": name,
            "shape": {"type": "array", "items": {"type": "integer", "minimum": 0}, "minItems": 1, "maxItems": 2},
            "datatype": {"enum": sorted((*FORMATS, "BYTES"))},
            "parameters": {"type": "object"},
            "data": {"type": "array"},
        },
        "required": ["name", "shape", "datatype", "data"],
    }
    properties = {"id": {"type": "string"}, "parameters": {"type": "object"}, "inputs": _many(tensor)}
    return {"type": "object", "properties": {**properties, "outputs": {"type": "array"}}, "required": ["inputs"]}


def _get(summary: str, more: Mapping[str, str] | None = None) -> dict[str, Any]:
    answers = {
        "200": {"description": "so it is"},
        **{code: {"description": text} for code, text in (more or {}).items()},
    }
    return {"get": {"summary": summary, "responses": answers}}


def _post(summary: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    errors = {
        "400": "no JSON, or not strictly",
        "401": "a token is needed",
        "403": "asked for by another site",
        "413": "too large",
        "415": "no JSON",
        "422": "rows that do not fit the model; each mistake is named",
        "429": "too many requests at once",
        "503": "not ready",
        "504": "no answer in time",
    }
    return {
        "post": {
            "summary": summary,
            "requestBody": {"required": True, "content": {"application/json": {"schema": schema}}},
            "responses": {
                "200": {"description": "predictions", "content": {"application/json": {"schema": {"type": "object"}}}},
                **{code: {"description": text} for code, text in errors.items()},
            },
        }
    }


PAGE_HEADERS = (
    b"content-type: text/html; charset=utf-8\r\n"
    b"content-security-policy: default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
    b"connect-src 'self'; frame-ancestors 'none'; base-uri 'none'\r\n"
    b"x-content-type-options: nosniff\r\n"
)
PAGE = b"""<!doctype html>
<html lang="en"><meta charset="utf-8"><title>engine</title>
<style>body{font:16px/1.5 system-ui,sans-serif;max-width:60em;margin:2em auto;padding:0 1em}
code{background:#eee;padding:.1em .3em}dt{margin-top:1em}</style>
<h1>engine</h1><p>The description for machines is <a href="/openapi.json">/openapi.json</a>.</p><dl id="paths"></dl>
<script>
fetch("/openapi.json").then(r => r.json()).then(d => {
  const list = document.getElementById("paths");
  for (const [path, methods] of Object.entries(d.paths)) for (const [method, what] of Object.entries(methods)) {
    const [name, code, text] = ["dt", "code", "dd"].map(tag => document.createElement(tag));
    code.textContent = method.toUpperCase() + " " + path; text.textContent = what.summary;
    name.append(code); list.append(name, text);
  }
});
</script></html>
"""
