"""A report of sections: lines and tables for `grep` and `awk` in a pipe, laid out and coloured by rich on a terminal.

On a terminal a table fits the width: the last column wraps, and columns that can be spared go where there is no room.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TextIO

import click

from engine.cli.tables import render_table

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table as Drawn

STATES: Mapping[str, str] = {
    "drift": "bold red",
    "fail": "bold red",
    "error": "bold red",
    "breached": "bold red",
    "due": "bold cyan",
    "held": "yellow",
    "inconclusive": "yellow",
    "unknown": "yellow",
    "pass": "green",
    "no drift": "green",
    "not due": "green",
}
_GAP = 2  # characters between columns


@dataclass(frozen=True)
class Table:
    """`states`: headings of columns that hold verdicts, which have the colour of their first words.

    `spare`: headings of columns that may be left out, the first one first. `drawn`: of columns that only a terminal
    shows. Each row has a cell for each heading.
    """

    headings: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    states: tuple[str, ...] = ()
    spare: tuple[str, ...] = ()
    drawn: tuple[str, ...] = ()

    def plain(self) -> str:
        """A line for each row, whatever its length."""
        shown = self._only([place for place, heading in enumerate(self.headings) if heading not in self.drawn])
        return render_table(shown.headings, shown.rows)

    def fitted(self, width: int) -> Table:
        """What is drawn in so many characters: without columns that say nothing, and without what must be spared."""
        fitting = self._only([place for place in range(len(self.headings)) if any(row[place] for row in self.rows)])
        for heading in self.spare:
            if fitting.least() <= width or heading not in fitting.headings:
                continue
            gone = fitting.headings.index(heading)
            fitting = fitting._only([place for place in range(len(fitting.headings)) if place != gone])
        return fitting

    def least(self) -> int:
        """Characters that it takes if the last column wraps at its longest word."""
        columns = list(zip(self.headings, *self.rows, strict=True))
        words = [len(word) for cell in columns[-1] for word in cell.split()]
        return sum(max(map(len, column)) + _GAP for column in columns[:-1]) + max(words, default=0)

    def _only(self, places: Sequence[int]) -> Table:
        rows = [tuple(row[place] for place in places) for row in self.rows]
        return replace(self, headings=tuple(self.headings[place] for place in places), rows=rows)


@dataclass(frozen=True)
class Section:
    """A title in one word or two, what is said beside it, a table, and lines below; any may be missing."""

    title: str = ""
    says: str = ""
    state: str = ""  # what colours `says`
    table: Table | None = None
    below: tuple[str, ...] = ()


def show(sections: Sequence[Section], stream: TextIO) -> None:
    """Print them: drawn on a terminal, plain in a pipe."""
    if stream.isatty():
        draw(sections, stream)
    else:
        click.echo(plain(sections), file=stream)


def plain(sections: Sequence[Section]) -> str:
    """As text, a line for each row."""
    return "\n\n".join("\n".join(_plain_lines(section)) for section in sections)


def draw(sections: Sequence[Section], stream: TextIO, width: int | None = None) -> None:
    """As a terminal shows them. `width`: characters, that of the terminal if left out."""
    from rich.console import Console

    context = click.get_current_context(silent=True)
    without = context is not None and context.color is False
    console = Console(file=stream, no_color=without or None, highlight=False, width=width)
    for number, section in enumerate(sections):
        if number:
            console.print()
        for part in _drawn_parts(section, console.width):
            console.print(part)


def _plain_lines(section: Section) -> Iterator[str]:
    if section.title or section.says:
        yield f"{section.title}{': ' * bool(section.title and section.says)}{section.says}"
    if section.table is not None and section.table.rows:
        yield section.table.plain()
    yield from section.below


def _drawn_parts(section: Section, width: int) -> Iterator[RenderableType]:
    from rich.padding import Padding
    from rich.text import Text

    if section.title or section.says:
        said = Text(section.says, style=_style(section.state))
        yield Text.assemble((section.title, "bold"), "  " * bool(section.title and section.says), said)
    inside = width - _GAP
    if section.table is not None and section.table.rows:
        yield Padding(_drawn_table(section.table.fitted(inside)), (0, 0, 0, _GAP))
    for line in section.below:
        yield Padding(Text(line, style="dim"), (0, 0, 0, _GAP))


def _drawn_table(table: Table) -> Drawn:
    from rich.table import Table as Drawn
    from rich.text import Text

    drawn = Drawn(box=None, padding=(0, _GAP, 0, 0), pad_edge=False, header_style="dim")
    for place, heading in enumerate(table.headings):
        last = place == len(table.headings) - 1
        drawn.add_column(
            heading.upper(), no_wrap=not last and place > 0, overflow="fold" if last or not place else "ellipsis"
        )
    for row in table.rows:
        cells = zip(table.headings, row, strict=True)
        drawn.add_row(*(Text(cell, style=_style(cell) if heading in table.states else "") for heading, cell in cells))
    return drawn


def _style(words: str) -> str:
    """That of the state which they begin with."""
    return next((style for state, style in STATES.items() if f"{words} ".startswith(f"{state} ")), "")
