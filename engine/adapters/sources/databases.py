"""A query's rows, through SQLAlchemy, in batches into one Parquet file.

The order of the rows is the query's. Raises UsageError and StepError for a URL or a query that is wrong,
NotSupportedError for a driver that is missing, TransientError for a database that refuses.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.errors import NotSupportedError, StepError, TransientError, UsageError

if TYPE_CHECKING:
    import pyarrow as pa
    from sqlalchemy import URL, CursorResult

ROWS_AT_ONCE = 20_000


def fetch_query(
    query: str, url: str, target: Path, *, project: Path, scratch: Path, progress: Callable[[int, int, str], None]
) -> int:
    """Write a query's rows to `target`; returns their number. `url` has its secrets in it."""
    parts: list[Path] = []
    rows = 0
    for batch in _batches(_database_url(url, project), query):
        part = scratch / f"part-{len(parts):06}.parquet"
        _write(part, batch.schema, [batch])
        parts.append(part)
        rows += batch.num_rows
        progress(rows, 0, f"{rows:,} rows")
    _join(parts, target)
    return rows


def _database_url(text: str, project: Path) -> URL:
    """The URL of a database; the path of an SQLite file counts from the project's root."""
    from sqlalchemy import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        raise UsageError(
            "data.source.url is not a database URL", remedy="Write it like postgresql+psycopg://USER@HOST/NAME."
        ) from None
    if url.get_backend_name() == "sqlite" and url.database and url.database != ":memory:":
        file = project / url.database
        if not file.is_file():
            raise UsageError(f"the database {url.database} does not exist", remedy="Its path counts from the project.")
        return url.set(database=str(file))
    return url


def _batches(url: URL, query: str) -> Iterator[pa.Table]:
    """The result as tables of at most ROWS_AT_ONCE rows; at least one, even without rows."""
    import sqlalchemy as sql
    from sqlalchemy import exc

    try:
        database = sql.create_engine(url, poolclass=sql.NullPool)
    except ImportError:
        raise NotSupportedError(
            f"reading {url.get_backend_name()} needs a driver that is not installed",
            remedy="Install it, for PostgreSQL: pip install 'engine[postgres]'",
        ) from None
    except exc.NoSuchModuleError:
        raise NotSupportedError(f"databases of kind {url.drivername} are not known to SQLAlchemy") from None
    connected = False
    try:
        with database.connect().execution_options(stream_results=True, max_row_buffer=ROWS_AT_ONCE) as connection:
            connected = True
            yield from _result(connection.exec_driver_sql(query))
    except exc.DBAPIError as error:
        what = _without_secrets((str(error.orig).splitlines() or [type(error).__name__])[0], url)
        # SQLite calls a mistake in the query an operational error too.
        operational = isinstance(error, exc.OperationalError) and url.get_backend_name() != "sqlite"
        if not connected or operational or error.connection_invalidated:
            raise TransientError(f"the database of data.source refused: {what}") from None
        raise StepError(f"the query of data.source.sql failed: {what}", remedy="Try it in the database.") from None


def _result(result: CursorResult[Any]) -> Iterator[pa.Table]:
    if not result.returns_rows:
        raise StepError("the query of data.source.sql returns no table", remedy="It must be a SELECT.")
    names = list(result.keys())
    empty = True
    for batch in result.partitions(ROWS_AT_ONCE):
        empty = False
        yield _table(names, batch)
    if empty:
        yield _table(names, [])


def _table(names: list[str], rows: Any) -> pa.Table:
    """Rows as columns of one type each. Raises StepError for a column that mixes types."""
    from decimal import Decimal
    from uuid import UUID

    import pyarrow as pa

    if len(set(names)) < len(names):
        repeated = sorted({name for name in names if names.count(name) > 1})
        raise StepError(f"the query returns {', '.join(repeated)} more than once", remedy="Rename with AS.")
    arrays = []
    for position, name in enumerate(names):
        values = [row[position] for row in rows]
        if any(isinstance(value, Decimal) for value in values):
            values = [float(value) if isinstance(value, Decimal) else value for value in values]
        if any(isinstance(value, UUID) for value in values):
            values = [str(value) if isinstance(value, UUID) else value for value in values]
        try:
            arrays.append(pa.array(values))
        except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
            kinds = " and ".join(sorted({type(value).__name__ for value in values if value is not None}))
            raise StepError(f"the query's column {name} mixes {kinds}", remedy="Use CAST in the query.") from None
    return pa.table(arrays, names=names)


def _join(parts: list[Path], target: Path) -> None:
    """One file of all parts, batch by batch; an empty or whole-numbered part takes the type of the others."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        schema = pa.unify_schemas([pq.read_schema(part) for part in parts], promote_options="permissive")
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise StepError(f"the query's rows mix types: {error}", remedy="Use CAST in the query.") from None
    _write(target, schema, (pq.ParquetFile(part).read().cast(schema) for part in parts))
    for part in parts:
        part.unlink()


def _write(path: Path, schema: pa.Schema, tables: Any) -> None:
    import pyarrow.parquet as pq

    with pq.ParquetWriter(path, schema, compression="zstd", version="2.6") as writer:
        for table in tables:
            writer.write_table(table)


def _without_secrets(text: str, url: URL) -> str:
    password = url.password
    return text.replace(password, "***") if password else text
