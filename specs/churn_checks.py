"""A gate of the example churn_against_champion: what share of customers would be called."""

import pandas as pd


def contacted(predictions: pd.DataFrame, holdout: pd.DataFrame) -> float:
    """The share of rows that are predicted to leave; `holdout` has the same rows with all their columns."""
    assert len(predictions) == len(holdout)
    return float((predictions["prediction"] == "Yes").mean())
