"""What a release showed on its hold-out, as its windows are held against: distributions, ranges, a calibration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.stats.drift.adwin import Chunk, chunks_of
from engine.stats.estimated_performance import Calibration, calibrate

if TYPE_CHECKING:
    from engine.stats.drift import Column, Profile
    from engine.stats.drift.columns import Kind

MOST_CATEGORIES = 10_000


@dataclass(frozen=True)
class FeatureReference:
    """One feature in the hold-out. `low`, `high`: of its values, for numbers and dates (seconds since 1970).

    `categories` is None for what has none, or too many of them.
    """

    name: str
    kind: Kind
    missing: float  # share of rows
    low: float | None = None
    high: float | None = None
    categories: frozenset[str] | None = None
    constant: bool = False


@dataclass(frozen=True)
class Reference:
    """A release's. `calibration` may be why there is none. `metrics`: on the hold-out, by name.

    `errors`: of its predictions on the hold-out, as `stats.drift.adwin` has them; empty where they were not kept. An
    error is 0 or 1, in a regression its size as a share of `error_scale`, the one that 99 % are below.
    """

    task: str
    classes: tuple[str, ...]
    positive: str | None
    features: tuple[FeatureReference, ...]
    profile: Profile
    calibration: Calibration | str
    metrics: Mapping[str, Any]
    errors: tuple[tuple[int, float, float], ...] = ()
    error_scale: float = 1.0


def reference_of(files: Mapping[str, Path], evaluation: Mapping[str, Any]) -> Reference:
    """Read a release's files by role: `schema`, `holdout`; `reference` (its drift profile) and `predictions` if it has
    them. Without a profile there is one of the features alone."""
    from engine.stats.drift import Column, Profile, profile_of
    from engine.steps.schema import Schema, read_rows
    from engine.steps.table import read_parquet

    schema = Schema.read(files["schema"])
    table = read_rows(files["holdout"], schema)
    features = [Column(each.name, each.kind, table.features[each.name].to_numpy()) for each in schema.features]
    calibration: Calibration | str = "the release was registered without its predictions on the hold-out"
    errors: tuple[Chunk, ...] = ()
    scale = 1.0
    if "predictions" in files:
        said = read_parquet(files["predictions"])
        calibration = _calibration(said, schema)
        errors, scale = _errors(said, schema)
    profile = Profile.from_bytes(files["reference"].read_bytes()) if "reference" in files else profile_of(features)
    return Reference(
        schema.task,
        schema.classes,
        schema.positive,
        tuple(map(_feature, features)),
        profile,
        calibration,
        evaluation["metrics"],
        errors,
        scale,
    )


def rows_of(files: Mapping[str, Path]) -> list[Column]:
    """The hold-out itself, by role of the file as for `reference_of`: features, and what the release said of them."""
    from engine.stats.drift import Column
    from engine.steps.reference import columns_of
    from engine.steps.schema import Schema, read_rows
    from engine.steps.table import read_parquet

    schema = Schema.read(files["schema"])
    table = read_rows(files["holdout"], schema)
    features = columns_of(table.features, ((each.name, each.kind) for each in schema.features))
    if "predictions" not in files:
        return features
    said = read_parquet(files["predictions"])
    kind: Kind = "numeric" if schema.is_regression else "categorical"
    predicted = [Column("prediction", kind, said["prediction"].to_numpy(), "prediction")]
    score = None if schema.is_regression else _score(said, schema)
    return [*features, *predicted, *([] if score is None else [Column("score", "numeric", score, "prediction")])]


def _errors(frame: Any, schema: Any) -> tuple[tuple[Chunk, ...], float]:
    """The errors of predictions, and in what unit."""
    import numpy as np

    if not schema.is_regression:
        return chunks_of((frame["truth"].astype(str) != frame["prediction"].astype(str)).to_numpy()), 1.0
    sizes = np.abs(frame["truth"].to_numpy(dtype=float) - frame["prediction"].to_numpy(dtype=float))
    scale = float(np.quantile(sizes, 0.99)) if len(sizes) else 0.0
    return chunks_of(np.clip(sizes / (scale or 1.0), 0, 1)), scale or 1.0


def _score(frame: Any, schema: Any) -> Any:
    """Of the positive class, or of the predicted one among many; None without probabilities. (n,)."""
    names = [f"probability_{name}" for name in schema.classes]
    if not set(names) <= set(frame.columns):
        return None
    if schema.positive is not None:
        return frame[f"probability_{schema.positive}"].to_numpy(dtype=float)
    return frame[names].to_numpy(dtype=float).max(axis=1)


def _calibration(frame: Any, schema: Any) -> Calibration | str:
    if schema.is_regression:
        return "a regression gives no probabilities"
    score = _score(frame, schema)
    if score is None:
        return "the model gives no probabilities"
    if schema.positive is not None:
        return calibrate(score, (frame["truth"] == schema.positive).to_numpy(), "positive")
    return calibrate(score, (frame["truth"] == frame["prediction"]).to_numpy(), "correct")


def _feature(column: Column) -> FeatureReference:
    import numpy as np

    from engine.stats.drift.columns import counted

    if column.is_numeric:
        numbers = column.numbers()
        present = numbers[np.isfinite(numbers)]
        missing = 1 - present.size / max(1, column.rows)
        if not present.size or column.kind == "text":
            return FeatureReference(column.name, column.kind, missing)
        low, high = float(present.min()), float(present.max())
        return FeatureReference(column.name, column.kind, missing, low, high, constant=low == high)
    counts, gaps = counted(column.values)
    few = len(counts) <= MOST_CATEGORIES
    return FeatureReference(
        column.name,
        column.kind,
        gaps / max(1, column.rows),
        categories=frozenset(counts) if few else None,
        constant=len(counts) <= 1,
    )
