"""What the stable release was asked and said: the port PredictionReader over a gateway's folder.

Requests that were forced to a release by its version are nobody's traffic and left out; those that fell back to the
stable release are part of what it serves.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path

from engine.serving import prediction_log_format as form
from engine.serving.prediction_log_actuals import Actuals
from engine.serving.prediction_log_files import read_log
from engine.serving.prediction_log_format import FORCED, WAYS, Prediction

_STABLE = "stable"


class ServedLog:
    """Of all models. `folder`: the gateway's."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def served(self, model: str, version: int, after: str) -> Iterator[Prediction]:
        """Behind the id `after`, oldest first."""
        since = _moment(after) if after else None
        for row in read_log(self._folder, model, since):
            if row.id > after and _is_served(row, version):
                yield row

    def between(self, model: str, version: int, first: str, last: str) -> Sequence[Prediction]:
        """From one id to another, both included."""
        until = _moment(last) + timedelta(milliseconds=1)
        rows = read_log(self._folder, model, _moment(first), until)
        return [row for row in rows if first <= row.id <= last and _is_served(row, version)]

    def labels(self, model: str, first: str, last: str) -> int:
        """How many actual values are known from one id to another."""
        return Actuals.in_folder(self._folder).count(model, first, last)


def _moment(id_: str) -> datetime:
    return form.time_of(int(id_, 16))


def _is_served(row: Prediction, version: int) -> bool:
    return row.version == version and row.role == _STABLE and row.way != WAYS[FORCED]
