"""A page by Evidently: its own drift tests and summaries of a batch beside a reference.

It shows what Evidently's users know; no decision hangs on it. Evidently corrects for no multiplicity and asks for no
least effect, and chooses its tests by the number of rows, so that they are named here: Kolmogorov and Smirnov's for
numbers, chi-squared for categories, at the alpha that is given. Its texts' tests train models and load word lists:
texts are compared by their length, dates as seconds, as everywhere in the engine.

Evidently (Apache 2.0) brings 30 packages, plotly and a web server among them: an extra of its own. What it sends home
is sent by its own command and server, which are not touched.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from engine.errors import NotSupportedError, StepError
from engine.stats.drift import Column
from engine.stats.drift.columns import category, is_gap, plain_values

if TYPE_CHECKING:
    import pandas as pd

LEAST = 5  # values that a column must have on both sides: chi-squared and KS of nothing are errors there


def refuse_without_evidently() -> None:
    """Raise NotSupportedError where Evidently is not installed."""
    if find_spec("evidently") is None:
        raise NotSupportedError(
            "a page by Evidently needs Evidently, which is not installed",
            remedy="pip install 'engine[evidently]', or write the engine's own page: --html FILE",
        )


def evidently_page(reference: Sequence[Column], batch: Sequence[Column], alpha: float, about: Mapping[str, Any]) -> str:
    """HTML that needs nothing else. Both have the same number of rows in all of their columns; `about`: what it is of.

    Columns are compared that both have, with at least `LEAST` values on each side. Raises NotSupportedError where
    Evidently is missing, StepError where it fails.
    """
    refuse_without_evidently()
    then, now = _frame(reference), _frame(batch)
    kinds = {_name(column): column.is_numeric for column in reference}
    shared = [name for name in kinds if name in now.columns]
    usable = [name for name in shared if min(then[name].count(), now[name].count()) >= LEAST]
    if not usable:
        raise StepError("no column has enough values to be compared", remedy="Wait for more predictions.")
    numbers = [name for name in shared if kinds[name]]
    others = [name for name in shared if not kinds[name]]
    try:
        return _page(then[shared], now[shared], numbers, others, usable, alpha, about)
    except Exception as error:  # whatever it is that it does not like
        raise StepError(
            f"Evidently failed: {error}", remedy="The engine's own page needs it not: --html FILE"
        ) from error


def _page(
    then: pd.DataFrame,
    now: pd.DataFrame,
    numbers: list[str],
    others: list[str],
    usable: list[str],
    alpha: float,
    about: Mapping[str, Any],
) -> str:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from evidently import DataDefinition, Dataset, Report
        from evidently.presets import DataDriftPreset, DataSummaryPreset

        how = DataDefinition(numerical_columns=numbers, categorical_columns=others)
        before, after = (Dataset.from_pandas(frame, data_definition=how) for frame in (then, now))
        drift = DataDriftPreset(columns=usable, num_method="ks", cat_method="chisquare", threshold=alpha)
        report = Report([drift, DataSummaryPreset(columns=usable)], metadata=dict(about))
        page: str = report.run(after, before).get_html_str(as_iframe=False)
    return page


def _frame(columns: Sequence[Column]) -> pd.DataFrame:
    import pandas as pd

    frame: pd.DataFrame = pd.DataFrame({_name(column): _values(column) for column in columns})
    return frame


def _values(column: Column) -> Any:
    """Numbers with NaN, or names of categories with None."""
    import numpy as np

    if column.is_numeric:
        numbers = column.numbers()
        return np.where(np.isfinite(numbers), numbers, np.nan)
    return [None if is_gap(value) else category(value) for value in plain_values(column.values)]


def _name(column: Column) -> str:
    """What the model said stands beside features that may be called the same."""
    return column.name if column.role == "feature" else f"{column.name} (of the model)"
