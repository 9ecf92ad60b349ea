"""Reading tables: types decided over whole columns, the same however the data is stored, and clear refusals."""

from __future__ import annotations

import gzip
import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from real_data import DATA

from engine.errors import StepError
from engine.steps.table import read_parquet, read_table, write_parquet


def csv(path: Path, text: str | bytes) -> Path:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def column(tmp_path: Path, *values: str) -> tuple[list[Any], str, str]:
    """The values, dtype and kind of a CSV column, beside one that keeps blank lines from being skipped."""
    text = "n,x\n" + "".join(f'{i},"{value}"\n' for i, value in enumerate(values))
    frame, kinds = read_table(csv(tmp_path / "x.csv", text))
    return frame["x"].tolist(), str(frame["x"].dtype), kinds["x"]


@pytest.mark.parametrize(
    ("values", "dtype", "kind"),
    [
        (("1", "2"), "int64", "numeric"),
        (("+1", "-2"), "int64", "numeric"),
        (("1", ""), "float64", "numeric"),
        (("1", " "), "float64", "numeric"),
        (("1", "?"), "float64", "numeric"),
        (("1", " NA "), "float64", "numeric"),
        (("1.5", "2"), "float64", "numeric"),
        ((" 1", "2 "), "int64", "numeric"),
        (("1e3", ".5"), "float64", "numeric"),
        (("1", "inf"), "float64", "numeric"),
        (("0", "1"), "int64", "numeric"),
        (("007", "123"), "object", "categorical"),
        (("00", "01"), "object", "categorical"),
        (("0.5", "0"), "float64", "numeric"),
        (("1234567890123456", "1"), "object", "categorical"),
        (("0x1F", "2"), "object", "categorical"),
        (("1_000", "2"), "object", "categorical"),
        (("1,5", "2"), "object", "categorical"),
        (("1", "one"), "object", "categorical"),
        (("true", "False"), "bool", "boolean"),
        (("TRUE", ""), "object", "boolean"),
        (("yes", "no"), "object", "categorical"),
        (("t", "f"), "object", "categorical"),
        (("2024-01-31", "2023-02-28"), "datetime64[us]", "date"),
        (("2024-01-31", ""), "datetime64[us]", "date"),
        (("2024-01-31 10:00", "2024-01-31T10:00:00.5"), "datetime64[us]", "date"),
        (("2024-01-31T10:00:00Z", "2024-01-31T10:00:00+02:00"), "datetime64[us]", "date"),
        (("2024/01/31",), "datetime64[us]", "date"),
        (("31.01.2024", "01.02.2024"), "datetime64[us]", "date"),
        (("01/02/2024",), "object", "categorical"),
        (("2024-02-31",), "object", "categorical"),
        (("2024-01-31", "31.01.2024"), "object", "categorical"),
        (("", " "), "float64", "numeric"),
        (("the parcel came late", "it never came at all", "fine, thank you all"), "object", "text"),
        (("New York City", "New York City", "New York City"), "object", "categorical"),
    ],
)
def test_what_a_csv_column_is(tmp_path: Path, values: tuple[str, ...], dtype: str, kind: str) -> None:
    assert column(tmp_path, *values)[1:] == (dtype, kind)


def test_values_are_what_they_say(tmp_path: Path) -> None:
    assert column(tmp_path, "2024-01-31T10:00:00+02:00")[0] == [pd.Timestamp("2024-01-31 08:00")]
    assert column(tmp_path, "true", "FALSE")[0] == [True, False]
    assert column(tmp_path, "1", "-inf")[0][0] == 1.0
    assert np.isnan(column(tmp_path, "1", "-inf")[0][1])
    assert column(tmp_path, "b ", "?", "a")[0][0] == "b "


def test_missing_tokens_can_be_stated(tmp_path: Path) -> None:
    path = csv(tmp_path / "x.csv", "a,b\n-999,?\n1,x\n,NA\n")
    frame, kinds = read_table(path, missing=["-999"])
    assert frame["a"].isna().tolist() == [True, False, True]
    assert frame["b"].tolist() == ["?", "x", "NA"]
    assert kinds == {"a": "numeric", "b": "categorical"}


REAL = {
    "telco_customer_churn": (
        (7043, 21),
        {"TotalCharges": 11},
        {"TotalCharges": "numeric", "customerID": "categorical"},
    ),
    "adult_income": (
        (32561, 15),
        {"workclass": 1836, "occupation": 1843, "native_country": 583},
        {"age": "numeric", "sex": "categorical"},
    ),
    "bike_sharing_hourly": ((17379, 14), {}, {"date": "date", "holiday": "boolean", "count": "numeric"}),
    "elec2": ((45312, 9), {}, {"date": "numeric", "class": "categorical"}),
}


@pytest.mark.parametrize("name", REAL)
def test_real_data(tmp_path: Path, name: str) -> None:
    shape, missing, expected = REAL[name]
    frame, kinds = read_table(DATA / f"{name}.csv")
    assert frame.shape == shape
    assert {c: n for c, n in frame.isna().sum().items() if n} == missing
    assert {c: kinds[c] for c in expected} == expected
    write_parquet(frame, tmp_path / "a.parquet")
    again, kinds_again = read_table(tmp_path / "a.parquet")
    pd.testing.assert_frame_equal(frame, again)
    pd.testing.assert_frame_equal(frame, read_parquet(tmp_path / "a.parquet"))
    assert kinds_again == kinds


def test_the_same_table_in_every_format(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"n": i, "f": i / 4 if i % 3 else None, "c": "ab"[i % 2], "b": i % 2 == 0, "d": f"2024-01-{i + 1:02}"}
        for i in range(20)
    ]
    text = "n,f,c,b,d\n" + "".join(",".join("" if v is None else str(v) for v in r.values()) + "\n" for r in rows)
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    paths = [
        csv(tmp_path / "a.csv", text),
        csv(tmp_path / "bom.csv", b"\xef\xbb\xbf" + text.encode()),
        csv(tmp_path / "crlf.csv", text.replace("\n", "\r\n")),
        csv(tmp_path / "semicolon.csv", text.replace(",", ";")),
        csv(tmp_path / "a.tsv", text.replace(",", "\t")),
        csv(tmp_path / "a.csv.gz", gzip.compress(text.encode())),
        csv(tmp_path / "a.jsonl", lines),
        csv(tmp_path / "a.ndjson.gz", gzip.compress(lines.encode())),
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    folder = tmp_path / "parts"
    folder.mkdir()
    pq.write_table(pa.Table.from_pylist(rows[:7]), folder / "1.parquet")
    pq.write_table(pa.Table.from_pylist(rows[7:]), folder / "2.parquet")
    (folder / "_SUCCESS").touch()
    tables = [read_table(path) for path in (*paths, tmp_path / "a.parquet", folder)]
    for frame, kinds in tables:
        pd.testing.assert_frame_equal(frame, tables[0][0])
        assert kinds == {"n": "numeric", "f": "numeric", "c": "categorical", "b": "boolean", "d": "date"}


def test_the_types_of_parquet_are_kept(tmp_path: Path) -> None:
    table = pa.table(
        {
            "code": ["001", "2", None],
            "decimal": pa.array([Decimal("1.50"), None, Decimal("2")]),
            "small": pa.array([1, 2, 3], pa.int8()),
            "dictionary": pa.array(["a", None, "b"]).dictionary_encode(),
            "flags": pa.array([True, None, False]),
            "zoned": pa.array([pd.Timestamp("2024-01-01", tz="Europe/Berlin")] * 3),
            "day": pa.array([None, 1, 2], pa.date32()),
            "nothing": pa.nulls(3),
            "infinite": [1.0, float("inf"), float("nan")],
            "view": pa.array(["x", "y", ""], pa.large_string()),
        }
    )
    pq.write_table(table, tmp_path / "a.parquet")
    frame, kinds = read_table(tmp_path / "a.parquet")
    assert kinds == {
        "code": "categorical",
        "decimal": "numeric",
        "small": "numeric",
        "dictionary": "categorical",
        "flags": "boolean",
        "zoned": "date",
        "day": "date",
        "nothing": "numeric",
        "infinite": "numeric",
        "view": "categorical",
    }
    assert frame["code"].tolist()[:2] == ["001", "2"]
    assert frame["zoned"].tolist() == [pd.Timestamp("2023-12-31 23:00")] * 3
    assert frame.isna().sum().to_dict() == {
        **dict.fromkeys(frame.columns, 1),
        "small": 0,
        "zoned": 0,
        "nothing": 3,
        "infinite": 2,
    }
    write_parquet(frame, tmp_path / "b.parquet")
    pd.testing.assert_frame_equal(frame, read_parquet(tmp_path / "b.parquet"))


def test_types_are_decided_over_all_parts(tmp_path: Path) -> None:
    folder = tmp_path / "parts"
    folder.mkdir()
    csv(folder / "1.csv", "a,b\n1,2024-01-01\n")
    csv(folder / "2.csv", "b,a\nnever,x\n")
    frame, kinds = read_table(folder)
    assert frame["a"].tolist() == ["1", "x"]
    assert kinds == {"a": "categorical", "b": "categorical"}


def test_a_late_surprise_changes_the_whole_column(tmp_path: Path) -> None:
    text = "a,b\n" + "1,1\n" * 300_000 + "x,2\n"
    _, kinds = read_table(csv(tmp_path / "a.csv", text))
    assert kinds == {"a": "categorical", "b": "numeric"}


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.csv", "", "is empty"),
        ("a.csv", "\n", "is empty"),
        ("a.csv", "a,b\n1,2\n3\n4,5\n", "row 3 has 1 values, the header has 2 columns"),
        ("a.csv", "a,b\n1,2\n3,4,5\n", "row 3 has 3 values"),
        ("a.csv", "a,b,a\n1,2,3\n", "more than one column is called a"),
        ("a.csv", ",a\n0,1\n", "column 1 has no name"),
        ("a.csv", "a,b\n\xe9t\xe9,1\n".encode("latin-1"), "not UTF-8"),
        ("a.csv", "gr\xf6\xdfe,b\n1,1\n".encode("latin-1"), "not UTF-8"),
        ("a.csv.gz", b"no gzip", "cannot be read"),
        ("a.csv.gz", gzip.compress(b"a\n" + b"1\n" * 100_000)[:-20], "cannot be read"),
        ("a.parquet", b"no parquet", "cannot be read as Parquet"),
        ("a.jsonl", "", "is empty"),
        ("a.jsonl", '{"a": 1}\n{"a": ', "cannot be read as JSON lines"),
        ("a.jsonl", '{"a": 1}\n{"a": "x"}\n', "cannot be read as JSON lines"),
        ("a.jsonl", '{"a": {"b": 1}}\n', "column a holds values of type struct"),
        ("a.xlsx", "x", "format of this file is not known"),
    ],
)
def test_what_cannot_be_read_says_why(tmp_path: Path, name: str, content: str | bytes, says: str) -> None:
    with pytest.raises(StepError, match=says):
        read_table(csv(tmp_path / name, content))


def test_a_stated_format_reads_any_name(tmp_path: Path) -> None:
    frame, _ = read_table(csv(tmp_path / "adult.data", "a,b\n1,2\n"), format="csv")
    assert frame.shape == (1, 2)


@pytest.mark.parametrize(
    ("files", "says"),
    [
        ({}, "without data files"),
        ({"a.csv": "a\n1\n", "b.csv": "b\n1\n"}, "different columns: a, b"),
        ({"a.csv": "a\n1\n", "b.jsonl": '{"a": 1}\n'}, "mixes csv and jsonl"),
        ({"a.csv": "a\n1\n", "notes.md": "x"}, "notes.md: the format"),
        ({"a.jsonl": '{"a": "x"}\n', "b.jsonl": '{"a": 1}\n'}, "do not fit together"),
    ],
)
def test_parts_must_fit_together(tmp_path: Path, files: dict[str, str], says: str) -> None:
    folder = tmp_path / "parts"
    folder.mkdir()
    for name, text in files.items():
        csv(folder / name, text)
    with pytest.raises(StepError, match=says):
        read_table(folder)


def test_a_table_without_rows_is_a_table(tmp_path: Path) -> None:
    frame, kinds = read_table(csv(tmp_path / "a.csv", "a,b\n"))
    assert (frame.shape, list(kinds)) == ((0, 2), ["a", "b"])


def test_quoted_newlines_and_delimiters_are_values(tmp_path: Path) -> None:
    frame, _ = read_table(csv(tmp_path / "a.csv", '"a,1";"b\nc"\n"x;y";"1\n2"\n'))
    assert frame.to_dict("list") == {"a,1": ["x;y"], "b\nc": ["1\n2"]}


def test_writing_is_deterministic(tmp_path: Path) -> None:
    frame, _ = read_table(DATA / "telco_customer_churn.csv")
    write_parquet(frame, tmp_path / "a.parquet")
    write_parquet(frame.copy().set_index(frame.index[::-1]), tmp_path / "b.parquet")
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()


@given(
    st.lists(
        st.one_of(st.none(), st.integers(-(10**14), 10**14), st.floats(-1e12, 1e12).map(lambda x: round(x, 6))),
        min_size=1,
        max_size=30,
    )
)
def test_numbers_come_back_as_written(tmp_path_factory: pytest.TempPathFactory, values: list[float | None]) -> None:
    path = tmp_path_factory.getbasetemp() / "numbers.csv"
    text = "n,x\n" + "".join(f"{i},{'' if v is None else repr(v)}\n" for i, v in enumerate(values))
    frame, kinds = read_table(csv(path, text))
    assert kinds["x"] == "numeric"
    expected = [np.nan if value is None else float(value) for value in values]
    np.testing.assert_array_equal(frame["x"].to_numpy(dtype=float), expected)


_SPELLINGS = st.one_of(
    st.floats(-1e6, 1e6).map(repr),
    st.integers(-99, 99).map(str),
    st.sampled_from(
        ["007", "0.50", " 1.5", "1.5 ", "+2.5", ".5", "5.", "1e3", "1e999", "-inf", "nan", "x", "0x1p3", "1_0.5"]
    ),
)


@given(st.lists(_SPELLINGS, min_size=1, max_size=8), st.sampled_from([None, ["-1"], ["x"]]))
def test_a_gap_changes_no_other_value(
    tmp_path_factory: pytest.TempPathFactory, values: list[str], missing: list[str] | None
) -> None:
    """A column without gaps may be read another way than one with a gap."""
    path = tmp_path_factory.getbasetemp() / "gaps.csv"
    rows = [f'{i},"{value}"\n' for i, value in enumerate(values)]
    whole, kinds = read_table(csv(path, "n,x\n" + "".join(rows)), missing=missing)
    gap, kinds_with_gap = read_table(csv(path, "n,x\n" + "".join(rows) + f"{len(rows)},\n"), missing=missing)
    assert kinds["x"] == kinds_with_gap["x"]
    assert gap["x"].isna().iloc[-1]
    as_objects = [frame["x"].astype(object)[: len(values)] for frame in (whole, gap)]
    pd.testing.assert_series_equal(*as_objects)
