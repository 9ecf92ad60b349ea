"""The canonical layout of a spec file: two spaces a level, one final newline, no trailing blanks, comments kept.

Only whitespace changes. The result is returned only if it reads as the same tree with the same comments;
otherwise, and for a file that does not parse, the text comes back as it was.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import yaml

from engine.spec.yaml_tree import Node, parse_tree

_DASHES = re.compile(r"((?:- +)*)")
_GAP = re.compile(r"((?:- )*[A-Za-z0-9_.-]+:)[ ]{2,}(?=[^ #])")
_INDENT = 2


def format_text(text: str) -> str:
    """The text in canonical layout; unchanged where that could alter its meaning."""
    before = parse_tree(text.encode("utf-8", "surrogatepass"), "")
    if before.root is None or before.diagnostics:
        return text
    result = _laid_out(text.removeprefix("\ufeff").replace("\r\n", "\n"))
    after = parse_tree(result.encode("utf-8"), "")
    same = after.root is not None and not after.diagnostics and _shape(after.root) == _shape(before.root)
    return result if same and _comments(result) == _comments(text) else text


def _laid_out(text: str) -> str:
    lines = text.split("\n")
    continued = _continued_lines(text)
    layout = _Layout()
    out: list[str] = []
    pending: list[str] = []  # comments and blank lines, which go with the line after them
    for number, line in enumerate(lines):
        if number in continued:
            out.append(layout.continued(line))
        elif not line.strip() or line.lstrip().startswith("#"):
            pending.append(line.strip())
        else:
            placed = layout.place(line)
            out += _with_indent(pending, placed, out)
            pending = []
            out.append(placed)
    out += _with_indent(pending, "", out)
    return "\n".join(out).strip("\n") + "\n"


def _with_indent(pending: list[str], line: str, out: list[str]) -> list[str]:
    indent = line[: len(line) - len(line.lstrip())]
    placed: list[str] = []
    for text in pending:
        before = placed or out
        if text or (before and before[-1]):
            placed.append(f"{indent}{text}" if text else "")
    return placed


@dataclass
class _Layout:
    """Columns of the open blocks in the text as it was, and where they go."""

    levels: list[tuple[int, int, bool]] = field(default_factory=list)  # column, new column, is a list
    shift: int = 0

    def place(self, line: str) -> str:
        """A line that begins a key or an item, at its new column."""
        content = line.strip()
        column = len(line) - len(line.lstrip())
        dashes = [match.start() for match in re.finditer(r"-(?= |$)", _leading_dashes(content))]
        target = self._level(column, is_list=bool(dashes))
        self.shift = target - column
        inner = content
        for depth in range(len(dashes)):
            rest = inner[1:]
            inner = rest.lstrip()
            column += 1 + len(rest) - len(inner)
            if inner:
                self._level(column, is_list=depth + 1 < len(dashes), forced=target + _INDENT * (depth + 1))
        text = "- " * len(dashes) + inner if inner else ("- " * len(dashes)).rstrip()
        return " " * target + _GAP.sub(r"\1 ", text, count=1)

    def continued(self, line: str) -> str:
        """A further line of a value: moved along with the first, its inside as it was."""
        if not line.strip():
            return ""
        column = len(line) - len(line.lstrip(" "))
        return " " * max(0, column + self.shift) + line.lstrip(" ")

    def _level(self, column: int, *, is_list: bool, forced: int | None = None) -> int:
        while self.levels and self.levels[-1][0] > column:
            self.levels.pop()
        while self.levels and self.levels[-1][0] == column and self.levels[-1][2] and not is_list:
            self.levels.pop()  # the list under a key ends where the next key begins
        same = self.levels and self.levels[-1][0] == column and self.levels[-1][2] == is_list
        if same:
            return self.levels[-1][1]
        above = self.levels[-1][1] + _INDENT if self.levels else 0
        target = above if forced is None else forced
        self.levels.append((column, target, is_list))
        return target


def _leading_dashes(content: str) -> str:
    if content == "-":
        return content
    match = _DASHES.match(content)
    found = match[1] if match else ""
    return content if set(content) <= {"-", " "} and content.endswith("-") else found


def _continued_lines(text: str) -> set[int]:
    """The lines inside values of several lines: block and quoted text, flow collections."""
    found: set[int] = set()
    opened: list[int] = []
    for event in yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
        start, end = event.start_mark, event.end_mark
        if start is None or end is None:
            continue
        if isinstance(event, yaml.CollectionStartEvent):
            opened.append(start.line if event.flow_style else -1)
        elif isinstance(event, yaml.CollectionEndEvent):
            first = opened.pop()
            found.update(range(first + 1, end.line + 1) if first >= 0 else ())
        elif isinstance(event, yaml.ScalarEvent):
            found.update(range(start.line + 1, end.line + (1 if end.column else 0)))
    return found


def _shape(node: Node) -> object:
    if isinstance(node.value, list):
        return [_shape(item) for item in node.value]
    if isinstance(node.value, dict):
        return [(key, _shape(child)) for key, child in node.value.items()]
    return type(node.value).__name__, node.value


def _comments(text: str) -> list[str]:
    """What stands after each ` #`, in order; text that only looks like a comment is compared as well."""
    return [match.rstrip() for match in re.findall(r"(?:^|(?<=[ \t]))#.*", text, flags=re.MULTILINE)]
