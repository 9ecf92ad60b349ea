"""Columns of mixed kinds → numbers, suited to the estimator that learns from them.

Everything is scikit-learn's own, configured: a model made here loads wherever scikit-learn is, without this package.

- numbers: as they are with gaps (boosting), else the median in place of gaps, scaled where size matters;
- categories: ordinal numbers (boosting; natively categorical in histogram boosting), else one column for each
  frequent category; a missing value is a category of its own, an unseen one counts as rare or missing;
- booleans: 0 and 1; dates: seconds since 1970 and their place in day, week and year; texts: TF-IDF.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from engine.steps.estimators import Family
from engine.steps.schema import Schema

if TYPE_CHECKING:
    import pandas as pd

MISSING = "(missing)"
MOST_CATEGORIES = 100  # one-hot columns of one feature; the rarer ones share one
MOST_ORDINALS = 254  # what histogram boosting can tell apart
WORDS = 20_000  # terms of a text kept for linear models
WORDS_FOR_TREES = 300
MANY_ROWS = 1000  # from here on, a term must occur in two texts

DAY, WEEK, YEAR = 86_400, 7 * 86_400, 31_556_952  # seconds; the year of 365.2425 days
MONDAY = 4 * DAY  # 1970-01-05, the first Monday
_CYCLES = ((DAY, 0), (WEEK, MONDAY), (YEAR, 0))
_NOT_A_TIME = float(-(2**63))


def columns_for(schema: Schema, features: pd.DataFrame, family: Family, *, sparse: bool) -> tuple[Any, list[int]]:
    """An unfitted ColumnTransformer for these features, and which of its output columns are native categories.

    `sparse` says whether the estimator takes sparse matrices; they are made only of texts.
    """
    from sklearn.compose import ColumnTransformer

    categories = schema.names("categorical")
    parts: list[tuple[str, Any, Any]] = []
    if categories:
        parts.append(("categories", _categories(family), categories))
    if numbers := schema.names("numeric"):
        parts.append(("numbers", _numbers(family), numbers))
    if booleans := schema.names("boolean"):
        parts.append(("booleans", _booleans(family), booleans))
    if dates := schema.names("date"):
        parts.append(("dates", _dates(family), dates))
    for name in schema.names("text"):
        parts.append((f"text:{name}".replace("__", "_"), _text(family, len(features)), [name]))
    texts = bool(schema.names("text")) and sparse
    native = list(range(len(categories))) if family == "histogram" else []
    return ColumnTransformer(parts, sparse_threshold=0.3 if texts else 0.0), native


def _numbers(family: Family) -> Any:
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline

    if family in ("histogram", "booster"):
        return "passthrough"
    imputer = SimpleImputer(strategy="median", add_indicator=True, keep_empty_features=True)
    return imputer if family == "forest" else make_pipeline(imputer, _scaler(family))


def _scaler(family: Family) -> Any:
    from sklearn.preprocessing import MinMaxScaler, StandardScaler

    return MinMaxScaler(clip=True) if family == "counts" else StandardScaler()


def _categories(family: Family) -> Any:
    import numpy as np
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder

    encoder: Any
    if family in ("histogram", "booster"):
        encoder = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=np.nan, max_categories=MOST_ORDINALS)
    else:
        encoder = OneHotEncoder(
            handle_unknown="infrequent_if_exist", max_categories=MOST_CATEGORIES, sparse_output=False
        )
    return make_pipeline(_as_array("object"), _filled(MISSING), encoder)


def _booleans(family: Family) -> Any:
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline

    as_numbers = _as_array("float64")
    if family in ("histogram", "booster"):
        return as_numbers
    return make_pipeline(
        as_numbers, SimpleImputer(strategy="most_frequent", add_indicator=True, keep_empty_features=True)
    )


def _dates(family: Family) -> Any:
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import FeatureUnion, make_pipeline

    trees = family in ("histogram", "booster", "forest")
    seconds = make_pipeline(
        _as_array("datetime64[s]"), _as_array("float64"), SimpleImputer(missing_values=_NOT_A_TIME, strategy="median")
    )
    places = [(f"cycle{i}", part) for i, part in enumerate(_places(trees))]
    trend = "passthrough" if trees else _scaler(family)
    return make_pipeline(seconds, FeatureUnion([("trend", trend), *places]))


def _places(trees: bool) -> list[Any]:
    """Place in day, week (from Monday) and year: seconds for trees, which cut, else points on a circle."""
    if trees:
        return [_interpolated([start, start + period - 1], [0, period - 1], period) for period, start in _CYCLES]
    return [_circle(period, start, quarter) for period, start in _CYCLES for quarter in (0.0, 0.25)]


def _circle(period: int, start: int, turn: float) -> Any:
    import numpy as np

    steps = np.arange(48) / 48
    heights = 0.5 + 0.5 * np.sin(2 * np.pi * (steps + turn))
    return _interpolated((start + steps * period).tolist(), heights.tolist(), period)


def _interpolated(xp: list[float], fp: list[float], period: int) -> Any:
    import numpy as np
    from sklearn.preprocessing import FunctionTransformer

    return FunctionTransformer(np.interp, kw_args={"xp": xp, "fp": fp, "period": period})


def _text(family: Family, rows: int) -> Any:
    import numpy as np
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import FunctionTransformer

    linear = family in ("scaled", "counts")
    vectors = TfidfVectorizer(
        sublinear_tf=True,
        strip_accents="unicode",
        ngram_range=(1, 2) if linear else (1, 1),
        max_features=WORDS if linear else WORDS_FOR_TREES,
        min_df=2 if rows >= MANY_ROWS else 1,
    )
    return make_pipeline(_as_array("object"), _filled(""), FunctionTransformer(np.ravel), vectors)


def _as_array(dtype: str) -> Any:
    import numpy as np
    from sklearn.preprocessing import FunctionTransformer

    return FunctionTransformer(np.asarray, kw_args={"dtype": dtype})


def _filled(value: str) -> Any:
    """NaN and None alike become `value`: a table read from a file has the one, a JSON request the other."""
    import numpy as np
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline

    return make_pipeline(
        *(
            SimpleImputer(missing_values=gap, strategy="constant", fill_value=value, keep_empty_features=True)
            for gap in (np.nan, None)
        )
    )
