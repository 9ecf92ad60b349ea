"""A field's type and default as people read them: `duration`, `list of columns`, `20%`, `2 of 3`.

`type_text` and `default_text` take what stands in a block's class: the annotation with all that is annotated, and
the default. Markdown, for one cell of a table.
"""

from __future__ import annotations

from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, Tag, WithJsonSchema
from pydantic.fields import FieldInfo

from engine.spec import fields, models, units
from engine.spec.guardrails import CustomGuardrail

_NAMED: tuple[tuple[Any, str], ...] = (
    (fields.Fraction, "percentage"),
    (fields.Share, "percentage between 0% and 100%"),
    (fields.PositiveFraction, "percentage above 0%"),
    (fields.Seconds, "duration"),
    (fields.Bytes, "size"),
    (fields.ModelName, "name"),
    (fields.StepName, "name"),
    (fields.Role, "role"),
    (fields.VariableName, "variable"),
    (fields.Text, "text"),
    (fields.Column, "column"),
    (fields.Function, "`package.module:function`"),
    (fields.Estimator, "`auto` or the dotted name of a class"),
    (fields.MetricName, "[metric](#metrics)"),
    (fields.ProjectPath, "path"),
    (fields.Command, "command"),
    (fields.HttpUrl, "URL"),
    (fields.Persistence, "windows, like `2 of 3`"),
    (fields.Budget, "budget, like `3 per week`"),
    (models.Source, "path, URL, `dvc:PATH`, `sklearn:NAME`, or a [query](#a-query)"),
    (models.Values, "list of values, or a range `{low, high, log}`"),
)
_PLAIN = {str: "text", int: "integer", float: "number", bool: "`true` or `false`", Any: "anything", dict: "mapping"}


def type_text(annotation: Any) -> str:
    """What may be written for a field. Raises TypeError for a type that has no words yet."""
    for alias, text in _NAMED:
        if annotation == alias:
            return text
    origin = get_origin(annotation)
    arguments = get_args(annotation)
    if origin in (Union, UnionType):
        return " or ".join(dict.fromkeys(type_text(option) for option in arguments if option is not NoneType))
    if origin is Annotated:
        bare = tuple(item for item in arguments[1:] if not isinstance(item, Tag))
        if bare != arguments[1:]:  # one of several alternatives
            return type_text(Annotated.__class_getitem__((arguments[0], *bare)) if bare else arguments[0])
        return _annotated(arguments[0], bare)
    if origin is Literal:
        return ", ".join(f"`{_scalar(choice)}`" for choice in arguments)
    if origin is list and get_origin(arguments[0]) is not Literal:
        return f"list of {_plural(type_text(arguments[0]))}"
    if origin is list:
        return f"list: {type_text(arguments[0])}"
    if origin is dict:
        return f"mapping, {type_text(arguments[0])} → {type_text(arguments[1])}"
    if annotation is CustomGuardrail:
        return "[guardrail of your own](#guardrails-of-your-own)"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "mapping"
    if annotation in _PLAIN:
        return _PLAIN[annotation]
    raise TypeError(f"{annotation} has no words for docs/spec.md")


def default_text(annotation: Any, field: FieldInfo) -> str:
    """What holds when a field is left out; empty where that is told by its description."""
    if field.is_required():
        return "**required**"
    default = field.default_factory() if field.default_factory else field.default  # type: ignore[call-arg]
    if default is None or isinstance(default, BaseModel):
        return ""
    if default in ([], {}):
        return "none"
    if isinstance(default, list):
        return ", ".join(f"`{_scalar(item)}`" for item in default)
    if isinstance(default, dict) and default.keys() == {"count", "windows"}:
        return f"`{default['count']} of {default['windows']}`"
    if annotation in (fields.Fraction, fields.Share, fields.PositiveFraction):
        return f"`{units.format_fraction(default)}`"
    if annotation == fields.Seconds:
        return f"`{units.format_duration(default)}`"
    return f"`{_scalar(default)}`"


def _annotated(base: Any, metadata: tuple[Any, ...]) -> str:
    for item in metadata:
        if isinstance(item, WithJsonSchema) and item.json_schema:
            return _by_schema(item.json_schema)
    text = type_text(base)
    low, high, above = _ends(metadata)
    if above is not None:
        return f"{text} above {above:,}" + ("" if high is None else f", at most {high:,}")
    if low is None and high is None:
        return text
    if high is None:
        return f"{text}, at least {low:,}"
    return f"{text}, {low:,} to {high:,}"


def _by_schema(schema: dict[str, Any]) -> str:
    options = schema.get("anyOf", [schema])
    words = [_PATTERNS.get(o.get("pattern"), _JSON[o["type"]]) for o in options]
    examples = f", like `{schema['examples'][0]}`" if "examples" in schema else ""
    return " or ".join(words) + examples


_PATTERNS = {units.PERCENT_PATTERN: "percentage", units.DURATION_PATTERN: "duration"}
_JSON = {
    "boolean": "`true` or `false`",
    "number": "number",
    "integer": "integer",
    "string": "text",
    "array": "list",
    "object": "mapping",
}


def _ends(metadata: tuple[Any, ...]) -> tuple[Any, Any, Any]:
    """The least and the greatest number that constraints leave, and the one to be exceeded; None for no such end."""
    constraints = [c for item in metadata for c in (item.metadata if isinstance(item, FieldInfo) else [item])]
    low = next((c.ge for c in constraints if hasattr(c, "ge")), None)
    high = next((c.le for c in constraints if hasattr(c, "le")), None)
    above = next((c.gt for c in constraints if hasattr(c, "gt")), None)
    return low, high, above


def _plural(text: str) -> str:
    first, space, rest = text.partition(" ")
    return text if first == "text" else f"{first}s{space}{rest}"


def _scalar(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
