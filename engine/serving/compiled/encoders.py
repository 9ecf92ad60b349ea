"""Fitted encoders of categories as tables: the encoder itself is asked, once, for the code of everything it knows.

So groups of rare categories, dropped columns and values that were never seen come out as scikit-learn has them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from engine.serving.compiled.blocks import (
    Block,
    Cell,
    Cells,
    Compute,
    Computed,
    Floats,
    Layout,
    NotCompilableError,
    Numbers,
    Slot,
    Slots,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

_UNSEEN = "\x00 a value that was never seen"


class _Table:
    """The code of each value of one column; `unseen` and `missing` are None where the encoder refuses them."""

    def __init__(self, codes: dict[Any, float], unseen: float | None, missing: float | None) -> None:
        self.codes = codes
        self.unseen = unseen
        self.missing = missing

    def of(self, value: object) -> float | None:
        """The code of one value; NaN is missing."""
        if value is None or value != value:
            return self.missing
        return self.codes.get(value, self.unseen)

    def slot(self, cell: Cell) -> Slot:
        """The codes of a column's values as they come."""
        codes = dict(self.codes)
        missing = self.missing if cell.fill is None else self.of(cell.fill)
        if missing is not None:
            codes[None] = missing
            return Slot(cell.name, table=codes, default=self.unseen)
        if self.unseen is None:
            return Slot(cell.name, table=codes)
        raise NotCompilableError(f"{cell.name}: its encoder refuses missing values only")

    def folded(self, slot: Slot) -> Slot:
        """The codes of what another table gives."""
        if slot.table is None or slot.default is None:
            raise NotCompilableError(f"{slot.name} is encoded twice")
        codes = {value: self.of(code) for value, code in slot.table.items()}
        default = self.of(slot.default)
        if default is None or None in codes.values():
            raise NotCompilableError(f"{slot.name}: its encoder refuses some values")
        return Slot(
            slot.name, table={value: code for value, code in codes.items() if code is not None}, default=default
        )


def ordinal(encoder: Any, block: Block) -> Numbers:
    """The codes of a fitted OrdinalEncoder."""
    tables = _tables(encoder, lambda row, column: float(row[column]))
    return _coded(block, tables)


def one_hot(encoder: Any, block: Block) -> Numbers:
    """The columns of zeros and ones of a fitted OneHotEncoder."""
    import numpy as np

    widths = [int(width) for width in encoder._n_features_outs]
    starts = np.cumsum([0, *widths]).tolist()
    total = starts[-1]

    def place(row: NDArray[Any], column: int) -> float:
        """Which of all columns is 1; one past the last for none."""
        found = np.flatnonzero(row[starts[column] : starts[column + 1]])
        return float(starts[column] + found[0]) if found.size else float(total)

    codes = _coded(block, _tables(encoder, place))

    def spread(places: Floats) -> Floats:
        n = len(places)
        columns = np.zeros((n, total + 1))
        columns[np.arange(n)[:, None], places.astype(np.intp)] = 1.0
        return columns[:, :total]

    return codes.then(spread, total)


def _coded(block: Block, tables: Sequence[_Table]) -> Numbers:
    if isinstance(block, Cells):
        for cell in block.cells:
            if cell.kind not in ("categorical", "text", "boolean", "numeric"):
                raise NotCompilableError(f"{cell.name} is {cell.kind} and is encoded as categories")
        return Numbers((Slots(tuple(t.slot(cell) for t, cell in zip(tables, block.cells, strict=True))),))
    slots = block.slots
    if slots is None:
        return _recoded(block, tables)
    folded = tuple(
        table.folded(slot) if slot.table is not None else _from_numbers(table, slot)
        for table, slot in zip(tables, slots, strict=True)
    )
    return Numbers((Slots(folded),))


def _from_numbers(table: _Table, slot: Slot) -> Slot:
    if slot.read is not None:
        raise NotCompilableError(f"{slot.name} is a date and is encoded as categories")
    return table.slot(Cell(slot.name, "numeric"))


def _recoded(block: Numbers, tables: Sequence[_Table]) -> Numbers:
    """The codes of numbers that are computed."""
    import numpy as np

    for table in tables:
        if table.unseen is None:
            raise NotCompilableError("an encoder of computed numbers refuses unseen ones")

    def build(layout: Layout) -> Compute:
        before = block.built(layout)

        def code(rows: Any) -> Floats:
            found = before(rows).T.tolist()
            codes = [[t.of(value) for value in column] for t, column in zip(tables, found, strict=True)]
            return np.array(codes, dtype=np.float64).T

        return code

    return Numbers((Computed(block.width, build),))


def _tables(encoder: Any, code: Any) -> list[_Table]:
    """Ask a fitted encoder; `code(row, column)` reads one column's code from a row of its output."""
    import numpy as np

    categories = [list(column) for column in (c.tolist() for c in encoder.categories_)]
    most = max(len(column) for column in categories)
    known = np.empty((most, len(categories)), dtype=object)
    for number, column in enumerate(categories):
        known[:, number] = [column[index % len(column)] for index in range(most)]
    coded = _asked(encoder, known)
    if coded is None:
        raise NotCompilableError(f"{type(encoder).__name__} refuses its own categories")
    tables = []
    for number, column in enumerate(categories):
        codes = {value: code(coded[index], number) for index, value in enumerate(column) if value == value}
        codes.pop(None, None)
        unseen, missing = (_probed(encoder, known[:1], number, value) for value in (_UNSEEN, np.nan))
        if None in column:
            missing = _probed(encoder, known[:1], number, None)
        tables.append(
            _Table(
                codes,
                None if unseen is None else code(unseen, number),
                None if missing is None else code(missing, number),
            )
        )
    return tables


def _probed(encoder: Any, first: NDArray[Any], column: int, value: object) -> NDArray[Any] | None:
    row = first.copy()
    row[0, column] = value
    coded = _asked(encoder, row)
    return None if coded is None else coded[0]


def _asked(encoder: Any, rows: NDArray[Any]) -> NDArray[Any] | None:
    """Its output, dense; None when it refuses."""
    import numpy as np
    import pandas as pd

    names = getattr(encoder, "feature_names_in_", None)
    given: Any = rows if names is None else pd.DataFrame(rows, columns=names, dtype=object)
    try:
        coded = encoder.transform(given)
    except (ValueError, TypeError):
        return None
    return np.asarray(coded.toarray() if hasattr(coded, "toarray") else coded)
