"""Columns of text with a heading, for commands that list things: plain in a pipe, coloured on a terminal. Pure.

No borders and no wrapping, so that `grep` and `awk` work on what is printed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import click

COLORS: Mapping[str, str] = {
    "done": "green",
    "ok": "green",
    "pass": "green",
    "stable": "green",
    "stopped": "yellow",
    "note": "yellow",
    "candidate": "cyan",
    "inconclusive": "yellow",
    "running": "cyan",
    "firing": "red",
    "resolved": "green",
    "failed": "red",
    "fail": "red",
    "error": "red",
    "problem": "red",
    "interrupted": "red",
    "cancelled": "red",
}


def render_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A heading line and a line for each row; words such as `failed` that fill a cell have their colour."""
    grid = [[heading.upper() for heading in headings], *rows]
    widths = [max(map(len, column)) for column in zip(*grid, strict=True)]
    lines = []
    for number, row in enumerate(grid):
        cells = [f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)]
        cells[-1] = cells[-1].rstrip()
        styled = [_styled(cell, number == 0) for cell in cells]
        lines.append("  ".join(styled).rstrip())
    return "\n".join(lines)


def render_fields(title: str, rows: Sequence[tuple[str, str]]) -> str:
    """A bold title and indented `name  value` lines."""
    width = max((len(name) for name, _ in rows), default=0)
    return "\n".join([click.style(title, bold=True), *(f"  {name:<{width}}  {text}".rstrip() for name, text in rows)])


def _styled(cell: str, heading: bool) -> str:
    if heading:
        return click.style(cell, dim=True) if cell else cell
    color = COLORS.get(cell.strip())
    return click.style(cell, fg=color) if color else cell
