"""How alike a classifier treats groups: demographic parity, equal opportunity, equalized odds, with intervals.

Demographic parity compares the groups' selection rates, equal opportunity their true positive rates, equalized odds
both true and false positive rates (Hardt, Price and Srebro 2016; the worse of the two counts, as in fairlearn, whose
figures these are). Intervals by the percentile bootstrap over the counts of (group, truth, prediction).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from engine.stats.bootstrap import CONFIDENCE, percentile_interval, resampled_counts, resamples_for

if TYPE_CHECKING:
    from engine.stats.bootstrap import Floats, Ints

RATES: Mapping[str, tuple[str, ...]] = {
    "demographic_parity": ("selection_rate",),
    "equal_opportunity": ("true_positive_rate",),
    "equalized_odds": ("true_positive_rate", "false_positive_rate"),
}


def measure(
    groups: Ints, names: Sequence[str], positive: Any, selected: Any, *, criterion: str, min_rows: int, seed: int
) -> dict[str, Any]:
    """`difference` and `ratio` {value, low, high} between the groups with enough rows; each group's rates and rows.

    groups: (n,) numbers of `names`; positive, selected: (n,) booleans. A group is too small when a rate of its is of
    fewer than `min_rows` rows. With fewer than two groups left the values are None.
    """
    import numpy as np

    cells = (groups * 2 + positive.astype(np.int64)) * 2 + selected.astype(np.int64)
    counts = np.bincount(cells, minlength=4 * len(names))
    table = counts.reshape(len(names), 2, 2)
    wanted = RATES[criterion]
    rows = np.stack([_of(table, name)[1] for name in wanted], axis=-1)  # (groups, rates)
    enough = (rows >= max(1, min_rows)).all(axis=1)
    rates = np.stack([_rate(table, name) for name in wanted], axis=-1)
    listed = [
        {
            "group": names[place],
            "rows": int(table[place].sum()),
            "of": int(rows[place].min()),
            "small": not enough[place],
            **{name: float(rates[place, number]) for number, name in enumerate(wanted)},
        }
        for place in range(len(names))
    ]
    found: dict[str, Any] = {"groups": listed, "rows": len(groups)}
    if enough.sum() < 2:
        return {**found, "difference": None, "ratio": None}
    drawn = resampled_counts(counts, resamples_for(1), seed).reshape(-1, len(names), 2, 2)
    with np.errstate(invalid="ignore", divide="ignore"):
        samples = np.stack([_rate(drawn, name) for name in wanted], axis=-1)[:, enough]
    found["difference"] = _with_interval(_difference(rates[None, enough])[0], _difference(samples))
    found["ratio"] = _with_interval(_ratio(rates[None, enough])[0], _ratio(samples))
    return found


def _of(table: Any, name: str) -> tuple[Any, Any]:
    """How many are selected, and of how many. table: (…, groups, truth, selected)."""
    if name == "selection_rate":
        return table[..., 1].sum(axis=-1), table.sum(axis=(-2, -1))
    truth = table[..., int(name == "true_positive_rate"), :]
    return truth[..., 1], truth.sum(axis=-1)


def _rate(table: Any, name: str) -> Floats:
    import numpy as np

    selected, rows = _of(table, name)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(selected / rows, dtype=np.float64)


def _difference(rates: Any) -> Floats:
    """The largest difference of a rate between any two groups. rates: (…, groups, rates) → (…)."""
    import numpy as np

    return np.asarray((rates.max(axis=-2) - rates.min(axis=-2)).max(axis=-1), dtype=np.float64)


def _ratio(rates: Any) -> Floats:
    """The smallest ratio of the smallest rate to the largest; undefined where no group has any."""
    import numpy as np

    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray((rates.min(axis=-2) / rates.max(axis=-2)).min(axis=-1), dtype=np.float64)


def _with_interval(value: float, samples: Floats) -> dict[str, float | None]:
    interval = percentile_interval(samples, CONFIDENCE) or (None, None)
    return {"value": float(value), "low": interval[0], "high": interval[1]}
