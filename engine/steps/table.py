"""A table from files: CSV (and TSV), Parquet, JSON lines; a folder is the concatenation of its files.

Parquet and JSON carry types of their own, which are kept; in CSV they are inferred (see `columns`). Missing is an
empty or blank value, and in CSV the tokens of `MISSING` unless `data.missing` names others. Raises StepError.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from engine.errors import StepError
from engine.steps.columns import Kind, column_of, typed_column
from engine.steps.table_files import read_parts

if TYPE_CHECKING:
    import pandas as pd

# What pandas takes for missing, and the question mark of the UCI archive.
MISSING = (
    "", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>", "N/A", "NA",
    "NULL", "NaN", "None", "n/a", "nan", "null", "?",
)  # fmt: skip


def read_table(
    path: Path, *, format: str | None = None, missing: Sequence[str] | None = None
) -> tuple[pd.DataFrame, dict[str, Kind]]:
    """The table at `path` (a file, or a folder of parts) and the kind of each column, in the table's order.

    `format` (csv, parquet, jsonl) is for files whose names do not tell. Raises StepError.
    """
    import pandas as pd

    table, typed = read_parts(path, format)
    tokens = missing_tokens(missing, typed=typed)
    columns: dict[str, pd.Series[Any]] = {}
    kinds: dict[str, Kind] = {}
    for name in table.column_names:
        columns[name], kinds[name] = column_of(name, table.column(name), tokens, typed=typed)
    return pd.DataFrame(columns, index=pd.RangeIndex(table.num_rows)), kinds


def missing_tokens(missing: Sequence[str] | None, *, typed: bool) -> tuple[str, ...]:
    """The texts that stand for a missing value: `missing` is what the spec says, `typed` that the files have types."""
    if missing is None:
        return ("",) if typed else tuple(dict.fromkeys(("", *MISSING)))
    return tuple(dict.fromkeys(("", *missing)))


def read_parquet(path: Path | BinaryIO) -> pd.DataFrame:
    """A Parquet file, by its path or opened, that `write_parquet` wrote, with the types that `read_table` gives."""
    import pandas as pd
    import pyarrow.parquet as pq

    # Not through the data-set reader: it takes `a=b` in a folder's name for a column.
    table = pq.ParquetFile(path).read()
    columns = {name: typed_column(name, table.column(name)) for name in table.column_names}
    frame: pd.DataFrame = pd.DataFrame(columns, index=pd.RangeIndex(table.num_rows))
    return frame


def write_parquet(frame: pd.DataFrame, path: Path) -> None:
    """Write a frame so that the same rows give the same bytes."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.Table.from_pandas(frame, preserve_index=False).replace_schema_metadata(None)
    # A dictionary of numbers, which are mostly different, costs four times the writing and is thrown away.
    repeating = [field.name for field in table.schema if not pa.types.is_floating(field.type)]
    pq.write_table(table, path, compression="zstd", row_group_size=1 << 17, version="2.6", use_dictionary=repeating)


def require_column(name: str, field: str, columns: Sequence[str] | Mapping[str, object]) -> None:
    """Raise StepError, with what may have been meant, unless `name`, which `field` of the spec names, is a column."""
    from difflib import get_close_matches

    if name in columns:
        return
    close = get_close_matches(name, list(columns), n=1) or [c for c in columns if c.lower() == name.lower()]
    meant = f'Did you mean "{close[0]}"? ' if close else ""
    raise StepError(
        f"{field} is {name}, but the table has no such column", remedy=f"{meant}Its columns: {', '.join(columns)}."
    )
