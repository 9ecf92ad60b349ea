"""Pydantic's errors → diagnostics for people: the place in the file, what is wrong, how to mend it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from itertools import pairwise
from types import UnionType
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ValidationError

from engine.errors import Diagnostic
from engine.spec.fields import show
from engine.spec.yaml_tree import Node

_MOST = 200  # nobody reads more, and each costs a search for what was meant
_MOST_COMPARED = 200  # names; each takes some microseconds for each mistake
_MOST_LISTED = 50
_TYPES = {
    "string_type": "text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "int_parsing": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "list_type": "a list",
    "tuple_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "finite_number": "a finite number",
}
_BOUNDS = {
    "greater_than": ("gt", "more than"),
    "greater_than_equal": ("ge", "at least"),
    "less_than": ("lt", "less than"),
    "less_than_equal": ("le", "at most"),
}
_LENGTHS = {
    "too_short": ("min_length", "at least", "item"),
    "too_long": ("max_length", "at most", "item"),
    "string_too_short": ("min_length", "at least", "character"),
    "string_too_long": ("max_length", "at most", "character"),
}


def validate(model: type[BaseModel], node: Node, label: str) -> tuple[Any, list[Diagnostic]]:
    """An instance of `model` made of `node`, or None and every mistake in it. `label` names the block to people."""
    try:
        return model.model_validate(node.plain()), []
    except ValidationError as error:
        return None, diagnose(error, model, node, label)


def diagnose(error: ValidationError, model: type[BaseModel], node: Node, label: str) -> list[Diagnostic]:
    """One diagnostic for each mistake; a union's several complaints about one value become one."""
    found: dict[tuple[int, int], Diagnostic] = {}
    for item in error.errors(include_url=False)[:_MOST]:
        diagnostic = _Mistake(item, model, node, label).diagnostic()
        found.setdefault((diagnostic.line, diagnostic.column), diagnostic)
    return list(found.values())


def unknown_key(key: str, node: Node, where: str, known: Iterable[str]) -> Diagnostic:
    """A key that nothing reads. `node` is its value."""
    known = sorted(known)
    return node.name_place.diagnostic(f'unknown key "{key}" in {where}', suggestion(key, known, "Known keys"))


def suggestion(word: str, known: Sequence[str], title: str) -> str:
    """`Did you mean …?`, else what there is."""
    likely = known if len(known) <= _MOST_COMPARED else [name for name in known if name[:1] == word[:1]]
    near = get_close_matches(word.lower(), likely[:_MOST_COMPARED], n=1, cutoff=0.6)
    if near and near[0] != word:
        return f'Did you mean "{near[0]}"?'
    if len(known) > _MOST_LISTED:
        return f"{title}: {', '.join(known[:_MOST_LISTED])} and {len(known) - _MOST_LISTED} more."
    return f"{title}: {', '.join(known)}." if known else "Remove it."


class _Mistake:
    """One of pydantic's errors, with what it takes to explain it."""

    def __init__(self, item: Any, model: type[BaseModel], root: Node, label: str) -> None:
        self.kind: str = item["type"]
        self.context: Mapping[str, Any] = item.get("ctx") or {}
        self.message: str = item["msg"]
        self.input = item.get("input")
        self.path, self.node = descend(root, item["loc"])
        self.missing = str(item["loc"][-1]) if self.kind == "missing" else ""
        self.model = _model_at(model, self.path[:-1] if self.kind == "extra_forbidden" else self.path)
        self.label = label

    def diagnostic(self) -> Diagnostic:
        if self.kind == "extra_forbidden":
            known = _keys(self.model)
            return unknown_key(str(self.path[-1]), self.node, self._name(self.path[:-1]), known)
        if self.kind == "missing":
            return self._missing()
        message, remedy = self._explained()
        return self._node_meant(message).place.diagnostic(message, remedy)

    def _missing(self) -> Diagnostic:
        message = f'{self._name(self.path)} needs "{self.missing}"'
        about = _description(self.model, self.missing)
        return self.node.name_place.diagnostic(message, f'Add "{self.missing}": {about}' if about else "Add it.")

    def _explained(self) -> tuple[str, str]:
        name = self._name(self.path)
        if self.kind == "spec":
            return f"{name}: {self.context['message']}", self.context["remedy"] or "Correct it."
        if self.kind in ("value_error", "assertion_error"):
            return self._own_words(name)
        if self.kind in ("literal_error", "enum"):
            return self._choice(name)
        if self.kind in _BOUNDS:
            key, words = _BOUNDS[self.kind]
            bound = f"{words} {self.context[key]:g}"
            return f"{name} must be {bound}, not {show(self.input)}", f"Write a number that is {bound}."
        if self.kind in _LENGTHS:
            return self._length(name)
        if self.kind in _TYPES:
            return self._type(name, _TYPES[self.kind])
        return f"{name}: {self.message}", "Correct it; the schema says what is expected."

    def _own_words(self, name: str) -> tuple[str, str]:
        text = (
            self.message.partition(", ")[2] if self.message.startswith(("Value error", "Assertion")) else self.message
        )
        for separator in (". ", "; "):
            what, found, remedy = text.partition(separator)
            if found:
                return f"{name}: {what}", remedy[:1].upper() + remedy[1:].rstrip("?.") + (
                    "?" if "did you" in remedy.lower() else "."
                )
        return f"{name}: {text}", "Correct it; the schema says what is expected."

    def _choice(self, name: str) -> tuple[str, str]:
        known = [word.strip("'") for word in str(self.context.get("expected", "")).replace(" or ", ", ").split(", ")]
        word = self.input if isinstance(self.input, str) else ""
        return f"{name} cannot be {show(self.input)}", suggestion(word, known, "One of")

    def _length(self, name: str) -> tuple[str, str]:
        key, words, unit = _LENGTHS[self.kind]
        bound = self.context[key]
        need = f"{words} {bound} {unit}{'' if bound == 1 else 's'}"
        if self.input in ("", [], {}):
            return f"{name} is empty", f"Give it {need}, or remove the key."
        return f"{name} must have {need}", "Correct it."

    def _type(self, name: str, wanted: str) -> tuple[str, str]:
        if self.input is None:
            return f"{name} has no value", "Give it one, or remove the key."
        remedy = f"Write {wanted}."
        if wanted == "text" and isinstance(self.input, bool | int | float):
            remedy = f'Put it in quotes: "{show(self.input)}".'
        elif wanted == "a whole number" and isinstance(self.input, str) and self.input.lstrip("-").isdigit():
            remedy = f"Remove the quotes: {self.input}."
        elif wanted == "a list" and isinstance(self.input, str):
            remedy = f"Put it in brackets: [{self.input}]."
        return f"{name} must be {wanted}, not {show(self.input)}", remedy

    def _node_meant(self, message: str) -> Node:
        """A complaint about a whole block that begins with one of its keys is about that key."""
        if self.kind in ("spec", "value_error"):
            for word in message.removeprefix(f"{self._name(self.path)}: ").split()[:1]:
                return self.node.fields.get(word, self.node)
        return self.node

    def _name(self, path: Sequence[str | int]) -> str:
        text = self.label
        for part in path:
            text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
        return text or "model_spec"


def descend(root: Node, loc: Sequence[str | int]) -> tuple[tuple[str | int, ...], Node]:
    """Follow a location into the tree, passing over what is not in it (a union's tags, a missing key)."""
    path: list[str | int] = []
    node = root
    for part in loc:
        if isinstance(part, str) and part in node.fields:
            node = node.fields[part]
        elif isinstance(part, int) and part < len(node.items):
            node = node.items[part]
        else:
            continue
        path.append(part)
    return tuple(path), node


def _model_at(model: Any, path: Sequence[str | int]) -> Any:
    """The model of the block at a path, following annotations; None where there is none."""
    for part, following in pairwise([*path, None]):
        if isinstance(part, int) or model is None:
            continue
        if field := _field(model, str(part)):  # otherwise it is a key of a mapping of blocks
            found = blocks_in(field.annotation)
            found.sort(key=lambda block: block[1] is not isinstance(following, int))  # a list's items, or the block
            model = found[0][0] if found else None
    return model


def _field(model: Any, name: str) -> Any:
    for key, field in model.model_fields.items():
        if name in (key, field.alias):
            return field
    return None


def models_in(annotation: Any) -> list[type[BaseModel]]:
    """The block models that an annotation mentions."""
    return [model for model, _ in blocks_in(annotation)]


def blocks_in(annotation: Any, listed: bool = False) -> list[tuple[type[BaseModel], bool]]:
    """The block models that an annotation mentions, and whether each is an item of a list."""
    origin = get_origin(annotation)
    if origin is not None or isinstance(annotation, UnionType):  # list[int] is a type too in 3.10
        inside = listed or origin is list
        return [block for argument in get_args(annotation) for block in blocks_in(argument, inside)]
    return [(annotation, listed)] if isinstance(annotation, type) and issubclass(annotation, BaseModel) else []


def _keys(model: Any) -> list[str]:
    return [field.alias or name for name, field in model.model_fields.items()] if model else []


def _description(model: Any, name: str) -> str:
    if model is None:
        return ""
    from engine.spec.descriptions import describe

    text = describe(model).get(name, "").replace("\n", " ").strip()
    return f"{text[:1].lower()}{text[1:].rstrip('.')}." if text else ""
