"""References in a spec: `${env:NAME}` and `${file:PATH}` are resolved later, `${var:NAME}` at load.

The first two are secrets or belong to a machine: they stay as they are written until the step that needs them
runs, and are allowed in few places. Everything else in `${…}` is a mistake, since nothing would replace it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from difflib import get_close_matches
from typing import Any

from engine.errors import Diagnostic, UsageError
from engine.spec.yaml_tree import Node, read_scalar

_REFERENCE = re.compile(r"\$\{([^{}]*)\}")
_LATER = re.compile(r"\$\{(env:[A-Za-z_][A-Za-z0-9_]*|file:[^{}]+)\}")
_VARIABLE = re.compile(r"\$\{var:([A-Za-z_][A-Za-z0-9_]*)\}")

# Where a reference may stand in a model_spec; ... stands for anything, and further levels below are included.
_ALLOWED: tuple[tuple[Any, ...], ...] = (
    ("data", "source"),
    ("steps", ..., "environment"),
    ("training", "environment"),
    ("monitoring", "alerts"),
    *(("deployment", "analysis", ..., ..., key) for key in ("prometheus", "webhook", "token")),
)
# Here the block itself says what may be replaced.
_OTHERWISE: tuple[tuple[Any, ...], ...] = (
    ("steps", ..., "run"),
    ("training", "run"),
    ("training", "predict"),
    ("deployment", "analysis", ..., ..., "query"),
    ("monitoring", "alerts", ..., "title"),
    ("monitoring", "alerts", ..., "template"),
)


def list_references(value: Any) -> tuple[str, ...]:
    """Every `${env:…}` and `${file:…}` in a JSON value, sorted, once each."""
    return tuple(sorted(set(_references_in(value))))


def is_reference(text: str) -> bool:
    """Whether `text` is one `${env:…}` or `${file:…}` and nothing else."""
    return _LATER.fullmatch(text) is not None


def resolve_reference(text: str, environ: Mapping[str, str], read: Callable[[str], str]) -> str:
    """`text` with its references replaced; raises UsageError for one that cannot be resolved.

    `read` returns the text of the file at a path, or raises OSError.
    """

    def value(match: re.Match[str]) -> str:
        kind, _, name = match[1].partition(":")
        if kind == "env":
            if name not in environ:
                raise UsageError(f"the environment variable {name} is not set", remedy=f"Set {name}, then try again.")
            return environ[name]
        try:
            return read(name).rstrip("\r\n")
        except (OSError, UnicodeDecodeError):
            raise UsageError(
                f"the file {name} of {match[0]} cannot be read", remedy="Make it a readable text file."
            ) from None

    return _LATER.sub(value, text)


def replace_variables(root: Node, variables: Mapping[str, str], used: set[str]) -> tuple[Node, list[Diagnostic]]:
    """The tree with every `${var:NAME}` replaced. `used` collects the names that were met.

    A scalar that is nothing but a variable gets the variable's value read as YAML; inside text it is text.
    """
    diagnostics: list[Diagnostic] = []

    def visit(node: Node) -> Node:
        if isinstance(node.value, Mapping):
            return replace(node, value={key: visit(child) for key, child in node.value.items()})
        if isinstance(node.value, list):
            return replace(node, value=[visit(child) for child in node.value])
        if isinstance(node.value, str) and "${var:" in node.value:
            return replace(node, value=_with_variables(node, node.value, variables, used, diagnostics))
        return node

    return visit(root), diagnostics


def check_references(root: Node) -> list[Diagnostic]:
    """References where none may stand, and references to nothing. `root` is the model_spec's value."""
    diagnostics = []
    for path, node in root.walk():
        diagnostics += [_in_key(node)] if path and isinstance(path[-1], str) and "${" in path[-1] else []
        if isinstance(node.value, str) and "${" in node.value and not _below(path, _OTHERWISE):
            diagnostics += _misplaced(path, node, node.value)
    return diagnostics


def check_unused_variables(variables: Mapping[str, str], used: set[str] | frozenset[str]) -> None:
    """Raise UsageError for variables that were given and that nothing refers to."""
    for name in sorted(set(variables) - set(used)):
        near = get_close_matches(name, sorted(used), n=1)
        remedy = f'Did you mean "{near[0]}"?' if near else f"Remove --var {name}, or write ${{var:{name}}} in the spec."
        raise UsageError(f"no spec uses the variable {name}", remedy=remedy)


def malformed_references(text: str) -> list[str]:
    """What of `text` looks like a reference and is none."""
    left = _LATER.sub("", text)
    return [f"${{{found}}}" for found in _REFERENCE.findall(left)] or (["${"] if "${" in left else [])


def _references_in(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield from (match[0] for match in _LATER.finditer(value))
    elif isinstance(value, Mapping):
        for child in value.values():
            yield from _references_in(child)
    elif isinstance(value, list | tuple):
        for child in value:
            yield from _references_in(child)


def _with_variables(
    node: Node, text: str, variables: Mapping[str, str], used: set[str], diagnostics: list[Diagnostic]
) -> Any:
    for name in _VARIABLE.findall(text):
        used.add(name)
        if name not in variables:
            near = get_close_matches(name, sorted(variables), n=1)
            remedy = f"Give it with --var {name}=VALUE." + (f' Did you mean "{near[0]}"?' if near else "")
            diagnostics.append(node.place.diagnostic(f'the variable "{name}" has no value', remedy))
    whole = _VARIABLE.fullmatch(text)
    if whole and whole[1] in variables:
        value, mistake = read_scalar(variables[whole[1]], node.place)
        diagnostics += [mistake] if mistake else []
        return value
    return _VARIABLE.sub(lambda match: variables.get(match[1], ""), text)


def _misplaced(path: tuple[str | int, ...], node: Node, text: str) -> list[Diagnostic]:
    if bad := malformed_references(text):
        remedy = "Only ${env:NAME}, ${file:PATH} and ${var:NAME} are replaced; there is no template language."
        return [node.place.diagnostic(f"{bad[0]} refers to nothing", remedy)]
    if _below(path, _ALLOWED):
        return []
    where = "data.source, environment, monitoring.alerts and guardrails of your own"
    return [
        node.place.diagnostic(
            f"{list_references(text)[0]} cannot be used here",
            f"Write the value out, or use ${{var:NAME}}; secrets may stand in {where}.",
        )
    ]


def _in_key(node: Node) -> Diagnostic:
    return node.name_place.diagnostic("a key cannot have a reference in it", "Write the key out.")


def _below(path: tuple[str | int, ...], patterns: tuple[tuple[Any, ...], ...]) -> bool:
    return any(
        len(path) >= len(pattern) and all(want in (..., have) for want, have in zip(pattern, path, strict=False))
        for pattern in patterns
    )
