"""Compiled models answer as scikit-learn does: for every kind of model, transformer and value, or not at all."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.compose import ColumnTransformer
from sklearn.decomposition import PCA
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import RandomForestClassifier
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.feature_selection import SelectKBest
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    KBinsDiscretizer,
    MaxAbsScaler,
    MinMaxScaler,
    OneHotEncoder,
    OrdinalEncoder,
    PolynomialFeatures,
    RobustScaler,
    StandardScaler,
)
from threadpoolctl import threadpool_limits

from engine.errors import StepError
from engine.serving.compiled import Compiled, NotCompiled, Plain, columns_of, compile_model, model
from engine.serving.compiled.dates import microseconds
from engine.steps import estimators, train
from engine.steps.model_files import LoadedModel, Origin, save
from engine.steps.schema import Feature, Schema, Table
from engine.steps.table import read_table
from engine.testing.models import model_in

pytestmark = pytest.mark.usefixtures("one_thread")
DATA = Path(__file__).parents[1] / "data"
KINDS = {"age": "numeric", "pay": "numeric", "city": "categorical", "member": "boolean", "joined": "date"}


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """Threads of scikit-learn that wait for each other cost more than they bring."""
    with threadpool_limits(1):
        yield


def rows_of_people(rows: int = 400, seed: int = 3) -> pd.DataFrame:
    """Every kind of column, with gaps, and a text."""
    generator = np.random.default_rng(seed)
    cities = np.array(["Bern", "Rom", "Oslo", "Bonn", "Graz"], dtype=object)
    words = np.array(["good service and kind people", "slow answer never again", "it was fine I think"], dtype=object)
    texts = [f"{text} {number % 50}" for number, text in enumerate(generator.choice(words, rows))]
    moments = pd.Timestamp("2021-01-01") + pd.to_timedelta(generator.integers(0, 60_000_000, rows), unit="s")
    frame = pd.DataFrame(
        {
            "age": generator.normal(40, 12, rows).round(1),
            "pay": generator.integers(0, 9000, rows).astype(float),
            "city": generator.choice(cities, rows, p=[0.4, 0.3, 0.2, 0.09, 0.01]),
            "member": (generator.random(rows) < 0.4).astype(object),
            "joined": moments.astype("datetime64[us]"),
            "opinion": np.array(texts, dtype=object),
        }
    )
    for column, share in (("age", 0.1), ("city", 0.1), ("member", 0.1), ("joined", 0.05), ("opinion", 0.05)):
        frame.loc[generator.random(rows) < share, column] = pd.NaT if column == "joined" else np.nan
    return frame


def target_of(frame: pd.DataFrame, task: str) -> pd.Series[Any]:
    noise = np.random.default_rng(5).normal(0, 0.7, len(frame))
    push = 3 + frame["age"].fillna(40) / 20 + (frame["city"] == "Rom") + (frame["member"] == True) + noise  # noqa: E712
    if task == "regression":
        return push * 10
    places = np.digitize(push, [6.0] if task == "binary" else [5.5, 6.5])
    return pd.Series(np.array(["no", "yes", "zz"], dtype=object)[places], index=frame.index)


def schema_of(kinds: Mapping[str, str], task: str, target: pd.Series[Any]) -> Schema:
    classes = () if task == "regression" else tuple(sorted(target.unique()))
    features = tuple(Feature(name, kind) for name, kind in kinds.items())
    positive = classes[1] if task == "binary" else None
    return Schema(task, "target", classes, positive, features, {"train": len(target)}, None, "auto", {})


def loaded_of(fitted: Any, kinds: Mapping[str, str], task: str, target: pd.Series[Any]) -> LoadedModel:
    meta = Origin(schema_of(kinds, task, target), "x", 0, {}).to_meta() | {"format": "skops", "file": None}
    return LoadedModel(fitted, meta)


@cache
def trained(name: str, task: str, *, text: bool = False, **params: Any) -> tuple[LoadedModel, pd.DataFrame]:
    """A pipeline as the train step makes it, and rows that it has not seen."""
    frame = rows_of_people()
    kinds = KINDS | ({"opinion": "text"} if text else {})
    features, target = frame[list(kinds)].iloc[:250], target_of(frame, task).iloc[:250]
    schema = schema_of(kinds, task, target)
    chosen = estimators.find(estimators.chosen(name, schema), task)
    fitted = train.model_of(chosen, params, Table(features, target, features), schema, 0, prepared=True)
    return loaded_of(fitted.fit(features, target), kinds, task, target), frame[list(kinds)].iloc[250:]


def of_steps(*steps: Any, task: str = "binary", kinds: Mapping[str, str] = KINDS) -> tuple[LoadedModel, pd.DataFrame]:
    """A pipeline that a user wrote."""
    frame = rows_of_people()
    features, target = frame[list(kinds)].iloc[:250], target_of(frame, task).iloc[:250]
    return loaded_of(make_pipeline(*steps).fit(features, target), kinds, task, target), frame[list(kinds)].iloc[250:]


def compiled_of(loaded: LoadedModel, sample: pd.DataFrame) -> Compiled:
    found = compile_model(loaded, sample)
    assert isinstance(found, Compiled), found
    return found


def assert_same(expected: Any, found: Any) -> None:
    labels, shares = np.asarray(expected[0]).reshape(-1).tolist(), expected[1]
    if shares is None and labels and isinstance(labels[0], float):
        np.testing.assert_allclose(found[0], labels, rtol=1e-12, atol=1e-12)
    else:
        assert found[0] == labels
    assert (shares is None) == (found[1] is None)
    if shares is not None:
        np.testing.assert_allclose(found[1], shares, rtol=0, atol=1e-12)


ENSEMBLE = "sklearn.ensemble."
LINEAR = "sklearn.linear_model."
CLASSIFIERS: list[tuple[str, dict[str, Any]]] = [
    ("auto", {"max_iter": 20}),
    ("auto", {"max_iter": 20, "categorical_features": None}),
    (f"{ENSEMBLE}RandomForestClassifier", {"n_estimators": 15}),
    (f"{ENSEMBLE}ExtraTreesClassifier", {"n_estimators": 15, "max_depth": 5}),
    (f"{ENSEMBLE}GradientBoostingClassifier", {"n_estimators": 12}),
    ("sklearn.tree.DecisionTreeClassifier", {}),
    ("sklearn.tree.ExtraTreeClassifier", {}),
    (f"{LINEAR}LogisticRegression", {}),
    (f"{LINEAR}LogisticRegression", {"solver": "liblinear"}),
    (f"{LINEAR}SGDClassifier", {"loss": "log_loss"}),
    (f"{LINEAR}SGDClassifier", {}),
    (f"{LINEAR}RidgeClassifier", {}),
    (f"{LINEAR}Perceptron", {}),
    ("sklearn.svm.LinearSVC", {}),
    ("sklearn.dummy.DummyClassifier", {}),
]
REGRESSORS: list[tuple[str, dict[str, Any]]] = [
    ("auto", {"max_iter": 20}),
    ("auto", {"max_iter": 20, "loss": "gamma"}),
    (f"{ENSEMBLE}RandomForestRegressor", {"n_estimators": 15}),
    (f"{ENSEMBLE}GradientBoostingRegressor", {"n_estimators": 12}),
    ("sklearn.tree.DecisionTreeRegressor", {}),
    (f"{LINEAR}LinearRegression", {}),
    (f"{LINEAR}Ridge", {}),
    (f"{LINEAR}Lasso", {}),
    (f"{LINEAR}HuberRegressor", {"max_iter": 1000}),
    ("sklearn.svm.LinearSVR", {"max_iter": 100_000}),
    ("sklearn.dummy.DummyRegressor", {}),
]


@pytest.mark.parametrize("task", ["binary", "multiclass"])
@pytest.mark.parametrize(("name", "params"), CLASSIFIERS, ids=lambda value: str(value).rpartition(".")[2])
def test_classifiers(name: str, params: dict[str, Any], task: str) -> None:
    if params.get("solver") == "liblinear" and task == "multiclass":
        pytest.skip("liblinear has two classes only")
    loaded, sample = trained(name, task, **params)
    compiled = compiled_of(loaded, sample)
    assert not compiled.is_own
    assert_same(loaded.answers(sample), compiled.fast_answers(columns_of(sample), len(sample)))


@pytest.mark.parametrize(("name", "params"), REGRESSORS, ids=lambda value: str(value).rpartition(".")[2])
def test_regressors(name: str, params: dict[str, Any]) -> None:
    loaded, sample = trained(name, "regression", **params)
    compiled = compiled_of(loaded, sample)
    assert not compiled.is_own
    assert_same(loaded.answers(sample), compiled.fast_answers(columns_of(sample), len(sample)))


@pytest.mark.parametrize("name", ["auto", f"{ENSEMBLE}RandomForestClassifier", f"{LINEAR}LogisticRegression"])
def test_texts_beside_other_columns(name: str) -> None:
    loaded, sample = trained(name, "binary", text=True)
    compiled = compiled_of(loaded, sample)
    assert_same(loaded.answers(sample), compiled.fast_answers(columns_of(sample), len(sample)))


@pytest.mark.parametrize("name", ["sklearn.svm.SVC", "sklearn.naive_bayes.MultinomialNB", "xgboost.XGBClassifier"])
def test_other_estimators_keep_their_own_predict_on_prepared_rows(name: str) -> None:
    if name.startswith("xgboost"):
        pytest.importorskip("xgboost")
    loaded, sample = trained(name, "binary", text=name.endswith("NB"))
    compiled = compiled_of(loaded, sample)
    assert compiled.is_own
    assert_same(loaded.answers(sample), compiled.fast_answers(columns_of(sample), len(sample)))


CATEGORIES, NUMBERS = ["city"], ["age", "pay"]
IMPUTED = make_pipeline(SimpleImputer(), StandardScaler())
PREPARATIONS: dict[str, Callable[[], Any]] = {
    "a column of zeros and ones is dropped": lambda: (
        [("c", OneHotEncoder(drop="first", handle_unknown="ignore"), CATEGORIES), ("n", IMPUTED, NUMBERS)],
        "drop",
    ),
    "unseen categories are refused": lambda: ([("c", OneHotEncoder(), CATEGORIES), ("n", IMPUTED, NUMBERS)], "drop"),
    "rare ones are one": lambda: (
        [("c", OneHotEncoder(min_frequency=20, handle_unknown="infrequent_if_exist"), CATEGORIES)],
        "drop",
    ),
    "ordinals": lambda: (
        [
            (
                "c",
                make_pipeline(
                    SimpleImputer(strategy="most_frequent"),
                    OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1),
                    MinMaxScaler(),
                ),
                CATEGORIES,
            )
        ],
        "drop",
    ),
    "numbers as categories": lambda: (
        [
            (
                "n",
                make_pipeline(SimpleImputer(strategy="median"), OneHotEncoder(handle_unknown="ignore")),
                ["age"],
            ),
            ("p", OneHotEncoder(handle_unknown="ignore", max_categories=10), ["pay"]),
        ],
        "drop",
    ),
    "scales": lambda: (
        [
            ("r", make_pipeline(SimpleImputer(add_indicator=True), RobustScaler()), ["age"]),
            ("m", make_pipeline(MaxAbsScaler(), MinMaxScaler(clip=True), StandardScaler(with_mean=False)), [1]),
        ],
        "drop",
    ),
    "columns by position, and the rest": lambda: (
        [("a", IMPUTED, slice(0, 1)), ("x", "drop", ["city", "member", "joined"])],
        "passthrough",
    ),
    "functions, unions and own transforms": lambda: (
        [
            (
                "n",
                make_pipeline(
                    SimpleImputer(strategy="constant", fill_value=1.0),
                    FeatureUnion(
                        [
                            ("logarithms", FunctionTransformer(np.sqrt)),
                            ("squares", PolynomialFeatures(2)),
                            ("bins", KBinsDiscretizer(4, encode="ordinal", strategy="uniform")),
                            ("axes", make_pipeline(StandardScaler(), PCA(2))),
                            ("best", SelectKBest(k=1)),
                        ]
                    ),
                    StandardScaler(),
                ),
                ["pay", "age"],
            )
        ],
        "drop",
    ),
}


@pytest.mark.parametrize("name", PREPARATIONS)
def test_transformers_that_a_user_chose(name: str) -> None:
    parts, remainder = PREPARATIONS[name]()
    loaded, sample = of_steps(ColumnTransformer(parts, remainder=remainder), LogisticRegression(max_iter=2000))
    if name == "functions, unions and own transforms":
        sample = sample.assign(age=sample["age"].abs(), pay=sample["pay"].abs())
    compiled = compiled_of(loaded, sample)
    assert not compiled.is_own
    assert_same(loaded.answers(sample), compiled.fast_answers(columns_of(sample), len(sample)))


@pytest.mark.parametrize(
    "vectoriser",
    [
        CountVectorizer(),
        CountVectorizer(binary=True, ngram_range=(1, 2)),
        TfidfVectorizer(norm="l1", use_idf=False),
        TfidfVectorizer(analyzer="char", binary=True),
        TfidfVectorizer(norm=None, stop_words="english", max_features=10),
    ],
    ids=str,
)
def test_texts_of_every_weight(vectoriser: Any) -> None:
    frame = rows_of_people().fillna({"opinion": ""})
    target = target_of(frame, "binary")
    pipeline = Pipeline([("t", ColumnTransformer([("o", vectoriser, "opinion")])), ("m", LogisticRegression())])
    loaded = loaded_of(pipeline.fit(frame[["opinion"]], target), {"opinion": "text"}, "binary", target)
    compiled = compiled_of(loaded, frame[["opinion"]])
    assert_same(loaded.answers(frame), compiled.fast_answers(columns_of(frame[["opinion"]]), len(frame)))


def test_search_for_parameters_and_models_without_preparation() -> None:
    frame = rows_of_people().fillna({"age": 30.0})[NUMBERS]
    target = target_of(rows_of_people(), "binary")
    kinds = dict.fromkeys(NUMBERS, "numeric")
    for estimator in (RandomForestClassifier(5, random_state=0), DummyClassifier(strategy="constant", constant="no")):
        loaded = loaded_of(estimator.fit(frame, target), kinds, "binary", target)
        assert not compiled_of(loaded, frame).is_own
    search = GridSearchCV(
        make_pipeline(StandardScaler(), LogisticRegression()), {"logisticregression__C": [1, 2]}, cv=2
    )
    compiled = compiled_of(loaded_of(search.fit(frame, target), kinds, "binary", target), frame)
    assert_same((search.predict(frame), search.predict_proba(frame)), compiled.answers(columns_of(frame), len(frame)))


@pytest.mark.parametrize(
    ("table", "target", "name", "params"),
    [
        ("telco_customer_churn", "Churn", "auto", {"max_iter": 15}),
        ("telco_customer_churn", "Churn", f"{ENSEMBLE}RandomForestClassifier", {"n_estimators": 10}),
        ("adult_income", "income", "auto", {"max_iter": 15}),
        ("adult_income", "income", f"{LINEAR}LogisticRegression", {}),
        ("bike_sharing_hourly", "count", "auto", {"max_iter": 15}),
        ("bike_sharing_hourly", "count", f"{LINEAR}Ridge", {}),
    ],
)
def test_real_data_after_saving_and_loading(
    tmp_path: Path, table: str, target: str, name: str, params: dict[str, Any]
) -> None:
    pd.read_csv(DATA / f"{table}.csv").sample(900, random_state=0).to_csv(tmp_path / "rows.csv", index=False)
    frame, kinds = read_table(tmp_path / "rows.csv")
    task = "regression" if target == "count" else "binary"
    truth = frame[target].astype(float if task == "regression" else object)
    features = {name: kind for name, kind in kinds.items() if name not in (target, "customerID")}
    schema = schema_of(features, task, truth)
    rows = frame[list(features)]
    seen, unseen = Table(rows[:700], truth[:700], rows[:700]), rows[700:]
    chosen = estimators.find(estimators.chosen(name, schema), task)
    fitted = train.model_of(chosen, params, seen, schema, 0, prepared=True).fit(seen.features, seen.target)
    save(fitted, tmp_path / "model", Origin(schema, name, 0, {}), seen.features, tmp_path)
    loaded = model_in(tmp_path / "model", tmp_path / "private")

    compiled = compiled_of(loaded, unseen)

    assert not compiled.is_own
    columns = columns_of(unseen)
    assert_same(loaded.answers(unseen), compiled.fast_answers(columns, len(unseen)))
    one = {name: values[7:8] for name, values in columns.items()}
    assert_same(loaded.answers(unseen.iloc[7:8]), compiled.fast_answers(one, 1))


VALUES: dict[str, st.SearchStrategy[Any]] = {
    "numeric": st.none()
    | st.integers(-10, 10_000)
    | st.floats(allow_nan=False)
    | st.sampled_from(["7", "x", True, 10**400]),
    "categorical": st.none() | st.sampled_from(["Bern", "Rom", "Graz", "(missing)", ""]) | st.text() | st.integers(),
    "boolean": st.none() | st.booleans() | st.sampled_from([0, 1.0, 2, "true"]),
    "date": st.none()
    | st.datetimes().map(lambda moment: moment.isoformat())
    | st.sampled_from(["2021-02-30", "31.12.2021", "2021/05/01", "2021-06-01T10:00+02:00", "soon"]),
    "text": st.none() | st.text() | st.sampled_from(["good good kind 7", "Slow ÀNSWER again", "people" * 3]),
}


@pytest.mark.parametrize(
    ("name", "task"),
    [
        ("auto", "binary"),
        (f"{ENSEMBLE}RandomForestClassifier", "multiclass"),
        (f"{LINEAR}LogisticRegression", "multiclass"),
        ("auto", "regression"),
    ],
)
@settings(max_examples=15)
@given(data=st.data())
def test_any_values_are_answered_or_refused_alike(name: str, task: str, data: st.DataObject) -> None:
    compiled, plain = proven(name, task)
    kinds = {feature["name"]: feature["kind"] for feature in plain.loaded.meta["features"]}
    n = data.draw(st.integers(1, 4))
    columns = {c: data.draw(st.lists(VALUES[kind], min_size=n, max_size=n)) for c, kind in kinds.items()}
    try:
        with np.errstate(over="ignore", invalid="ignore"):  # scikit-learn sums what is too large for a float32
            expected = plain.answers(columns, n)
    except (StepError, ValueError) as refusal:
        with np.errstate(over="ignore", invalid="ignore"), pytest.raises(type(refusal)) as found:
            compiled.answers(columns, n)
        assert str(found.value) == str(refusal)
    else:
        with np.errstate(over="ignore", invalid="ignore"):
            assert_same(expected, compiled.answers(columns, n))


@cache
def proven(name: str, task: str) -> tuple[Compiled, Plain]:
    params = {"n_estimators": 10} if "Forest" in name else {}
    loaded, sample = trained(name, task, text="Logistic" in name, **params)
    return compiled_of(loaded, sample), Plain(loaded, sample)


def test_usual_gaps_and_unseen_values_stay_fast() -> None:
    for name, task in (("auto", "binary"), (f"{LINEAR}LogisticRegression", "multiclass")):
        compiled, plain = proven(name, task)
        columns: dict[str, list[Any]] = {n: [None, None] for n in plain.loaded.features}
        columns |= {"city": ["Atlantis", None], "age": [3, None], "joined": ["2024-05-01", None]}
        assert_same(plain.answers(columns, 2), compiled.fast_answers(columns, 2))


def test_batches_are_answered_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded, sample = trained(f"{ENSEMBLE}RandomForestClassifier", "binary", n_estimators=15)
    whole = compiled_of(loaded, sample)
    monkeypatch.setattr(model, "_CELLS", 100)
    pieces = compiled_of(loaded, sample)
    columns = {name: values * 20 for name, values in columns_of(sample).items()}
    n = len(sample) * 20
    expected, found = whole.fast_answers(columns, n), pieces.fast_answers(columns, n)
    assert found[0] == expected[0]
    assert np.array_equal(found[1], expected[1])  # type: ignore[arg-type]


def test_what_scikit_learn_refuses_is_refused() -> None:
    frame = rows_of_people().fillna({"age": 30.0})[NUMBERS]
    target = target_of(rows_of_people(), "binary")
    for estimator in (LogisticRegression(), RandomForestClassifier(5, random_state=0, max_depth=3)):
        loaded = loaded_of(estimator.fit(frame, target), dict.fromkeys(NUMBERS, "numeric"), "binary", target)
        compiled = compiled_of(loaded, frame)
        value = None if isinstance(estimator, LogisticRegression) else 1e300
        with np.errstate(over="ignore"), pytest.raises(ValueError, match=r"NaN|too large"):
            compiled.answers({"age": [value], "pay": [1.0]}, 1)


def test_all_wrong_values_are_named_at_once() -> None:
    compiled, _ = proven("auto", "binary")
    columns = {"age": ["old"], "pay": [[1]], "city": [{}], "member": ["yes"], "joined": ["soon"]}
    with pytest.raises(StepError) as found:
        compiled.answers(columns, 1)
    for name in columns:
        assert name in str(found.value)
    with pytest.raises(StepError, match="lack pay, city, member, joined"):
        compiled.answers({"age": [1]}, 1)


def test_a_model_that_answers_differently_is_not_compiled() -> None:
    loaded, sample = of_steps(ColumnTransformer([("n", IMPUTED, NUMBERS)]), LogisticRegression())
    estimator: Any = loaded.predictor
    last = estimator.steps[-1][1]
    own = type(last).predict_proba
    last.predict_proba = lambda rows: own(last, rows) * 0.999
    found = compile_model(loaded, sample)
    assert isinstance(found, NotCompiled)
    assert found.reason.startswith("on the sample probabilities differ by")


def test_a_difference_only_on_missing_values_is_found() -> None:
    imputer = SimpleImputer(add_indicator=True)
    loaded, sample = of_steps(ColumnTransformer([("n", imputer, NUMBERS)]), LogisticRegression())
    estimator: Any = loaded.predictor
    last = estimator.steps[-1][1]
    own = type(last).predict
    last.predict = lambda rows: np.where(rows[:, -1] == 1, "no more", own(last, rows))
    found = compile_model(loaded, sample.dropna())
    assert isinstance(found, NotCompiled)
    assert "rows with missing values" in found.reason


class Odd(ClassifierMixin, BaseEstimator):
    """An estimator that nobody knows."""

    def fit(self, X: Any, y: Any) -> Odd:
        self.classes_ = np.unique(y)
        return self

    def predict(self, X: Any) -> Any:
        return np.full(len(X), self.classes_[0], dtype=object)


class Halved(StandardScaler):
    """A subclass that does something else."""

    def transform(self, X: Any, copy: Any = None) -> Any:
        return super().transform(X, copy) / 2


def test_unknown_parts_fall_back_with_a_reason() -> None:
    numbers = ColumnTransformer([("n", IMPUTED, NUMBERS)])
    framed = ColumnTransformer([("n", make_pipeline(StandardScaler()), NUMBERS)]).set_output(transform="pandas")
    halved = ColumnTransformer([("n", make_pipeline(SimpleImputer(), Halved()), NUMBERS)])
    cases = [
        (of_steps(numbers, Odd()), "Odd is not known"),
        (of_steps(halved, LogisticRegression()), "Halved is not known"),
        (of_steps(numbers, DummyClassifier(strategy="stratified")), "DummyClassifier that draws lots"),
        (of_steps(framed, SimpleImputer(), LogisticRegression()), "ColumnTransformer gives DataFrames"),
    ]
    for (loaded, sample), reason in cases:
        assert compile_model(loaded, sample) == NotCompiled(reason)
        columns, n = columns_of(sample), len(sample)
        found = Plain(loaded, sample).answers(columns, n)
        if "lots" not in reason:
            assert_same(loaded.answers(sample), found)


def test_nothing_is_compiled_without_proof_or_knowledge_of_the_format() -> None:
    loaded, sample = trained(f"{LINEAR}LogisticRegression", "binary")
    assert compile_model(loaded, sample.iloc[:0]) == NotCompiled("there are no rows to prove it with")
    foreign = LoadedModel(loaded.predictor, {**loaded.meta, "format": "onnx"})
    assert compile_model(foreign, sample) == NotCompiled("a model in the format onnx")


def test_classes_come_in_the_order_of_the_model() -> None:
    loaded, sample = trained(f"{LINEAR}LogisticRegression", "multiclass")
    turned = LoadedModel(loaded.predictor, {**loaded.meta, "classes": ["zz", "no", "yes"]})
    compiled = compiled_of(turned, sample)
    assert_same(turned.answers(sample), compiled.answers(columns_of(sample), len(sample)))


def test_plain_rows_have_the_types_of_training() -> None:
    frame = rows_of_people()
    frame = frame.astype({name: object for name in frame.columns if pd.api.types.is_string_dtype(frame[name])})
    kinds = {**KINDS, "opinion": "text"}
    whole = frame.assign(pay=frame["pay"].astype("int64"), member=frame["member"] == True)  # noqa: E712
    loaded = loaded_of(None, kinds, "binary", target_of(frame, "binary"))
    for sample in (frame, whole):
        rebuilt = Plain(loaded, sample).frame(columns_of(sample), len(sample))
        pd.testing.assert_frame_equal(rebuilt, sample)


@given(st.datetimes(pd.Timestamp("1700-01-01"), pd.Timestamp("2200-01-01")), st.integers(0, 7))
def test_dates_are_those_of_training(moment: Any, form: int) -> None:
    text = [
        moment.isoformat(),
        moment.isoformat() + "Z",
        moment.isoformat(" ", "seconds"),
        moment.isoformat(timespec="minutes") + "+0530",
        moment.isoformat(timespec="milliseconds") + "-11:00",
        moment.strftime("%Y-%m-%d").zfill(10),
        moment.isoformat(timespec="microseconds") + "789",
        moment.isoformat("T", "minutes"),
    ][form]
    expected = pd.to_datetime([text], format="ISO8601", utc=True).tz_localize(None).as_unit("us")[0]
    assert microseconds(text) == int(expected.to_datetime64().astype("int64"))


@pytest.mark.parametrize(
    "text", ["", "2021", "2021-13-01", "2021-02-29", "01/02/2021", "2021-01-01T25:00", "2021-01-01T10:00+24:00", "x"]
)
def test_what_is_no_date_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        microseconds(text)
    assert math.isfinite(microseconds("2021-01-01"))
