"""Training rows and hold-out rows: seeded, reproducible, and the same for all rows but new ones.

`stratified` and `random` take one row of every 1/holdout consecutive ones (of a class, of all), at a place drawn
from the seed: systematic sampling with a random start in each interval (Cochran, Sampling Techniques, 1977, ch. 8).
Each class is within one row of its share, and rows added at the end move no other row to the other side.
`time` holds out the last rows by `data.timestamp`, or in the table's order without one; equal times stay together.
`group` keeps each group on one side. `auto`: group with a group, else time with a timestamp, else stratified for
classes and random for a quantity.

Features are all columns but the target, the id, the group, the timestamp (a later one than all that were learned
from tells nothing; derive calendar features in a step; other date columns stay), ignored ones, and those that
cannot tell rows apart. Rows of feedback come below the table's; of all of them `data.window` leaves the newest. The
files keep every column, since gates slice by columns that no model may see.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from blake3 import blake3

from engine.core.canonical import canonical_json
from engine.errors import StepError
from engine.ports import StepContext, StepOutcome
from engine.steps.columns import Kind
from engine.steps.feedback import with_feedback
from engine.steps.table import read_table, require_column, write_parquet
from engine.steps.target import labels, positive_of, task_of

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pandas as pd

    Mask = npt.NDArray[np.bool_]

ALL_DIFFERENT_FROM = 50  # rows from which a category that never repeats is taken for an identifier


@dataclass(frozen=True)
class Columns:
    """The roles that the spec gives to columns."""

    target: str
    id: str | None
    timestamp: str | None
    group: str | None
    ignore: tuple[str, ...]


def run(context: StepContext) -> StepOutcome:
    """Write `train`, `holdout` (Parquet) and `schema` (JSON) from `table`. Raises StepError."""
    data = context.settings["data"]
    frame, kinds = read_table(context.inputs["table"], format=data.get("format"), missing=data.get("missing"))
    columns = _columns(data, list(frame.columns))
    known = frame[frame[columns.target].notna()].reset_index(drop=True)
    dropped = len(frame) - len(known)
    task = task_of(frame[columns.target], kinds[columns.target], (context.settings.get("training") or {}).get("task"))
    if task != "regression":
        known[columns.target] = labels(known[columns.target])
    told = 0
    if "feedback" in context.inputs:
        known, told = with_feedback(
            known, kinds, context.inputs["feedback"],
            target=columns.target, id=columns.id, timestamp=columns.timestamp,
        )  # fmt: skip
    settings, window = data["split"], data.get("window")
    strategy = strategy_of(settings["strategy"], columns, task, recent=window is not None)
    ordered = known
    if columns.timestamp and (strategy == "time" or window):
        ordered = _in_time(known, kinds[columns.timestamp], columns.timestamp)
    if window:
        ordered = _newest(ordered, window, columns.timestamp)
    classes = sorted(ordered[columns.target].unique()) if task != "regression" else []
    positive = positive_of(task, classes, data.get("positive"))
    holdout = _hold_out(ordered, columns, strategy, float(settings["holdout"]), int(settings["seed"]))
    train_rows, holdout_rows = ordered[~holdout], ordered[holdout]
    if classes:
        _check_classes(train_rows[columns.target], holdout_rows[columns.target], classes, strategy)
    features, left_out = _features(ordered, kinds, columns)
    rows = {"train": len(train_rows), "holdout": len(holdout_rows)}
    schema = {
        "task": task,
        "target": columns.target,
        "classes": classes,
        "positive": positive,
        "features": features,
        "rows": rows,
        "id": columns.id,
        "timestamp": columns.timestamp,
        "group": columns.group,
        "strategy": strategy,
    }
    write_parquet(train_rows, context.outputs["train"])
    write_parquet(holdout_rows, context.outputs["holdout"])
    context.outputs["schema"].write_text(canonical_json(schema), encoding="utf-8")
    facts = {**schema, "features": len(features), "dropped_without_target": dropped, "left_out": left_out}
    summary = f"{rows['train']:,} to train, {rows['holdout']:,} held out ({strategy})"
    if "feedback" in context.inputs or window:
        facts |= {"feedback": told, "known": len(known)}
        newest = f"newest {len(ordered):,} of " if window else ""
        summary += f"; {newest}{len(known):,} rows, {told:,} of them feedback"
    return StepOutcome(facts, summary)


def strategy_of(stated: str | None, columns: Columns, task: str, *, recent: bool = False) -> str:
    """The strategy that `auto` stands for, or the stated one. Raises StepError where it cannot be.

    `recent`: only the newest rows are used.
    """
    if stated in (None, "auto"):
        if columns.group:
            return "group"
        if columns.timestamp or recent:
            return "time"
        return "random" if task == "regression" else "stratified"
    assert stated is not None
    if stated == "stratified" and task == "regression":
        raise StepError(
            "data.split.strategy is stratified, but the target is a quantity without classes",
            remedy="Use strategy: random, time or group.",
        )
    if stated == "group" and not columns.group:
        raise StepError("data.split.strategy is group without a data.group", remedy="Name the column of the group.")
    return stated


def sampled(rows: int, fraction: float, seed: int, stratum: str = "") -> Mask:
    """Which of `rows` rows are held out: one in each interval of 1/fraction rows. Shape (rows,).

    A prefix of the answer for more rows, but for keeping at least one row on each side.
    """
    import numpy as np

    generator = np.random.default_rng(_entropy(seed, stratum))
    chosen: Mask = np.zeros(rows, dtype=np.bool_)
    intervals = int(np.ceil(rows * fraction)) + 1
    starts = np.ceil(np.arange(intervals + 1) / fraction - 1e-9).astype(np.int64)
    widths = starts[1:] - starts[:-1]
    places = starts[:-1] + np.floor(generator.random(intervals) * widths).astype(np.int64)
    chosen[places[places < rows]] = True
    if rows > 1 and not chosen.any():
        chosen[places[0] % rows] = True
    if rows > 1 and chosen.all():
        chosen[places[0] % rows] = False
    return chosen


def _hold_out(frame: pd.DataFrame, columns: Columns, strategy: str, fraction: float, seed: int) -> Mask:
    """Which rows of the (ordered) frame are held out. Raises StepError when one side would be empty."""
    import numpy as np

    rows = len(frame)
    if rows < 2:
        raise StepError(f"the table has {rows} rows with a target", remedy="At least two are needed.")
    if strategy == "random":
        return sampled(rows, fraction, seed)
    if strategy == "stratified":
        chosen = np.zeros(rows, dtype=np.bool_)
        target = frame[columns.target].to_numpy()
        for name in sorted(set(target)):
            places = np.flatnonzero(target == name)
            if len(places) < 2:
                raise StepError(
                    f"class {name} has one row, which cannot be on both sides of the split",
                    remedy="Get more of it, or leave it out, or use data.split.strategy: random.",
                )
            chosen[places] = sampled(len(places), fraction, seed, name)
        return chosen
    if strategy == "time":
        return _last(frame, columns.timestamp, fraction)
    return _whole_groups(frame, str(columns.group), fraction, seed)


def _last(frame: pd.DataFrame, timestamp: str | None, fraction: float) -> Mask:
    """The last rows; the cut lies between different times, as near to the wished size as they allow."""
    import numpy as np

    rows = len(frame)
    wished = min(max(rows - round(rows * fraction), 1), rows - 1)
    if timestamp is None:
        cut = wished
    else:
        times = frame[timestamp].to_numpy()
        cuts = np.flatnonzero(times[1:] != times[:-1]) + 1
        if not len(cuts):
            raise StepError(
                f"all rows have the same {timestamp}, so that none is later", remedy="Use another strategy."
            )
        cut = int(cuts[np.abs(cuts - wished).argmin()])
    return np.arange(rows) >= cut


def _whole_groups(frame: pd.DataFrame, group: str, fraction: float, seed: int) -> Mask:
    """Groups in an order drawn from the seed and their names, until the hold-out is as near to its size as can be."""
    gone = int(frame[group].isna().sum())
    if gone:
        raise StepError(f"{gone:,} rows have no {group}", remedy="Every row needs its data.group.")
    names = frame[group].map(str)
    sizes = names.value_counts()
    if len(sizes) < 2:
        raise StepError(f"all rows are of one {group}", remedy="Two groups at least are needed, or another strategy.")
    ordered = sorted(sizes.index, key=lambda name: (_entropy(seed, name), name))
    wished, taken = len(frame) * fraction, 0
    chosen: list[str] = []
    for name in ordered[:-1]:
        after = taken + int(sizes[name])
        if chosen and abs(after - wished) > abs(taken - wished):
            break
        chosen.append(name)
        taken = after
    held: Mask = names.isin(chosen).to_numpy()
    return held


def _in_time(frame: pd.DataFrame, kind: Kind, timestamp: str) -> pd.DataFrame:
    if kind not in ("date", "numeric"):
        raise StepError(
            f"data.timestamp is {timestamp}, whose values are {kind}, neither dates nor numbers",
            remedy="Dates are read as 2024-01-31, 2024-01-31T12:00:00Z, 2024/01/31 or 31.01.2024.",
        )
    gone = int(frame[timestamp].isna().sum())
    if gone:
        raise StepError(f"{gone:,} rows have no {timestamp}", remedy="Every row needs its data.timestamp.")
    ordered: pd.DataFrame = frame.sort_values(timestamp, kind="stable").reset_index(drop=True)
    return ordered


def _newest(ordered: pd.DataFrame, window: Mapping[str, Any], timestamp: str | None) -> pd.DataFrame:
    """The last rows of an ordered table that a window leaves. Raises StepError for times that are no dates."""
    import pandas as pd

    kept = ordered
    if window["duration"] is not None:
        assert timestamp is not None, "the spec was checked"
        times = ordered[timestamp]
        if not pd.api.types.is_datetime64_any_dtype(times.dtype):
            raise StepError(
                f"data.window.duration needs dates, but {timestamp} has numbers",
                remedy="Write data.window.rows, or dates into the column.",
            )
        kept = ordered[times > times.iloc[-1] - pd.Timedelta(seconds=float(window["duration"]))]
    if window["rows"] is not None:
        kept = kept.iloc[-int(window["rows"]) :]
    newest: pd.DataFrame = kept.reset_index(drop=True)
    return newest


def _check_classes(train: pd.Series[Any], holdout: pd.Series[Any], classes: Sequence[str], strategy: str) -> None:
    """A class that only one side knows cannot be learned, and one class alone cannot be tested."""
    unlearned = [name for name in classes if name not in set(train)]
    if unlearned:
        raise StepError(
            f"class {', '.join(unlearned[:3])} occurs only in the hold-out ({strategy})",
            remedy="Use a smaller data.split.holdout, another seed or another strategy.",
        )
    if holdout.nunique() < 2:
        raise StepError(
            f"the hold-out ({strategy}) has only class {holdout.iloc[0]}",
            remedy="Use a larger data.split.holdout, another seed or another strategy.",
        )


def _columns(data: Mapping[str, Any], names: Sequence[str]) -> Columns:
    columns = Columns(
        data["target"], data.get("id"), data.get("timestamp"), data.get("group"), tuple(data.get("ignore") or ())
    )
    for field in ("target", "id", "timestamp", "group"):
        name = getattr(columns, field)
        if name is not None:
            require_column(name, f"data.{field}", names)
    for name in columns.ignore:
        require_column(name, "data.ignore", names)
    return columns


def _features(
    frame: pd.DataFrame, kinds: Mapping[str, Kind], columns: Columns
) -> tuple[list[dict[str, str]], dict[str, str]]:
    """The columns to learn from, and why others were left out that the spec does not name.

    A constant one stays: clients send it, and where it varies in later data, two releases would not take the same rows.
    """
    named = {columns.target, columns.id, columns.timestamp, columns.group, *columns.ignore}
    features, left_out = [], {}
    for name in frame.columns:
        if name in named:
            continue
        distinct, known = int(frame[name].nunique()), int(frame[name].notna().sum())
        if not known:
            left_out[name] = "no values"
        elif kinds[name] == "categorical" and distinct == known >= ALL_DIFFERENT_FROM:
            left_out[name] = "every value is different"
        else:
            features.append({"name": name, "kind": kinds[name]})
    if not features:
        raise StepError("no column is left to learn from", remedy="Besides target, id and ignored ones, one is needed.")
    return features, left_out


def _entropy(seed: int, name: str) -> int:
    """A number drawn from the seed and a name, the same on every machine."""
    return int.from_bytes(blake3(f"{seed}\0{name}".encode()).digest()[:16], "big")
