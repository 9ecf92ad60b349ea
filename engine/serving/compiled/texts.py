"""Texts → counts of terms, plain or weighted, in the order of operations that scikit-learn has."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from typing import Any

from engine.serving.compiled.blocks import (
    Block,
    Cell,
    Cells,
    Compute,
    Computed,
    Floats,
    HandOverError,
    NotCompilableError,
    Numbers,
    Rows,
)

_TABLE = 512  # logarithms of counts below this are looked up


def vectorised(vectoriser: Any, block: Block) -> Numbers:
    """The columns of a fitted CountVectorizer or TfidfVectorizer."""
    if not isinstance(block, Cells) or len(block.cells) != 1 or not block.flat:
        raise NotCompilableError(f"{type(vectoriser).__name__} sees more than one column of texts")
    cell = block.cells[0]
    if cell.kind not in ("text", "categorical"):
        raise NotCompilableError(f"{cell.name} is {cell.kind} and is read as text")
    vocabulary: dict[str, int] = {term: int(place) for term, place in vectoriser.vocabulary_.items()}
    width = max(vocabulary.values()) + 1
    weigh = _weights(vectoriser)
    terms_of = vectoriser.build_analyzer()

    def row(text: object, columns: Floats) -> None:
        if not isinstance(text, str):
            raise HandOverError(f"{cell.name} holds no text")
        counts = Counter(vocabulary[term] for term in terms_of(text) if term in vocabulary)
        for place, weight in weigh(sorted(counts.items())):
            columns[place] = weight

    return Numbers((Computed(width, lambda _: _code(cell, width, row)),))


def _code(cell: Cell, width: int, row: Callable[[object, Floats], None]) -> Compute:
    import numpy as np

    def code(rows: Rows) -> Floats:
        columns = np.zeros((rows.n, width))
        for number, text in enumerate(rows.columns[cell.name]):
            row(cell.fill if text is None else text, columns[number])
        return columns

    return code


def _weights(vectoriser: Any) -> Callable[[list[tuple[int, int]]], list[tuple[int, float]]]:
    """Counts by place, sorted → weights by place."""
    from sklearn.feature_extraction.text import TfidfVectorizer

    binary = bool(vectoriser.binary)
    if not isinstance(vectoriser, TfidfVectorizer):
        return lambda counts: [(place, 1.0 if binary else float(count)) for place, count in counts]
    import numpy as np

    logarithms = (np.log(np.arange(1, _TABLE)) + 1.0).tolist()
    idf = vectoriser.idf_.tolist() if vectoriser.use_idf else None
    sublinear, norm = vectoriser.sublinear_tf, vectoriser.norm
    if norm not in (None, "l1", "l2"):
        raise NotCompilableError(f"TfidfVectorizer with norm={norm!r}")

    def frequency(count: int) -> float:
        if binary:
            count = 1
        if not sublinear:
            return float(count)
        return logarithms[count - 1] if count < _TABLE else float(np.log(count)) + 1.0

    def weigh(counts: list[tuple[int, int]]) -> list[tuple[int, float]]:
        weights = [(place, frequency(count)) for place, count in counts]
        if idf is not None:
            weights = [(place, weight * idf[place]) for place, weight in weights]
        if norm is None:
            return weights
        size = 0.0
        for _, weight in weights:
            size += weight * weight if norm == "l2" else abs(weight)
        if norm == "l2":
            size = math.sqrt(size)
        return [(place, weight / size) for place, weight in weights] if size else weights

    return weigh
