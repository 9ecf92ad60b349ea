"""Bytes → a tree of values that know their place, or diagnostics.

YAML 1.2 core scalars (`on`, `NO`, `22:22` are text), merge keys, at most 256 KiB, depth 32 and 10,000 nodes once
aliases are expanded. Duplicate keys, keys that are not text, foreign tags, non-finite numbers, several documents
and anything but UTF-8 are mistakes. The tree is built from the parser's events, so every limit holds before
memory is spent; libyaml is used where it is installed.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, NoReturn, TypeAlias

import yaml

from engine.errors import Diagnostic

MAX_BYTES = 256 * 1024
MAX_DEPTH = 32
MAX_NODES = 10_000

_TAG = "tag:yaml.org,2002:"
_INT = re.compile(r"[-+]?[0-9]+\Z|0o[0-7]+\Z|0x[0-9a-fA-F]+\Z")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?\Z")
_NON_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)\Z|\.(nan|NaN|NAN)\Z")
_CONSTANTS: dict[str, bool | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_LARGEST_INT = 2**63 - 1
_LONGEST_TEXT = 500


class Place(NamedTuple):
    """Where something stands in a file; line and column count from 1."""

    file: str
    line: int
    column: int

    def diagnostic(self, message: str, remedy: str) -> Diagnostic:
        """A mistake at this place; what it quotes of the file is made fit for one line of a terminal."""
        return Diagnostic(self.file, self.line, self.column, _printable(message), _printable(remedy))


def _printable(text: str) -> str:
    text = text if len(text) <= _LONGEST_TEXT else f"{text[: _LONGEST_TEXT - 1]}…"
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


Scalar: TypeAlias = bool | int | float | str | None


@dataclass(frozen=True)
class Node:
    """A value and its places: of the value itself, and of its key where it is in a mapping."""

    value: Scalar | Mapping[str, Node] | list[Node]
    place: Place
    key: Place | None = None

    @property
    def name_place(self) -> Place:
        """The place of the key, or of the value where there is no key."""
        return self.key or self.place

    @property
    def fields(self) -> Mapping[str, Node]:
        """The entries of a mapping; none for anything else."""
        return self.value if isinstance(self.value, Mapping) else {}

    @property
    def items(self) -> list[Node]:
        """The items of a list; none for anything else."""
        return self.value if isinstance(self.value, list) else []

    def plain(self) -> Any:
        """The value alone, as Python data."""
        if isinstance(self.value, Mapping):
            return {key: node.plain() for key, node in self.value.items()}
        if isinstance(self.value, list):
            return [node.plain() for node in self.value]
        return self.value

    def walk(self, path: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], Node]]:
        """Every node with its path, this one first."""
        yield path, self
        for key, node in self.fields.items():
            yield from node.walk((*path, key))
        for index, node in enumerate(self.items):
            yield from node.walk((*path, index))


@dataclass(frozen=True)
class Parsed:
    """What could be read of a file: its root (None if nothing could), and every mistake found on the way."""

    root: Node | None
    diagnostics: tuple[Diagnostic, ...]


def parse_tree(content: bytes, file: str) -> Parsed:
    """Read one YAML document. Never raises for what is in the file."""
    try:
        text = _decode(content, file)
        reader = _Reader(file)
        raw = reader.read(text)
        if raw is None:
            raise _StopError(Diagnostic(file, 1, 1, "the file is empty", 'Start it with "model_spec:".'))
        return Parsed(reader.build(raw), tuple(reader.diagnostics))
    except _StopError as stop:
        return Parsed(None, (stop.diagnostic,))


def read_scalar(text: str, place: Place) -> tuple[Scalar, Diagnostic | None]:
    """The value of a plain scalar, or what is wrong with it."""
    reader = _Reader(place.file)
    value = reader._plain(text, place)
    return value, next(iter(reader.diagnostics), None)


class _StopError(Exception):
    """A mistake after which the rest of the file cannot be read."""

    def __init__(self, diagnostic: Diagnostic) -> None:
        self.diagnostic = diagnostic


def _decode(content: bytes, file: str) -> str:
    if len(content) > MAX_BYTES:
        message = f"the file has more than {MAX_BYTES // 1024} KiB"
        raise _StopError(Diagnostic(file, 1, 1, message, "A spec describes one model; keep data in files of its own."))
    if content[:2] in (b"\xff\xfe", b"\xfe\xff") or content[:4] == b"\x00\x00\xfe\xff":
        raise _StopError(Diagnostic(file, 1, 1, "the file is UTF-16 or UTF-32, not UTF-8", "Save it as UTF-8."))
    content = content.removeprefix(b"\xef\xbb\xbf")
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        before = content[: error.start].decode("utf-8")
        message = f"byte 0x{content[error.start]:02X} is not UTF-8"
        raise _StopError(_diagnostic_after(before, file, message, "Save the file as UTF-8.")) from None
    if found := _UNPRINTABLE.search(text):
        message = f"character U+{ord(found.group()):04X} is not allowed in YAML"
        remedy = "Remove it; if the file looks fine, save it as UTF-8 text."
        raise _StopError(_diagnostic_after(text[: found.start()], file, message, remedy))
    return text


def _diagnostic_after(before: str, file: str, message: str, remedy: str) -> Diagnostic:
    line = before.count("\n") + 1
    return Diagnostic(file, line, len(before) - (before.rfind("\n") + 1) + 1, message, remedy)


# ── events → raw nodes ───────────────────────────────────────────────────────────────────────────────────────


@dataclass
class _Raw:
    """A node before aliases are expanded. `size` and `height` are those after expansion."""

    place: Place
    anchor: str | None = None
    scalar: yaml.ScalarEvent | None = None
    pairs: list[tuple[_Raw, _Raw]] | None = None
    sequence: list[_Raw] | None = None
    pending: _Raw | None = None
    height: int = 1
    size: int = 1
    tag: str | None = None

    def add(self, child: _Raw) -> None:
        self.height = max(self.height, child.height + 1)
        self.size += child.size
        if self.sequence is not None:
            self.sequence.append(child)
        elif self.pending is None:
            self.pending = child
        elif self.pairs is not None:
            self.pairs.append((self.pending, child))
            self.pending = None


@dataclass
class _Reader:
    file: str
    diagnostics: list[Diagnostic] = field(default_factory=list)

    def read(self, text: str) -> _Raw | None:
        """Walk the events once, building raw nodes without recursion."""
        self._anchors: dict[str, _Raw] = {}
        self._stack: list[_Raw] = []
        self._root: _Raw | None = None
        self._count = 0
        documents = 0
        try:
            for event in yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
                if isinstance(event, yaml.DocumentStartEvent):
                    documents += 1
                    self._start_document(event, documents)
                else:
                    self._take(event)
        except yaml.MarkedYAMLError as error:
            raise _StopError(_syntax_error(error, text, self.file)) from None
        except yaml.YAMLError as error:
            raise _StopError(Diagnostic(self.file, 1, 1, f"not YAML: {error}", "Correct the file.")) from None
        return self._root

    def _start_document(self, event: yaml.DocumentStartEvent, documents: int) -> None:
        if documents > 1:
            self._stop(event, "a second document starts here", "One file holds one model_spec: split the file.")
        if event.version and tuple(event.version) != (1, 2):
            self._stop(event, "specs are YAML 1.2", "Remove the %YAML line.")

    def _take(self, event: yaml.Event) -> None:
        if isinstance(event, yaml.ScalarEvent):
            self._enter(_Raw(self._place(event), event.anchor, scalar=event, tag=event.tag))
        elif isinstance(event, yaml.MappingStartEvent):
            self._open(_Raw(self._place(event), event.anchor, pairs=[], tag=event.tag))
        elif isinstance(event, yaml.SequenceStartEvent):
            self._open(_Raw(self._place(event), event.anchor, sequence=[], tag=event.tag))
        elif isinstance(event, yaml.AliasEvent):
            self._alias(event)
        elif isinstance(event, yaml.CollectionEndEvent):
            self._close(self._stack.pop())

    def _enter(self, raw: _Raw) -> None:
        self._grow(raw, 1)
        self._close(raw)

    def _open(self, raw: _Raw) -> None:
        self._grow(raw, 1)
        if len(self._stack) + 1 > MAX_DEPTH:
            self._too_deep(raw.place)
        self._stack.append(raw)

    def _close(self, raw: _Raw) -> None:
        if raw.anchor:
            self._anchors[raw.anchor] = raw
        self._attach(raw)

    def _attach(self, raw: _Raw) -> None:
        if self._stack:
            self._stack[-1].add(raw)
        else:
            self._root = raw

    def _alias(self, event: yaml.AliasEvent) -> None:
        name = str(event.anchor)
        target = self._anchors.get(name)
        if any(open_.anchor == name for open_ in self._stack):
            self._stop(event, f"*{name} refers to the value that contains it", "Write the value out instead.")
        if target is None:
            self._stop(event, f"*{name} refers to an anchor that is not defined", f"Define &{name} before it.")
        self._grow(replace(target, place=self._place(event)), target.size)
        if len(self._stack) + target.height > MAX_DEPTH:
            self._too_deep(self._place(event))
        self._attach(target)

    def _grow(self, raw: _Raw, size: int) -> None:
        self._count += size
        if self._count > MAX_NODES:
            message = f"more than {MAX_NODES:,} values once aliases are expanded"
            raise _StopError(raw.place.diagnostic(message, "Make the spec smaller; keep data in files of its own."))

    def _too_deep(self, place: Place) -> None:
        raise _StopError(place.diagnostic(f"nested more than {MAX_DEPTH} levels deep", "Make the spec flatter."))

    def _place(self, event: yaml.Event) -> Place:
        mark = event.start_mark
        assert mark is not None, "both parsers mark every event"
        return Place(self.file, mark.line + 1, mark.column + 1)

    def _stop(self, event: yaml.Event, message: str, remedy: str) -> NoReturn:
        raise _StopError(self._place(event).diagnostic(message, remedy))

    # ── raw nodes → nodes ────────────────────────────────────────────────────────────────────────────────────

    def build(self, raw: _Raw, key: Place | None = None) -> Node:
        """Expand aliases and merge keys, and give scalars their values; mistakes are collected."""
        if raw.scalar is not None:
            return Node(self._scalar(raw, raw.scalar), raw.place, key)
        self._check_tag(raw, "map" if raw.pairs is not None else "seq")
        if raw.sequence is not None:
            return Node([self.build(item) for item in raw.sequence], raw.place, key)
        return Node(self._mapping(raw), raw.place, key)

    def _mapping(self, raw: _Raw) -> dict[str, Node]:
        own: dict[str, Node] = {}
        merged: dict[str, Node] = {}
        for key, value in raw.pairs or []:
            if _is_merge(key):
                for name, node in self._merge(value).items():
                    merged.setdefault(name, node)
                continue
            text = self._key(key)
            if text is None:
                continue
            if text in own:
                first = own[text].name_place.line
                message = f'the key "{text}" is there twice; it stands in line {first} already'
                self._say(key.place, message, "Remove one of them.")
            own[text] = self.build(value, key.place)
        return {**own, **{name: node for name, node in merged.items() if name not in own}}

    def _merge(self, raw: _Raw) -> dict[str, Node]:
        if raw.pairs is not None:
            return self._mapping(raw)
        if raw.sequence is not None and all(item.pairs is not None for item in raw.sequence):
            merged: dict[str, Node] = {}
            for item in raw.sequence:
                for name, node in self._mapping(item).items():
                    merged.setdefault(name, node)
            return merged
        self._say(raw.place, "<< merges mappings only", "Give it an alias of a mapping, or a list of them.")
        return {}

    def _key(self, raw: _Raw) -> str | None:
        if raw.scalar is None:
            self._say(raw.place, "a key must be text, not a list or mapping", "Write a plain word before the colon.")
            return None
        value = self._scalar(raw, raw.scalar)
        if isinstance(value, str):
            return value
        self._say(raw.place, f"the key {raw.scalar.value or 'null'} is not text", f'Quote it: "{raw.scalar.value}".')
        return None

    def _scalar(self, raw: _Raw, event: yaml.ScalarEvent) -> Scalar:
        text = event.value
        if event.implicit[0] and event.tag is None:
            return self._plain(text, raw.place)
        if event.tag not in (None, "!"):
            return self._tagged(raw, text)
        return self._text(text, raw.place)

    def _tagged(self, raw: _Raw, text: str) -> Scalar:
        kind = (raw.tag or "").removeprefix(_TAG)
        types: dict[str, type | tuple[type, ...]] = {
            "int": int, "float": (int, float), "bool": bool, "null": type(None), "str": str,
        }  # fmt: skip
        if kind not in types or not (raw.tag or "").startswith(_TAG):
            self._check_tag(raw, "str")
            return self._text(text, raw.place)
        if kind == "str":
            return self._text(text, raw.place)
        value = self._plain(text, raw.place)
        if not isinstance(value, types[kind]) or (isinstance(value, bool) and kind != "bool"):
            self._say(raw.place, f'"{text}" is not of the type !!{kind}', f"Remove the tag !!{kind}.")
        return float(value) if kind == "float" and isinstance(value, int) else value

    def _plain(self, text: str, place: Place) -> Scalar:
        if text in _CONSTANTS:
            return _CONSTANTS[text]
        if _INT.match(text):
            return self._int(text, place)
        if _NON_FINITE.match(text):
            self._say(place, f"{text} is not a finite number", "Write a number, or remove the key.")
            return None
        if _FLOAT.match(text):
            value = float(text)
            if math.isfinite(value):
                return value
            self._say(place, f"{text[:40]} is too large a number", "Write a smaller number.")
            return None
        return self._text(text, place)

    def _int(self, text: str, place: Place) -> int | None:
        base = {"0o": 8, "0x": 16}.get(text[:2], 10)
        digits = text if base == 10 else text[2:]
        value = int(digits, base) if len(digits) <= 20 else _LARGEST_INT + 1
        if abs(value) <= _LARGEST_INT:
            return value
        self._say(place, f"{text[:40]} is too large a number", "Write a smaller number, or quote it as text.")
        return None

    def _text(self, text: str, place: Place) -> str:
        if "\x00" in text or any("\ud800" <= character <= "\udfff" for character in text):
            self._say(place, "the text contains a NUL or half a character", "Remove the escape that makes it.")
            return ""
        return text

    def _check_tag(self, raw: _Raw, allowed: str) -> None:
        if raw.tag not in (None, "!", _TAG + allowed):
            tag = str(raw.tag).replace(_TAG, "!!")
            self._say(raw.place, f"the tag {tag} is not allowed", "Remove it; specs use plain values only.")

    def _say(self, place: Place, message: str, remedy: str) -> None:
        self.diagnostics.append(place.diagnostic(message, remedy))


def _is_merge(key: _Raw) -> bool:
    return key.scalar is not None and key.scalar.value == "<<" and bool(key.scalar.implicit[0])


def _follows_reference(lines: list[str], column: int) -> bool:
    return any(re.search(r"\$\{?[^\"']*\Z", line[:column]) for line in lines)


_QUOTE_REFERENCE = 'Within [ ] and { } put it in quotes: "${env:NAME}".'


def _at_tab(line: str, column: int) -> bool:
    return line[column : column + 1] == "\t" and not line[:column].strip()


_SYNTAX_REMEDIES = (
    ("a tab", "Indent with spaces, not tabs."),
    ("mapping values are not allowed", 'Put text that contains ": " in quotes, or correct the indentation.'),
    ("could not find expected ':'", 'Write "key: value", with a colon after the key.'),
    ("did not find expected key", "Correct the indentation, or close the quote or bracket before it."),
    ("did not find expected ',' or", "Close the bracket, or put a comma between its items."),
    ("expected ',' or", "Close the bracket, or put a comma between its items."),
    ("did not find expected '-' indicator", "Begin each item of the list with a dash, all in one column."),
    ("unexpected end of stream", "Close the quote or bracket that is still open."),
    ("cannot start any token", "Put the text in quotes."),
    ("undefined tag handle", "Remove the tag; specs use plain values only."),
    ("escape", "Correct the escape, or use single quotes, in which a backslash is just a backslash."),
)


def _syntax_error(error: yaml.MarkedYAMLError, text: str, file: str) -> Diagnostic:
    mark = error.problem_mark or error.context_mark
    problem = error.problem or error.context or "not YAML"
    if mark and text.splitlines()[mark.line : mark.line + 1] and _at_tab(text.splitlines()[mark.line], mark.column):
        problem = "a tab where only spaces may stand"
    if mark and _follows_reference(text.splitlines()[mark.line : mark.line + 1], mark.column):
        return Diagnostic(file, mark.line + 1, mark.column + 1, "not YAML: ${…} inside brackets", _QUOTE_REFERENCE)
    remedy = next((text for sign, text in _SYNTAX_REMEDIES if sign in problem), "Correct the YAML here.")
    line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
    context = f" {error.context}" if error.context else ""
    return Diagnostic(file, line, column, f"not YAML: {problem}{context}", remedy)
