"""Predictions to learn from: the rows up to a mark, whatever comes meanwhile."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest
from logged import CLASSES, Writer

from engine.core.labels import LabelMark
from engine.errors import StalePlanError
from engine.serving.feedback import Desk, Label
from engine.serving.prediction_log_actuals import Actuals
from engine.serving.prediction_log_files import tidy
from engine.serving.prediction_log_format import FORCED
from engine.serving.prediction_log_labelled import LabelledLog
from engine.serving.settings import LogSettings
from engine.serving.wire import OWN, Request


def tell(folder: Path, ids: list[str], actual: str = "yes") -> None:
    desk = Desk(folder, "churn")
    assert desk.take([Label(id_, actual) for id_ in ids]).accepted == len(ids)
    desk.close()


def test_rows_up_to_a_mark_stay_the_same(tmp_path: Path) -> None:
    writer, labelled = Writer(tmp_path), LabelledLog(tmp_path)
    assert labelled.mark("churn") == "no labels"
    assert labelled.write("churn", "no labels", tmp_path / "none.parquet") == 0
    with_id = Request(0, OWN, 0, b'{"instances": [{"months": 7, "plan": "b", "customer": 12}]}')
    ids = [*writer.fill(5), writer.add(asked=with_id), writer.add(way=FORCED)]
    writer.flush()
    tell(tmp_path, ids[2:])
    mark = labelled.mark("churn")
    assert LabelMark.of(mark).count == 5
    tell(tmp_path, ids[:2], "no")
    assert labelled.mark("churn") != mark
    assert labelled.write("churn", mark, tmp_path / "rows.parquet") == 4, "not what was forced"
    rows = pq.read_table(tmp_path / "rows.parquet").to_pylist()
    assert [row["id"] for row in rows] == ids[2:6]
    assert [row["identity"] for row in rows] == [None, None, None, "12"]
    assert rows[-1]["features"] == '{"months": 7, "plan": "b"}'
    assert {row["actual"] for row in rows} == {'"yes"'}
    writer.close()
    tidy(tmp_path, "churn", LogSettings())  # the same from Parquet
    assert labelled.write("churn", mark, tmp_path / "again.parquet") == 4
    assert (tmp_path / "again.parquet").read_bytes() == (tmp_path / "rows.parquet").read_bytes()
    assert CLASSES.id == "customer"


def test_rows_that_are_gone_are_refused(tmp_path: Path) -> None:
    writer = Writer(tmp_path)
    ids = writer.fill(4)
    tell(tmp_path, ids)
    mark = LabelledLog(tmp_path).mark("churn")
    Actuals.in_folder(tmp_path).forget("churn", int(ids[2], 16))
    with pytest.raises(StalePlanError, match="the feedback changed"):
        LabelledLog(tmp_path).write("churn", mark, tmp_path / "rows.parquet")
    writer.close()


def test_the_newest_rows_are_had_without_those_that_are_nobodys_traffic(tmp_path: Path) -> None:
    writer, labelled = Writer(tmp_path), LabelledLog(tmp_path)
    ids = [*writer.fill(6), *(writer.add(way=FORCED) for _ in range(5)), *writer.fill(1), *writer.fill(1)]
    writer.flush()
    tell(tmp_path, ids[:-1])
    mark = labelled.mark("churn")
    tell(tmp_path, ids[-1:])

    def written(newest: int | None) -> list[str]:
        labelled.write("churn", mark, tmp_path / "rows.parquet", newest)
        return [row["id"] for row in pq.read_table(tmp_path / "rows.parquet").to_pylist()]

    every = [*ids[:6], ids[11]]
    assert written(None) == written(7) == written(100) == every, "the last one's label came later"
    assert [written(count) for count in (1, 2, 5)] == [every[-1:], every[-2:], every[-5:]]
    writer.close()
