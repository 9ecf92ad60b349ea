"""A search for better parameters by seeded cross-validation on the training rows.

`grid` tries every combination, `random` draws `trials` of them (without repeats where the space is finite). A space
is a list of values or a range `{low, high, log}`, whole numbers if both ends are. Folds follow the split: in time
order for `time`, whole groups for `group`, else stratified (classes) or shuffled (quantities). A trial that fails is
recorded; only if all fail does the search. Ties go to the earlier trial.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import product
from typing import TYPE_CHECKING, Any

from engine.errors import StepError
from engine.spec.metrics import METRICS
from engine.steps.schema import Schema, Table
from engine.steps.scoring import USUAL, check_metric, score

if TYPE_CHECKING:
    import numpy as np

DEFAULT_TRIALS = 20
DEFAULT_FOLDS = 5
MAX_GRID = 10_000


@dataclass(frozen=True)
class Trial:
    """One set of parameters and what it scored: mean and standard deviation over folds, or why it failed."""

    number: int
    params: Mapping[str, Any]
    mean: float | None = None
    deviation: float | None = None
    error: str = ""

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        entry: dict[str, Any] = {"trial": self.number, "params": dict(self.params), "mean": self.mean}
        entry["deviation"] = self.deviation
        return entry | ({"error": self.error} if self.error else {})


@dataclass(frozen=True)
class Search:
    """What a search found."""

    metric: str
    folds: int
    best: Trial
    trials: tuple[Trial, ...] = field(default=())


def search(
    block: Mapping[str, Any],
    build: Callable[[Mapping[str, Any]], Any],
    table: Table,
    schema: Schema,
    seed: int,
    attempt: int,
    progress: Callable[[int, int, str], None],
) -> Search:
    """Try parameter sets with `build(params)`, an unfitted model, and return the best. Raises StepError."""
    metric = block.get("metric") or USUAL[schema.task]
    check_metric(metric, schema)
    folds = folds_of(table, schema, int(block.get("folds") or DEFAULT_FOLDS), seed)
    candidates = candidates_of(block, seed, attempt)
    trials: list[Trial] = []
    for number, params in enumerate(candidates, start=1):
        trial = _tried(number, params, build, table, schema, folds, metric)
        trials.append(trial)
        outcome = trial.error or f"{metric} {trial.mean:.3f}"
        progress(number, len(candidates), f"trial {number}: {outcome}")
    good = [trial for trial in trials if trial.mean is not None]
    if not good:
        raise StepError(f"all {len(trials)} trials failed; the first: {trials[0].error}", remedy="Mend tuning.space.")
    sign = -1 if METRICS[metric].better == "higher" else 1
    best = min(good, key=lambda trial: (sign * (trial.mean or 0.0), trial.number))
    return Search(metric, len(folds), best, tuple(trials))


def candidates_of(block: Mapping[str, Any], seed: int, attempt: int) -> list[dict[str, Any]]:
    """The parameter sets to try, in order. A retry draws from another seed, and more: `trials` × (attempt + 1)."""
    space: Mapping[str, Any] = block["space"]
    if block.get("search") == "grid":
        return _grid(space)
    import numpy as np

    generator = np.random.default_rng(seed)
    wanted = int(block.get("trials") or DEFAULT_TRIALS) * (attempt + 1)
    finite = math.prod(len(values) for values in space.values()) if _is_finite(space) else None
    if finite is not None and finite <= wanted:
        return _grid(space)
    drawn: dict[str, dict[str, Any]] = {}
    for _ in range(20 * wanted):
        params = {name: _draw(space[name], generator) for name in sorted(space)}
        drawn.setdefault(repr(sorted(params.items())), params)
        if len(drawn) == wanted:
            break
    return list(drawn.values())


def folds_of(table: Table, schema: Schema, count: int, seed: int) -> list[tuple[Any, Any]]:
    """Row numbers to fit and to score on, fold by fold. Raises StepError when there are too few rows."""
    from sklearn.model_selection import GroupKFold, KFold, StratifiedKFold, TimeSeriesSplit

    rows = len(table.features)
    if rows < 2 * count:
        raise StepError(f"{rows} training rows are too few for {count} folds", remedy="Lower tuning.folds.")
    splitter: Any
    groups = table.frame[schema.group] if schema.group else None
    if schema.strategy == "time":
        splitter = TimeSeriesSplit(count)
    elif groups is not None and groups.nunique() >= count:
        splitter = GroupKFold(count)
    elif schema.is_regression:
        splitter = KFold(count, shuffle=True, random_state=seed)
    else:
        rarest = int(table.target.value_counts().min())
        if rarest < 2:
            raise StepError("a class with one training row cannot be cross-validated", remedy="Leave tuning out.")
        splitter = StratifiedKFold(min(count, rarest), shuffle=True, random_state=seed)
    return list(splitter.split(table.features, table.target, groups))


def _tried(
    number: int,
    params: Mapping[str, Any],
    build: Callable[[Mapping[str, Any]], Any],
    table: Table,
    schema: Schema,
    folds: list[tuple[Any, Any]],
    metric: str,
) -> Trial:
    import numpy as np

    scores = []
    try:
        for fit, held in folds:
            model = build(params).fit(table.features.iloc[fit], table.target.iloc[fit])
            scores.append(score(model, table.features.iloc[held], table.target.iloc[held], metric, schema))
    except Exception as error:  # noqa: BLE001 - an estimator may raise anything for parameters that it dislikes
        return Trial(number, params, error=" ".join(str(error).split())[:300] or type(error).__name__)
    if not np.isfinite(scores).all():
        return Trial(number, params, error=f"{metric} is undefined on a fold")
    return Trial(number, params, float(np.mean(scores)), float(np.std(scores)))


def _grid(space: Mapping[str, Any]) -> list[dict[str, Any]]:
    if not _is_finite(space):
        raise StepError("a grid needs lists of values, not ranges", remedy="Use search: random, or list the values.")
    size = math.prod(len(values) for values in space.values())
    if size > MAX_GRID:
        raise StepError(f"the grid has {size:,} combinations", remedy="Use search: random with a number of trials.")
    names = sorted(space)
    return [dict(zip(names, values, strict=True)) for values in product(*(space[name] for name in names))]


def _is_finite(space: Mapping[str, Any]) -> bool:
    return not any(isinstance(values, Mapping) for values in space.values())


def _draw(values: Any, generator: np.random.Generator) -> Any:
    if not isinstance(values, Mapping):
        return values[int(generator.integers(len(values)))]
    low, high = values["low"], values["high"]
    whole = isinstance(low, int) and isinstance(high, int)
    if values.get("log"):
        top = math.log(high + 1) if whole else math.log(high)
        drawn = math.exp(generator.uniform(math.log(low), top))
        return min(high, max(low, int(drawn))) if whole else drawn
    return int(generator.integers(low, high + 1)) if whole else float(generator.uniform(low, high))
