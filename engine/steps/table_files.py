"""Raw tables from files: CSV and TSV as strings, Parquet and JSON lines with the types that they carry.

Text may be gzipped; a folder is the concatenation of its files in sorted order. Raises StepError with the row
where known.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.errors import StepError
from engine.steps.snapshot import DATA_SUFFIXES

if TYPE_CHECKING:
    import pyarrow as pa

_FORMATS = {"csv": "csv", "tsv": "csv", "parquet": "parquet", "jsonl": "jsonl", "ndjson": "jsonl"}
_BLOCK = 16 << 20  # bytes
_BATCH = 1 << 16  # rows of Parquet


@dataclass(frozen=True)
class Parts:
    """A table in batches of raw values, to be read once. In JSON lines each batch has types of its own."""

    names: list[str]
    typed: bool
    batches: Iterator[pa.RecordBatch]


def read_parts(path: Path, format: str | None) -> tuple[pa.Table, bool]:
    """All parts in one table of raw values, and whether their types are the files' own."""
    import pyarrow as pa

    parts = _parts(path)
    formats = {_format_of(part, format) for part in parts}
    if len(formats) > 1:
        raise _mixed(path, formats)
    kind = formats.pop()
    readers = {"csv": _read_csv, "parquet": _read_parquet, "jsonl": _read_jsonl}
    tables = [readers[kind](part) for part in parts]
    for part, table in zip(parts, tables, strict=True):
        _check_names(part, table.column_names)
        _check_same(part, table.column_names, parts[0], tables[0].column_names)
    names = tables[0].column_names
    try:
        joined = pa.concat_tables([table.select(names) for table in tables], promote_options="permissive")
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError) as error:
        raise StepError(f"the files of {path.name} do not fit together: {_first_line(error)}") from error
    return joined, kind != "csv"


def stream_parts(path: Path, format: str | None) -> Parts:
    """The same in batches, at no time more than one of them in memory. Batches raise StepError as they are read."""
    parts = _parts(path)
    formats = {_format_of(part, format) for part in parts}
    if len(formats) > 1:
        raise _mixed(path, formats)
    kind = formats.pop()
    names = _names_of(parts[0], kind)
    for part in parts[1:]:
        _check_same(part, _names_of(part, kind), parts[0], names)
    streams = {"csv": _stream_csv, "parquet": _stream_parquet, "jsonl": _stream_jsonl}
    return Parts(names, kind != "csv", (batch for part in parts for batch in streams[kind](part)))


def _names_of(path: Path, kind: str) -> list[str]:
    """Column names; of JSON lines every one that a line has, in the order of the lines."""
    if kind == "csv":
        names = _header(path)[0]
    elif kind == "parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            names = list(pq.read_schema(path).names)
        except (pa.ArrowInvalid, OSError) as error:
            raise _malformed(path, error, "Parquet") from error
    else:
        names = list(dict.fromkeys(name for batch in _stream_jsonl(path) for name in batch.schema.names))
        if not names:
            raise StepError(f"{path.name} is empty")
    _check_names(path, names)
    return names


def _stream_csv(path: Path) -> Iterator[pa.RecordBatch]:
    import pyarrow as pa
    from pyarrow import csv

    header, delimiter = _header(path)
    try:
        with pa.input_stream(path) as stream:
            yield from csv.open_csv(
                stream,
                read_options=csv.ReadOptions(
                    use_threads=False, block_size=_BLOCK, column_names=header, skip_rows_after_names=1
                ),
                parse_options=csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
                convert_options=_as_strings(header),
            )
    except (pa.ArrowInvalid, OSError, EOFError) as error:
        if "Empty CSV" in str(error):
            return  # nothing but column names
        raise _malformed(path, error, "CSV") from error


def _as_strings(header: Sequence[str]) -> Any:
    import pyarrow as pa
    from pyarrow import csv

    return csv.ConvertOptions(
        column_types=dict.fromkeys(header, pa.string()), strings_can_be_null=False, null_values=[]
    )


def _stream_parquet(path: Path) -> Iterator[pa.RecordBatch]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        yield from pq.ParquetFile(path).iter_batches(batch_size=_BATCH)
    except (pa.ArrowInvalid, OSError) as error:
        raise _malformed(path, error, "Parquet") from error


def _stream_jsonl(path: Path) -> Iterator[pa.RecordBatch]:
    import pyarrow as pa
    from pyarrow import json

    try:
        with pa.input_stream(path) as stream:
            reader = io.BufferedReader(stream, _BLOCK)
            while block := reader.read(_BLOCK):
                block += reader.readline()
                if not block.strip():
                    continue
                options = json.ReadOptions(use_threads=False, block_size=len(block) + 1)
                yield from json.read_json(pa.BufferReader(block), read_options=options).combine_chunks().to_batches()
    except (pa.ArrowInvalid, OSError, EOFError) as error:
        raise _malformed(path, error, "JSON lines") from error


def count_rows(path: Path) -> int:
    """The rows of one file, streamed; Parquet's by its footer. Raises StepError for one that is malformed."""
    kind = _format_of(path, None)
    try:
        if kind == "parquet":
            import pyarrow.parquet as pq

            return int(pq.read_metadata(path).num_rows)
        if kind == "jsonl":
            import pyarrow as pa

            with pa.input_stream(path) as stream:
                return sum(1 for line in io.BufferedReader(stream) if line.strip())
        return _count_csv(path)
    except OSError as error:
        raise StepError(f"{path.name} cannot be read: {error}") from error


def _count_csv(path: Path) -> int:
    import pyarrow as pa
    from pyarrow import csv

    header, delimiter = _header(path)
    try:
        with pa.input_stream(path) as stream:
            batches = csv.open_csv(
                stream,
                read_options=csv.ReadOptions(block_size=_BLOCK, column_names=header, skip_rows_after_names=1),
                parse_options=csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
                convert_options=csv.ConvertOptions(
                    include_columns=header[:1], column_types={header[0]: pa.string()}, strings_can_be_null=False
                ),
            )
            return sum(batch.num_rows for batch in batches)
    except (pa.ArrowInvalid, EOFError) as error:
        raise _malformed(path, error, "CSV") from error


def _parts(path: Path) -> list[Path]:
    if path.is_dir():
        files = [file for file in path.rglob("*") if file.is_file() and not file.name.startswith((".", "_"))]
        if not files:
            raise StepError(f"{path.name} is a folder without data files")
        return sorted(files, key=lambda file: file.relative_to(path).as_posix())
    if not path.exists():
        raise StepError(f"{path.name} does not exist")
    return [path]


def _format_of(path: Path, format: str | None) -> str:
    name = path.name.lower().removesuffix(".gz")
    found = format or _FORMATS.get(name.rpartition(".")[2])
    if found not in _FORMATS:
        raise StepError(
            f"{path.name}: the format of this file is not known",
            remedy=f"Name it with one of {', '.join(DATA_SUFFIXES)}, or say data.format: csv, parquet or jsonl.",
        )
    return _FORMATS[found]


def _read_csv(path: Path) -> pa.Table:
    import pyarrow as pa
    from pyarrow import csv

    header, delimiter = _header(path)
    _check_names(path, header)
    try:
        with pa.input_stream(path) as stream:
            return csv.read_csv(
                stream,
                # One thread: only then does an error name its row.
                read_options=csv.ReadOptions(
                    use_threads=False, block_size=_BLOCK, column_names=header, skip_rows_after_names=1
                ),
                parse_options=csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
                convert_options=_as_strings(header),
            )
    except (pa.ArrowInvalid, OSError, EOFError) as error:
        raise _malformed(path, error, "CSV") from error


def _header(path: Path) -> tuple[list[str], str]:
    """The column names in the first line, and what parts them: a comma, or else a semicolon or a tab."""
    import csv
    import gzip

    opener = gzip.open if path.name.lower().endswith(".gz") else open
    try:
        with opener(path, "rt", encoding="utf-8-sig", newline="") as file:
            first = file.readline(1 << 20)
            while first.count('"') % 2 and (more := file.readline(1 << 20)):
                first += more
    except UnicodeDecodeError as error:
        raise _not_utf8(path) from error
    except (OSError, EOFError) as error:
        raise StepError(f"{path.name} cannot be read: {error}") from error
    if not first.strip():
        raise StepError(f"{path.name} is empty", remedy="The first line must name the columns.")
    bare = re.sub(r'"[^"]*"', "", first)
    counts = {sign: bare.count(sign) for sign in (",", ";", "\t")}
    delimiter = max(counts, key=lambda sign: counts[sign]) if any(counts.values()) else ","
    return next(csv.reader([first], delimiter=delimiter)), delimiter


def _read_parquet(path: Path) -> pa.Table:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.ParquetFile(path).read()
    except (pa.ArrowInvalid, OSError) as error:
        raise _malformed(path, error, "Parquet") from error


def _read_jsonl(path: Path) -> pa.Table:
    import pyarrow as pa
    from pyarrow import json

    try:
        with pa.input_stream(path) as stream:
            data = stream.read()
        if not data.strip():
            raise StepError(f"{path.name} is empty")
        # One block: types are inferred from the first one, and later ones would have to agree with it.
        options = json.ReadOptions(use_threads=False, block_size=max(len(data), 1))
        return json.read_json(pa.BufferReader(data), read_options=options)
    except (pa.ArrowInvalid, OSError, EOFError) as error:
        raise _malformed(path, error, "JSON lines") from error


def _mixed(path: Path, formats: set[str]) -> StepError:
    return StepError(
        f"{path.name} mixes {' and '.join(sorted(formats))} files", remedy="Keep one format in one folder."
    )


def _check_same(part: Path, names: Sequence[str], first: Path, expected: Sequence[str]) -> None:
    if set(names) != set(expected):
        differing = ", ".join(sorted(set(names) ^ set(expected)))
        raise StepError(f"{part.name} and {first.name} have different columns: {differing}")


def _check_names(path: Path, names: Sequence[str]) -> None:
    for position, name in enumerate(names, start=1):
        if not name.strip():
            raise StepError(
                f"{path.name}: column {position} has no name",
                remedy="Name it in the first line; pandas writes no index column with to_csv(index=False).",
            )
    repeated = sorted({name for name in names if list(names).count(name) > 1})
    if repeated:
        raise StepError(f"{path.name}: more than one column is called {', '.join(repeated)}", remedy="Rename them.")


def _malformed(path: Path, error: Exception, format: str) -> StepError:
    text = _first_line(error)
    if "utf8" in text.lower() or "utf-8" in text.lower():
        return _not_utf8(path)
    ragged = re.search(r"Row #(\d+): Expected (\d+) columns?, got (\d+)", text)
    if ragged:
        row, expected, got = ragged.groups()
        return StepError(
            f"{path.name}: row {row} has {got} values, the header has {expected} columns",
            remedy="Quote values that contain the delimiter.",
        )
    return StepError(f"{path.name} cannot be read as {format}: {text}")


def _not_utf8(path: Path) -> StepError:
    return StepError(
        f"{path.name} is not UTF-8 text",
        remedy=f"Convert it, for example: iconv -f WINDOWS-1252 -t UTF-8 {path.name} > utf8-{path.name}",
    )


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
