"""Whether compiled answers are the plain ones: on the sample, and on rows of mixed, missing and unseen values."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from engine.serving.compiled.plain import Answers, Columns, Plain, columns_of

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

TOLERANCE = 1e-12
_MOST = 10_000  # rows of the sample
_MIXED = 500  # rows of values from different rows
_SINGLE = 2  # rows that are also asked for one by one
_GAPS, _NEW = 0.15, 0.1  # fractions of the mixed values that are missing, or that training has not seen
_SEED = 0

Fast = Callable[["Columns", int], "Answers"]
Unreadable = tuple[type[Exception], ...]


def difference(fast: Fast, unreadable: Unreadable, plain: Plain, sample: pd.DataFrame) -> str | None:
    """What differs, in words; None when nothing does. Errors in `unreadable` mean that `fast` does not answer."""
    import numpy as np

    if not len(sample):
        return "there are no rows to prove it with"
    step = -(-len(sample) // _MOST)
    rows = sample[plain.loaded.features].iloc[::step]
    columns = columns_of(rows)
    try:
        expected = plain.loaded.answers(rows)
        found = fast(columns, len(rows))
    except unreadable as error:
        return f"the sample is not answered: {error or type(error).__name__}"
    if said := _differs((np.asarray(expected[0]).reshape(-1).tolist(), expected[1]), found):
        return f"on the sample {said}"
    generator = np.random.default_rng(_SEED)
    for what, changed, n in _variants(plain.loaded.meta["features"], columns, len(rows), generator):
        if said := _compared(fast, unreadable, plain, changed, n):
            return f"on {what} {said}"
    return None


def _variants(
    features: Any, columns: Mapping[str, list[Any]], n: int, generator: np.random.Generator
) -> Iterator[tuple[str, dict[str, list[Any]], int]]:
    kinds = {feature["name"]: feature["kind"] for feature in features}
    count = min(n, _MIXED)
    mixed = {name: [values[i] for i in generator.integers(0, n, count)] for name, values in columns.items()}
    yield "values from different rows", mixed, count
    gaps = {name: _replaced(values, lambda _: None, _GAPS, generator) for name, values in mixed.items()}
    yield "rows with missing values", gaps, count
    unseen = {
        name: _replaced(values, lambda v, kind=kinds[name]: _unseen(kind, v), _NEW, generator)  # type: ignore[misc]
        for name, values in gaps.items()
    }
    yield "rows with unseen values", unseen, count
    for row in range(min(count, _SINGLE)):
        for what, source in (("a single row", mixed), ("a single row with gaps", unseen)):
            yield what, {name: [values[row]] for name, values in source.items()}, 1
    yield "a row of missing values", {name: [None] for name in columns}, 1


def _replaced(
    values: list[Any], replacement: Callable[[Any], Any], share: float, generator: np.random.Generator
) -> list[Any]:
    chosen = generator.random(len(values)) < share
    return [replacement(value) if now else value for value, now in zip(values, chosen.tolist(), strict=True)]


def _unseen(kind: str, value: Any) -> Any:
    if kind == "numeric":
        return -7.25 if value is None else value * -3 + 0.5
    if kind == "boolean":
        return value
    if kind == "date":
        return "1999-12-31T23:59:58.75Z"
    return f"{value} never seen before" if value != "" else "a new one"


def _compared(fast: Fast, unreadable: Unreadable, plain: Plain, columns: Columns, n: int) -> str | None:
    """The difference on some rows; what scikit-learn refuses must not be answered."""
    try:
        found = fast(columns, n)
    except unreadable:
        return None  # the plain way answers, or says why not
    try:
        expected = plain.answers(columns, n)
    except Exception as error:  # noqa: BLE001 - the model's own refusal
        return f"it answers what scikit-learn refuses: {error}"
    return _differs(expected, found)


def _differs(expected: Answers, found: Answers) -> str | None:
    import numpy as np

    (labels, shares), (our_labels, our_shares) = expected, found
    if len(labels) != len(our_labels):
        return f"{len(our_labels)} predictions come for {len(labels)}"
    if shares is None and labels and isinstance(labels[0], float):
        values, ours = np.asarray(labels), np.asarray(our_labels)
        off = float(np.max(np.abs(values - ours) / np.maximum(1.0, np.abs(values))))
        if not off <= TOLERANCE:
            return f"predictions differ by {off:.3g}"
        return None
    if labels != our_labels or [type(label) for label in labels] != [type(label) for label in our_labels]:
        wrong = sum(label != ours for label, ours in zip(labels, our_labels, strict=True))
        return f"{wrong} of {len(labels)} predictions differ"
    if (shares is None) != (our_shares is None):
        return "only one of them gives probabilities"
    if shares is not None and our_shares is not None:
        if shares.shape != our_shares.shape:
            return f"probabilities have the shape {our_shares.shape} for {shares.shape}"
        off = float(np.max(np.abs(shares - our_shares), initial=0.0))
        if not off <= TOLERANCE:
            return f"probabilities differ by {off:.3g}"
    return None
