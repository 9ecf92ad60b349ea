"""The split: a partition that keeps its promises for every strategy, on generated and on real tables."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from real_data import DATA, MakeContext

from engine.errors import StepError
from engine.ports import StepOutcome
from engine.steps import split
from engine.steps.split import Columns, sampled
from engine.steps.table import read_parquet

OUTPUTS = {"train": "train.parquet", "holdout": "holdout.parquet", "schema": "schema.json"}
quick = settings(suppress_health_check=[HealthCheck.function_scoped_fixture])


class Result:
    """What the step wrote, read back."""

    def __init__(self, outcome: StepOutcome, outputs: dict[str, Path]) -> None:
        self.outcome = outcome
        self.outputs = outputs
        self.train = read_parquet(outputs["train"])
        self.holdout = read_parquet(outputs["holdout"])
        self.schema: dict[str, Any] = json.loads(outputs["schema"].read_text())
        self.features = [feature["name"] for feature in self.schema["features"]]


def do_split(
    make_context: MakeContext, path: Path, task: str = "auto", how: dict[str, Any] | None = None, **data: Any
) -> Result:
    spec = {"strategy": "auto", "holdout": 0.2, "seed": 42, **(how or {})}
    context = make_context({**data, "split": spec}, {"table": path}, OUTPUTS, task)
    return Result(split.run(context), dict(context.outputs))


def table(tmp_path: Path, frame: pd.DataFrame) -> Path:
    frame.to_csv(tmp_path / "table.csv", index=False)
    return tmp_path / "table.csv"


def example(rows: int = 100, **columns: Any) -> pd.DataFrame:
    base = {"row": np.arange(rows), "x": np.arange(rows) % 7, "target": np.where(np.arange(rows) % 3, "no", "yes")}
    return pd.DataFrame({**base, **columns})


# ── the draw itself ──────────────────────────────────────────────────────────────────────────────────────────

fractions = st.floats(0.01, 0.99)
seeds = st.integers(0, 2**32 - 1)


@given(st.integers(2, 500), fractions, seeds)
def test_the_share_is_kept_within_one_row(rows: int, fraction: float, seed: int) -> None:
    chosen = sampled(rows, fraction, seed)
    assert abs(chosen.sum() - rows * fraction) <= 1 or chosen.sum() in (1, rows - 1)
    assert 0 < chosen.sum() < rows


@given(st.integers(200, 400), st.integers(0, 200), st.floats(0.05, 0.95), seeds)
def test_more_rows_move_no_row_to_the_other_side(rows: int, more: int, fraction: float, seed: int) -> None:
    np.testing.assert_array_equal(sampled(rows, fraction, seed), sampled(rows + more, fraction, seed)[:rows])


def test_every_row_is_as_likely_as_any_other() -> None:
    hits = sum(sampled(100, 0.2, seed).astype(int) for seed in range(4000))
    assert abs(hits / 4000 - 0.2).max() < 0.038  # 6 standard errors


@given(seeds)
def test_seeds_and_strata_draw_differently(seed: int) -> None:
    assert (sampled(300, 0.2, seed) != sampled(300, 0.2, seed + 1)).any()
    assert (sampled(300, 0.2, seed, "a") != sampled(300, 0.2, seed, "b")).any()


# ── properties of the step ───────────────────────────────────────────────────────────────────────────────────

tables = st.integers(12, 80).flatmap(
    lambda rows: st.fixed_dictionaries(
        {
            "target": st.lists(st.sampled_from(["a", "b", "c"]), min_size=rows, max_size=rows),
            "when": st.lists(st.integers(0, 30), min_size=rows, max_size=rows),
            "group": st.lists(st.sampled_from([f"g{i}" for i in range(12)]), min_size=rows, max_size=rows),
        }
    )
)


@quick
@given(tables, st.sampled_from(["auto", "stratified", "random", "time", "group"]), st.floats(0.1, 0.5), seeds)
def test_every_strategy_keeps_its_promise(
    make_context: MakeContext, tmp_path: Path, columns: dict[str, list[Any]], strategy: str, holdout: float, seed: int
) -> None:
    rows = len(columns["target"])
    path = table(tmp_path, example(rows, **columns))
    roles = {"id": "row"}
    if strategy == "time":
        roles["timestamp"] = "when"
    if strategy == "group":
        roles["group"] = "group"
    how = {"strategy": strategy, "holdout": holdout, "seed": seed}
    try:
        result = do_split(make_context, path, how=how, **roles)
    except StepError as error:
        assert error.remedy
        return
    train, held = result.train, result.holdout
    assert sorted([*train["row"], *held["row"]]) == list(range(rows))
    assert min(len(train), len(held)) > 0
    assert result.schema["rows"] == {"train": len(train), "holdout": len(held)}
    assert not {"row", "target"} & set(result.features)
    if strategy in ("auto", "stratified"):
        for name, count in pd.Series(columns["target"]).value_counts().items():
            taken = int((held["target"] == name).sum())
            assert abs(taken - count * holdout) <= 1
            assert 0 < taken < count
    if strategy == "time":
        assert train["when"].max() < held["when"].min()
        assert train["when"].is_monotonic_increasing
    if strategy == "group":
        assert not set(train["group"]) & set(held["group"])
    if strategy in ("auto", "stratified", "random"):
        assert train["row"].is_monotonic_increasing
    before = {role: file.read_bytes() for role, file in result.outputs.items()}
    do_split(make_context, path, how=how, **roles)
    assert {role: file.read_bytes() for role, file in result.outputs.items()} == before


def test_rows_added_at_the_end_move_no_other(make_context: MakeContext, tmp_path: Path) -> None:
    first = do_split(make_context, table(tmp_path, example(200)))
    held = set(first.holdout["row"])
    second = do_split(make_context, table(tmp_path, example(300)))
    assert {row for row in second.holdout["row"] if row < 200} == held


def test_another_seed_holds_out_other_rows(make_context: MakeContext, tmp_path: Path) -> None:
    path = table(tmp_path, example(200))
    rows = [tuple(do_split(make_context, path, how={"seed": seed}).holdout["row"]) for seed in (1, 2, 1)]
    assert rows[0] == rows[2] != rows[1]


def test_equal_times_stay_together_and_in_order(make_context: MakeContext, tmp_path: Path) -> None:
    days = [f"2024-01-{1 + i // 10:02}" for i in range(100)]
    frame = example(100, when=days).iloc[::-1]
    result = do_split(make_context, table(tmp_path, frame), timestamp="when", how={"holdout": 0.25})
    assert len(result.holdout) in (20, 30)
    assert result.train["when"].max() < result.holdout["when"].min()
    assert result.schema["strategy"] == "time"
    assert "when" not in result.features


def test_time_without_a_timestamp_is_the_tables_order(make_context: MakeContext, tmp_path: Path) -> None:
    result = do_split(make_context, table(tmp_path, example(100)), how={"strategy": "time"})
    assert list(result.holdout["row"]) == list(range(80, 100))


# ── roles and features ───────────────────────────────────────────────────────────────────────────────────────


def test_features_leave_out_what_cannot_be_learned_from(make_context: MakeContext, tmp_path: Path) -> None:
    frame = example(
        100,
        key=[f"k{i}" for i in range(100)],
        same=1,
        empty=None,
        sometimes=[None if i % 2 else "x" for i in range(100)],
        gender=["f", "m"] * 50,
        shop=[f"s{i % 9}" for i in range(100)],
    )
    result = do_split(make_context, table(tmp_path, frame), id="row", ignore=["gender"], group="shop")
    assert result.schema["features"] == [
        {"name": "x", "kind": "numeric"},
        {"name": "same", "kind": "numeric"},  # it may vary in later data, and clients send it
        {"name": "sometimes", "kind": "categorical"},
    ]
    assert result.outcome.facts["left_out"] == {
        "key": "every value is different",
        "empty": "no values",
    }
    assert list(result.train.columns) == list(frame.columns)
    assert result.schema["strategy"] == "group"


@pytest.mark.parametrize(
    ("values", "task", "positive", "expected"),
    [
        (["yes", "no"], "auto", None, ("binary", ["no", "yes"], "yes")),
        (["yes", "no"], "auto", "no", ("binary", ["no", "yes"], "no")),
        ([0, 1], "auto", None, ("binary", ["0", "1"], "1")),
        ([0, 1], "auto", 0, ("binary", ["0", "1"], "0")),
        ([0.0, 1.0], "auto", 1.0, ("binary", ["0", "1"], "1")),
        ([True, False], "auto", True, ("binary", ["False", "True"], "True")),
        (["true", "false"], "auto", "true", ("binary", ["False", "True"], "True")),
        (["a", "b", "c"], "auto", None, ("multiclass", ["a", "b", "c"], None)),
        ([1, 2, 10], "auto", None, ("multiclass", ["1", "10", "2"], None)),
        (list(range(21)), "auto", None, ("regression", [], None)),
        (list(range(20)), "auto", None, ("multiclass", sorted(map(str, range(20))), None)),
        (list(range(21)), "classification", None, ("multiclass", sorted(map(str, range(21))), None)),
        ([1, 2, 3], "regression", None, ("regression", [], None)),
        ([0.5, 1.5], "auto", None, ("regression", [], None)),
    ],
)
def test_the_task_is_what_the_target_implies(
    make_context: MakeContext, tmp_path: Path, values: list[Any], task: str, positive: Any, expected: tuple[Any, ...]
) -> None:
    frame = example(len(values) * 20, target=values * 20)
    result = do_split(make_context, table(tmp_path, frame), task, positive=positive)
    assert (result.schema["task"], result.schema["classes"], result.schema["positive"]) == expected
    if expected[1]:
        assert set(result.train["target"]) == set(result.holdout["target"]) == set(expected[1])
    else:
        assert pd.api.types.is_numeric_dtype(result.train["target"])


def test_rows_without_a_target_are_dropped_and_counted(make_context: MakeContext, tmp_path: Path) -> None:
    target = [1.0, 0.0, None, 1.0, 0.0] * 20
    result = do_split(make_context, table(tmp_path, example(100, target=target)))
    assert result.outcome.facts["dropped_without_target"] == 20
    assert sum(result.schema["rows"].values()) == 80
    assert result.schema["classes"] == ["0", "1"]


@pytest.mark.parametrize(
    ("columns", "data", "how", "says"),
    [
        ({"target": ["a"] * 99 + ["b"]}, {}, {}, "class b has one row"),
        ({"target": ["a"] * 99 + ["b"]}, {}, {"strategy": "random"}, "hold-out"),
        ({"target": ["a"] * 50 + ["b"] * 50}, {}, {"strategy": "time"}, "only class b"),
        ({"target": ["a", "b"] * 45 + ["c"] * 10}, {}, {"strategy": "time"}, "c occurs only in the hold-out"),
        ({"when": 1}, {"timestamp": "when"}, {}, "the same when"),
        ({"when": [None] + [1] * 99}, {"timestamp": "when"}, {}, "1 rows have no when"),
        ({"when": "yesterday"}, {"timestamp": "when"}, {}, "neither dates nor numbers"),
        ({"shop": "a"}, {"group": "shop"}, {}, "all rows are of one shop"),
        ({"shop": [None] * 3 + ["a"] * 97}, {"group": "shop"}, {}, "3 rows have no shop"),
        ({}, {}, {"strategy": "group"}, "without a data.group"),
        ({"target": range(100)}, {}, {"strategy": "stratified"}, "quantity without classes"),
        ({}, {"positive": "maybe"}, {}, "the classes are no and yes"),
        ({"target": ["Yes", "yes"] * 50}, {"positive": "YES"}, {}, "the classes are Yes and yes"),
        ({"target": range(100)}, {"positive": 1}, {}, "the task is regression"),
        ({}, {"ignore": ["x", "row"]}, {}, "no column is left"),
        ({}, {"target": "tarket"}, {}, "no such column"),
    ],
)
def test_what_cannot_be_split_says_why(
    make_context: MakeContext, tmp_path: Path, columns: Any, data: Any, how: Any, says: str
) -> None:
    with pytest.raises(StepError, match=says) as caught:
        do_split(make_context, table(tmp_path, example(100, **columns)), how=how, **data)
    assert caught.value.remedy


def test_roles_are_names_of_columns() -> None:
    assert split.strategy_of("auto", Columns("t", None, "when", "shop", ()), "binary") == "group"
    assert split.strategy_of("auto", Columns("t", None, "when", None, ()), "binary") == "time"
    assert split.strategy_of("auto", Columns("t", None, None, None, ()), "regression") == "random"


# ── real data ────────────────────────────────────────────────────────────────────────────────────────────────

REAL: list[tuple[str, dict[str, Any], tuple[str, str, int, int, int]]] = [
    ("telco_customer_churn", {"target": "Churn", "id": "customerID"}, ("binary", "stratified", 5634, 1409, 19)),
    ("adult_income", {"target": "income"}, ("binary", "stratified", 26049, 6512, 14)),
    ("bike_sharing_hourly", {"target": "count", "timestamp": "date"}, ("regression", "time", 13891, 3488, 12)),
    ("elec2", {"target": "class", "how": {"strategy": "time"}}, ("binary", "time", 36250, 9062, 8)),
]


@pytest.mark.parametrize(("name", "data", "expected"), REAL)
def test_real_data(make_context: MakeContext, name: str, data: Any, expected: tuple[Any, ...]) -> None:
    result = do_split(make_context, DATA / f"{name}.csv", **data)
    schema = result.schema
    rows = schema["rows"]
    assert (schema["task"], schema["strategy"], rows["train"], rows["holdout"], len(result.features)) == expected


@pytest.mark.parametrize(
    ("name", "data", "metric", "at_least", "at_most"),
    [
        ("telco_customer_churn", {"target": "Churn", "id": "customerID"}, "roc_auc", 0.82, 0.87),
        ("adult_income", {"target": "income"}, "roc_auc", 0.91, 0.94),
        ("bike_sharing_hourly", {"target": "count"}, "r2", 0.9, 0.97),
        ("elec2", {"target": "class", "how": {"strategy": "time"}}, "roc_auc", 0.75, 0.95),
    ],
)
def test_a_plain_model_scores_on_the_hold_out_as_known(
    make_context: MakeContext, name: str, data: Any, metric: str, at_least: float, at_most: float
) -> None:
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
    from sklearn.metrics import r2_score, roc_auc_score
    from sklearn.preprocessing import OrdinalEncoder
    from threadpoolctl import threadpool_limits

    result = do_split(make_context, DATA / f"{name}.csv", **data)
    numbers = [f["name"] for f in result.schema["features"] if f["kind"] in ("numeric", "boolean")]
    words = [f["name"] for f in result.schema["features"] if f["kind"] == "categorical"]
    encoder = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1).fit(result.train[words].astype(str))

    def inputs(frame: pd.DataFrame) -> np.ndarray[Any, Any]:
        return np.hstack([frame[numbers].to_numpy(dtype=float), encoder.transform(frame[words].astype(str))])

    target = result.schema["target"]
    with threadpool_limits(1):  # threads that wait for a busy machine's cores take far longer than one
        if metric == "r2":
            regressor = HistGradientBoostingRegressor(random_state=0).fit(inputs(result.train), result.train[target])
            score = r2_score(result.holdout[target], regressor.predict(inputs(result.holdout)))
        else:
            classifier = HistGradientBoostingClassifier(max_iter=30, random_state=0)
            classifier.fit(inputs(result.train), result.train[target] == result.schema["positive"])
            truth = result.holdout[target] == result.schema["positive"]
            score = roc_auc_score(truth, classifier.predict_proba(inputs(result.holdout))[:, 1])
    assert at_least < score < at_most


# ── the newest rows, and what predictions turned out to be ───────────────────────────────────────────────────


def told(tmp_path: Path, *rows: tuple[str | None, str, object, str]) -> Path:
    """A file of labelled predictions: (id of the row, value of x, actual, time)."""
    frame = pd.DataFrame(
        [
            {"id": f"{n:032x}", "at": pd.Timestamp(at, tz="UTC"), "identity": identity, "actual": json.dumps(actual),
             "features": json.dumps({"x": x})}
            for n, (identity, x, actual, at) in enumerate(rows)
        ],
        columns=["id", "at", "identity", "actual", "features"],
    )  # fmt: skip
    frame.to_parquet(tmp_path / "feedback.parquet")
    return tmp_path / "feedback.parquet"


def split_with(
    make_context: MakeContext, tmp_path: Path, frame: pd.DataFrame, feedback: Path | None, **data: Any
) -> Result:
    spec = {"strategy": "auto", "holdout": 0.2, "seed": 42}
    inputs = {"table": table(tmp_path, frame), **({} if feedback is None else {"feedback": feedback})}
    context = make_context({**data, "split": spec}, inputs, OUTPUTS, "auto")
    return Result(split.run(context), dict(context.outputs))


def test_the_newest_rows_alone_are_used_and_the_newest_of_them_held_out(
    make_context: MakeContext, tmp_path: Path
) -> None:
    found = split_with(make_context, tmp_path, example(500), None, window={"rows": 100, "duration": None})
    assert list(found.train["row"]) == list(range(400, 480))
    assert list(found.holdout["row"]) == list(range(480, 500))
    assert found.schema["strategy"] == "time"
    assert "newest 100 of 500 rows" in found.outcome.summary


def test_a_duration_counts_from_the_newest_row(make_context: MakeContext, tmp_path: Path) -> None:
    when = pd.date_range("2024-01-01", periods=100, freq="1D").astype(str)
    frame = example(100, when=when).sample(frac=1, random_state=1)
    window = {"rows": None, "duration": 10 * 86_400.0}
    found = split_with(make_context, tmp_path, frame, None, timestamp="when", window=window)
    assert sorted([*found.train["row"], *found.holdout["row"]]) == list(range(90, 100))
    assert min(found.holdout["row"]) > max(found.train["row"])
    with pytest.raises(StepError, match="needs dates"):
        split_with(make_context, tmp_path, example(100), None, timestamp="row", window=window)


def test_feedback_adds_each_row_once_and_what_the_table_has_counts(make_context: MakeContext, tmp_path: Path) -> None:
    frame = example(100).assign(key=[f"k{n}" for n in range(100)])
    feedback = told(
        tmp_path,
        ("k99", 50, "yes", "2024-05-01"),  # the table knows it
        ("new", 51, "no", "2024-05-02"),  # told again below
        (None, 52, "yes", "2024-05-03"),
        ("new", 53, "yes", "2024-05-04"),
    )
    found = split_with(make_context, tmp_path, frame, feedback, id="key", window={"rows": 20, "duration": None})
    both = pd.concat([found.train, found.holdout], ignore_index=True)
    assert list(both["x"][-2:]) == [52, 53]
    assert list(both["target"][-2:]) == ["yes", "yes"]
    assert pd.isna(both["key"].iloc[-2]) and both["key"].iloc[-1] == "new"
    assert (found.outcome.facts["feedback"], found.outcome.facts["known"], len(both)) == (2, 102, 20)


def test_feedback_takes_its_place_in_time(make_context: MakeContext, tmp_path: Path) -> None:
    frame = example(20, when=pd.date_range("2024-01-01", periods=20, freq="1D").astype(str))
    feedback = told(tmp_path, (None, 50, "no", "2024-01-05T12:00"), (None, 51, "yes", "2024-02-01"))
    found = split_with(make_context, tmp_path, frame, feedback, timestamp="when")
    assert list(found.train["x"])[5] == 50
    assert list(found.holdout["x"])[-1] == 51
    with pytest.raises(StepError, match="rows of feedback have dates"):
        split_with(make_context, tmp_path, frame, feedback, timestamp="row")


def test_feedback_of_numbers_and_no_feedback(make_context: MakeContext, tmp_path: Path) -> None:
    frame = example(40).assign(target=np.linspace(0, 1, 40))
    found = split_with(make_context, tmp_path, frame, told(tmp_path, (None, 50, 7.5, "2024-01-01")))
    assert 7.5 in [*found.train["target"], *found.holdout["target"]]
    nothing = split_with(make_context, tmp_path, frame, told(tmp_path))
    assert nothing.outcome.facts["known"] == 40
