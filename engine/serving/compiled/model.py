"""A loaded scikit-learn model as arrays and a few NumPy calls, used only where its answers are proven equal."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from engine.serving.compiled.blocks import Cell, Cells, Compute, HandOverError, Layout, NotCompilableError, Rows, Slot
from engine.serving.compiled.heads import Head, head_of
from engine.serving.compiled.plain import Answers, Columns, Plain
from engine.serving.compiled.proof import difference
from engine.serving.compiled.transformers import transformed
from engine.steps.model_files import LoadedModel
from engine.steps.schema import class_numbers

if TYPE_CHECKING:
    import pandas as pd

_CELLS = 1 << 21  # prepared numbers at once: a batch is answered in pieces of at most so many
_UNREADABLE = (HandOverError, KeyError, TypeError, ValueError, OverflowError)


@dataclass(frozen=True)
class NotCompiled:
    """Why a model is only answered the plain way."""

    reason: str


class Compiled:
    """Answers like `Plain`, in microseconds. What it cannot read it hands to the plain way, which says what is wrong.

    A missing value is None. `is_own` says that the estimator's own predict is called, on rows prepared here.
    """

    def __init__(self, plain: Plain, head: Head) -> None:
        layout = Layout()
        self.is_own = head.is_own
        self._plain = plain
        self._prepare: Compute = head.rows.built(layout)
        self._answer = head.answer
        self._labels = head.labels
        self._slots: Sequence[Slot] = tuple(layout.slots)
        self._piece = max(1, _CELLS // max(1, head.rows.width))
        self._order = _order(plain.loaded, head)

    def answers(self, columns: Columns, n: int) -> Answers:
        """Answers for n rows. Raises StepError for values that the features cannot have, and the model's own errors."""
        try:
            return self.fast_answers(columns, n)
        except _UNREADABLE:
            return self._plain.answers(columns, n)

    def fast_answers(self, columns: Columns, n: int) -> Answers:
        """Answers of compiled code only. Raises HandOverError, KeyError, TypeError or ValueError for the plain way."""
        if n > self._piece:
            return self._in_pieces(columns, n)
        found, shares = self._answer(self._prepare(self._rows(columns, n)))
        labels = self._labels
        predictions: list[Any] = found.tolist()
        if labels is not None:
            predictions = [labels[number] for number in predictions]
        if shares is None or not self._plain.loaded.classes:
            return predictions, None
        return predictions, shares if self._order is None else shares[:, self._order]

    def _rows(self, columns: Columns, n: int) -> Rows:
        import numpy as np

        numbers = np.array([slot.values(columns[slot.name]) for slot in self._slots], dtype=np.float64)
        if numbers.shape != (len(self._slots), n):
            if self._slots:
                raise HandOverError("columns of different lengths")
            numbers = np.zeros((0, n))
        total = float(np.add.reduce(numbers, axis=None))
        if total - total != 0.0:
            numbers[np.isinf(numbers)] = np.nan
        return Rows(columns, n, numbers)

    def _in_pieces(self, columns: Columns, n: int) -> Answers:
        import numpy as np

        predictions: list[Any] = []
        shares = []
        for start in range(0, n, self._piece):
            end = min(n, start + self._piece)
            piece = {name: columns[name][start:end] for name in self._plain.loaded.features}
            found, part = self.fast_answers(piece, end - start)
            predictions += found
            shares.append(part)
        parts = [part for part in shares if part is not None]
        return predictions, np.concatenate(parts) if parts else None


def compile_model(loaded: LoadedModel, sample: pd.DataFrame) -> Compiled | NotCompiled:
    """The compiled form of a model, proven on a sample of rows that it may see (the hold-out), or why there is none.

    sample: (n, ≥p) with the types that training has. Predictions must be identical (numbers within 1e-12 of them) and
    probabilities within 1e-12, also on rows of mixed, missing and unseen values made from the sample.
    """
    plain = Plain(loaded, sample)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of scikit-learn about values that it has not seen
            compiled = Compiled(plain, _compiled(loaded))
            found = difference(compiled.fast_answers, _UNREADABLE, plain, sample)
    except NotCompilableError as error:
        return NotCompiled(str(error))
    except Exception as error:  # noqa: BLE001 - another version's internals: the plain way is always there
        return NotCompiled(f"{type(error).__name__}: {error}")
    return compiled if found is None else NotCompiled(found)


def _compiled(loaded: LoadedModel) -> Head:
    cells = Cells(tuple(Cell(feature["name"], feature["kind"]) for feature in loaded.meta["features"]))
    estimator: Any = loaded.predictor
    if loaded.meta["format"] not in ("skops", "pickle", "joblib"):
        raise NotCompilableError(f"a model in the format {loaded.meta['format']}")
    return _head(estimator, cells)


def _head(estimator: Any, block: Any) -> Head:
    from sklearn.model_selection import GridSearchCV, RandomizedSearchCV
    from sklearn.pipeline import Pipeline

    if type(estimator) in (GridSearchCV, RandomizedSearchCV):
        return _head(estimator.best_estimator_, block)
    if type(estimator) is not Pipeline:
        return head_of(estimator, block, sparse=False)
    sparse = False
    for _, step in estimator.steps[:-1]:
        block = transformed(step, block)
        sparse = bool(getattr(step, "sparse_output_", False))
    last = estimator.steps[-1][1]
    if type(last) is Pipeline:
        return _head(last, block)
    return head_of(last, block, sparse=sparse)


def _order(loaded: LoadedModel, head: Head) -> list[int] | None:
    """Where each of the model's classes is among the estimator's; None when they are in the same order."""
    if not loaded.classes:
        return None
    own = head.labels if head.labels is not None else getattr(loaded.predictor, "classes_", loaded.classes)
    places = class_numbers(list(own), loaded.classes).tolist()
    if sorted(places) != list(range(len(loaded.classes))):
        raise NotCompilableError("the model's classes are not those of its meta.json")
    return None if places == sorted(places) else [places.index(number) for number in range(len(places))]
