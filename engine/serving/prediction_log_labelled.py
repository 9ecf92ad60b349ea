"""Predictions whose actual value is known, as rows to learn from: the port LabelledRows over a gateway's folder.

How far labels go is a mark: their number and the time of the newest. The rows up to a mark stay the same while
others come, so that a plan and the run that follows mean the same ones; a value that came late with an earlier time, or
predictions that are gone for their age, change the number, and the run is refused. Requests that were forced to a
release by its version are nobody's traffic and left out.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

from engine.core.labels import LabelMark
from engine.errors import StalePlanError
from engine.serving.prediction_log_actuals import Actuals
from engine.serving.prediction_log_files import read_log
from engine.serving.prediction_log_format import FORCED, WAYS, Prediction, time_of

_GROUP_ROWS = 20_000


class LabelledLog:
    """Of all models. `folder`: the gateway's."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def mark(self, model: str) -> str:
        """How far the labels of a model go now."""
        return str(LabelMark(*Actuals.in_folder(self._folder).extent(model)))

    def write(self, model: str, mark: str, target: Path, newest: int | None = None) -> int:
        """Write the rows up to a mark, or the `newest` of them, oldest first; how many.

        Raises StalePlanError when they are not all there.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        wanted = LabelMark.of(mark)
        text = pa.string()
        schema = pa.schema(
            [("id", text), ("at", pa.timestamp("us", "UTC")), ("identity", text), ("actual", text), ("features", text)]
        )
        rows = self._rows(model, wanted) if newest is None else iter(self._newest(model, wanted, newest))
        written = 0
        with pq.ParquetWriter(target, schema, compression="zstd") as file:
            while some := list(islice(rows, _GROUP_ROWS)):
                file.write_table(pa.Table.from_pylist([_listed(row) for row in some], schema))
                written += len(some)
        there, _ = Actuals.in_folder(self._folder).extent(model, wanted.until)
        if there != wanted.count:
            raise StalePlanError("the feedback changed while it was read", remedy="Nothing was recorded. Apply again.")
        return written

    def _newest(self, model: str, mark: LabelMark, count: int) -> Sequence[Prediction]:
        """The newest rows, without reading what is older: labels say where these begin."""
        actuals, labels = Actuals.in_folder(self._folder), count
        while True:
            first = actuals.newest(model, mark.until, labels)
            rows = deque(self._rows(model, mark, first), count)
            if len(rows) == count or not first:
                return rows
            labels *= 2  # some of these are no rows to learn from

    def _rows(self, model: str, mark: LabelMark, first: str = "") -> Iterator[Prediction]:
        since = time_of(int(first, 16)) if first else None
        for row in read_log(self._folder, model, since) if mark.count else ():
            known = row.labelled_at is not None and row.labelled_at <= mark.until
            if known and row.id >= first and row.features is not None and row.way != WAYS[FORCED]:
                yield row


def _listed(row: Prediction) -> dict[str, object]:
    from datetime import datetime

    return {
        "id": row.id,
        "at": datetime.fromisoformat(row.at.replace("Z", "+00:00")),
        "identity": row.identity,
        "actual": json.dumps(row.actual),
        "features": json.dumps(row.features),
    }
