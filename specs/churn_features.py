"""A step of the user's own: reads the snapshot, adds a column, writes the table that is split."""

from __future__ import annotations

import sys

import pandas as pd

if __name__ == "__main__":
    source, target = sys.argv[1:]
    table = pd.read_csv(source)
    table["charge_per_month"] = pd.to_numeric(table["TotalCharges"], errors="coerce") / table["tenure"].clip(lower=1)
    table.to_parquet(target)
