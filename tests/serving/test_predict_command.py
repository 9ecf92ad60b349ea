"""`engine predict` against a real gateway: every row answered in order, mistakes told, traffic counted."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import pytest
from served import Gateway

from engine.app.predicting import Traffic
from engine.cli.entry import run


def test_every_row_is_answered_in_order(live: Gateway, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = tmp_path / "new.csv"
    data.write_text("plan,months,calls,note\n" + "".join(f"a,{n % 40},{n % 7},x\n" for n in range(250)))
    argv = ["--chdir", str(live.folder), "predict", "churn", "--data", str(data)]
    assert run([*argv, "--out", str(tmp_path / "out.csv")]) == 0
    with (tmp_path / "out.csv").open() as file:
        written = list(csv.DictReader(file))
    assert [row["row"] for row in written] == [str(n) for n in range(250)]
    assert {row["version"] for row in written} == {"1"}
    assert all(0.5 <= float(row["probability"]) <= 1 for row in written)
    capsys.readouterr()
    assert run([*argv, "--batch", "7", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [str(each["prediction"]) for each in found] == [row["prediction"] for row in written]


def test_rows_that_do_not_fit_are_told(live: Gateway, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = tmp_path / "new.csv"
    data.write_text("plan,calls\na,1\n")
    assert run(["--chdir", str(live.folder), "predict", "churn", "--data", str(data)]) == 1
    assert "lacks the column months" in capsys.readouterr().err
    assert run(["--chdir", str(live.folder), "predict", "nobody", "--data", str(data)]) == 1
    assert "404: no such model" in capsys.readouterr().err


def test_traffic_is_counted_by_release(live: Gateway, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = tmp_path / "new.csv"
    data.write_text("plan,months,calls\na,3,5\nb,8,1\n")
    argv = ["--chdir", str(live.folder), "predict", "churn", "--data", str(data), "--for", "0.5s", "--clients", "2"]
    assert run([*argv, "--json"]) == 0
    counted = json.loads(capsys.readouterr().out)
    assert counted["failed"] == 0
    assert counted["answers"] == {"answered by version 1": counted["requests"]}
    assert 0 < counted["latency_seconds"]["p50"] <= counted["latency_seconds"]["p99"]


def test_without_a_gateway_it_says_how_to_start_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "new.csv").write_text("a\n1\n")
    argv = ["--chdir", str(tmp_path), "predict", "churn", "--data", str(tmp_path / "new.csv")]
    assert run(argv) == 1
    assert "engine serve" in capsys.readouterr().err
    assert run([*argv, "--url", "http://127.0.0.1:9"]) == 1
    assert "does not answer" in capsys.readouterr().err


def test_no_traffic_has_no_latency() -> None:
    assert math.isnan(Traffic().quantile(0.5))
