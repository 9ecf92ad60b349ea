"""What flows through a compiled pipeline: cells as they came, then numbers.

At compile time a fitted transformer turns one block into the next. `Cells` are columns of JSON values; `Numbers` are
float64 columns in parts, each either *slots* (read from the values one by one) or *computed* (by NumPy, from other
numbers or texts). A `Layout` then gives every slot that is still needed a row of one array, which is filled once for
each request.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Floats: TypeAlias = "NDArray[np.float64]"


class NotCompilableError(Exception):
    """A fitted object that there is no compiled form of; the message says which and why."""


class HandOverError(Exception):
    """Rows that compiled code does not answer, because scikit-learn might refuse them: the plain way decides."""


@dataclass(frozen=True)
class Rows:
    """One request: the columns, how many rows, and the slots' numbers, (slots, n)."""

    columns: Mapping[str, Sequence[object]]
    n: int
    slots: Floats


_TRUTHS: Mapping[Any, float] = {True: 1.0, False: 0.0, None: math.nan}

Compute: TypeAlias = Callable[[Rows], Floats]
Operation: TypeAlias = Callable[[Floats], Floats]


@dataclass(frozen=True)
class Cell:
    """A column of JSON values of a kind; `fill` takes the place of missing ones, unless it is None."""

    name: str
    kind: str
    fill: object = None


@dataclass(frozen=True)
class Cells:
    """Columns as they came. `flat` when a transformer sees its one column without the second dimension."""

    cells: tuple[Cell, ...]
    flat: bool = False


@dataclass(frozen=True, eq=False)
class Slot:
    """A number for each value of a column: the value itself, or what `table` says; `default` is for all others.

    Without a default a value that is not in the table is handed over. A missing value is None.
    """

    name: str
    read: Callable[[Any], float] | None = None
    table: Mapping[Any, float] | None = None
    default: float | None = None

    def values(self, column: Sequence[object]) -> Sequence[Any]:
        """Numbers, or None for NaN. Raises KeyError, TypeError or ValueError for what cannot be read."""
        if self.table is not None:
            if self.default is None:
                table = self.table
                return [table[value] for value in column]
            get, default = self.table.get, self.default
            return [get(value, default) for value in column]
        if self.read is not None:
            read = self.read
            return [read(value) for value in column]
        return column


class Layout:
    """Places of slots in the array of numbers, given as they are asked for."""

    def __init__(self) -> None:
        self.slots: list[Slot] = []
        self._places: dict[int, int] = {}

    def places(self, slots: Sequence[Slot]) -> slice | list[int]:
        """Where these slots are; a slice where they are neighbours."""
        found = []
        for slot in slots:
            if id(slot) not in self._places:
                self._places[id(slot)] = len(self.slots)
                self.slots.append(slot)
            found.append(self._places[id(slot)])
        if found == list(range(found[0], found[0] + len(found))):
            return slice(found[0], found[0] + len(found))
        return found


@dataclass(frozen=True)
class Slots:
    """Columns that are slots."""

    slots: tuple[Slot, ...]

    @property
    def width(self) -> int:
        """How many columns."""
        return len(self.slots)

    def built(self, layout: Layout) -> Compute:
        """The code that gives them, (n, width)."""
        places = layout.places(self.slots)
        return lambda rows: rows.slots[places].T


@dataclass(frozen=True)
class Computed:
    """Columns that come from others; `build` gives the code when all places are known."""

    width: int
    build: Callable[[Layout], Compute] = field(repr=False)

    def built(self, layout: Layout) -> Compute:
        """The code that gives them, (n, width)."""
        return self.build(layout)


@dataclass(frozen=True)
class Numbers:
    """Columns of float64 numbers."""

    parts: tuple[Slots | Computed, ...]

    @property
    def width(self) -> int:
        """How many columns."""
        return sum(part.width for part in self.parts)

    @property
    def slots(self) -> tuple[Slot, ...] | None:
        """All columns as slots, or None when some are computed."""
        if all(isinstance(part, Slots) for part in self.parts):
            return tuple(slot for part in self.parts if isinstance(part, Slots) for slot in part.slots)
        return None

    def built(self, layout: Layout) -> Compute:
        """The code that gives all columns, (n, width)."""
        codes = [part.built(layout) for part in joined(self.parts) if part.width]
        if len(codes) == 1:
            return codes[0]
        if not codes:
            raise NotCompilableError("no feature is left after preprocessing")
        import numpy as np

        concatenate = np.concatenate
        return lambda rows: concatenate([code(rows) for code in codes], axis=1)

    def then(self, operation: Operation, width: int) -> Numbers:
        """What an operation on all columns at once makes of them."""

        def build(layout: Layout) -> Compute:
            before = self.built(layout)
            return lambda rows: operation(before(rows))

        return Numbers((Computed(width, build),))

    def select(self, indices: Sequence[int]) -> Numbers:
        """Some columns, in the order of `indices`."""
        owners = [(part, offset) for part in self.parts for offset in range(part.width)]
        parts: list[Slots | Computed] = []
        position = 0
        wanted = [owners[index] for index in indices]
        while position < len(wanted):
            part = wanted[position][0]
            end = position
            while end < len(wanted) and wanted[end][0] is part:
                end += 1
            parts.append(_columns(part, [offset for _, offset in wanted[position:end]]))
            position = end
        return Numbers(tuple(parts))


Block: TypeAlias = Cells | Numbers


def stacked(blocks: Sequence[Block]) -> Numbers:
    """Blocks beside each other."""
    return Numbers(tuple(part for block in blocks for part in numbers_of(block).parts))


def numbers_of(block: Block) -> Numbers:
    """A block as numbers: numeric and boolean cells are numbers already. Raises NotCompilableError for others."""
    if isinstance(block, Numbers):
        return block
    return Numbers((Slots(tuple(_slot(cell) for cell in block.cells)),))


def _slot(cell: Cell) -> Slot:
    if cell.kind not in ("numeric", "boolean") or cell.fill is not None:
        raise NotCompilableError(f"{cell.name} is {cell.kind} and reaches a step that takes numbers")
    return Slot(cell.name, table=_TRUTHS if cell.kind == "boolean" else None)


def joined(parts: Sequence[Slots | Computed]) -> list[Slots | Computed]:
    """Parts with neighbouring slots made one."""
    found: list[Slots | Computed] = []
    for part in parts:
        last = found[-1] if found else None
        if isinstance(part, Slots) and isinstance(last, Slots):
            found[-1] = Slots(last.slots + part.slots)
        else:
            found.append(part)
    return found


def _columns(part: Slots | Computed, offsets: list[int]) -> Slots | Computed:
    if offsets == list(range(part.width)):
        return part
    if isinstance(part, Slots):
        return Slots(tuple(part.slots[offset] for offset in offsets))

    def build(layout: Layout) -> Compute:
        before = part.built(layout)
        return lambda rows: before(rows)[:, offsets]

    return Computed(len(offsets), build)
