"""All trees of an ensemble as one tree, so that all of them are walked by one call of scikit-learn's own code.

A row is repeated for each tree with the tree's number as one more feature; the top of the joined tree is a balanced
search for that number. All rows walk one tree before the next, so that its nodes are in the cache. Comparisons
(float32 in forests, float64 and sets of categories in histogram boosting) and the ways of missing values are thus
scikit-learn's, bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from engine.serving.compiled.blocks import Floats, HandOverError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_CELLS = 1 << 20  # numbers of repeated rows that are walked at once: 4 or 8 MiB
_LEAF = -1

Walk: TypeAlias = Callable[[Floats], Floats]


def forest_walk(trees: Sequence[Any], values: Sequence[Floats], features: int, *, gaps: bool) -> Walk:
    """A function of rows, (n, features), to the values of their leaves, (trees, n, k).

    trees: fitted `sklearn.tree._tree.Tree`s; values: for each one those of its nodes, (nodes, k). The function raises
    HandOverError for rows that scikit-learn refuses: infinite as float32, or missing where `gaps` is False.
    """
    import numpy as np

    states = [tree.__getstate__() for tree in trees]
    nodes, starts = _joined([state["nodes"] for state in states], features, "left_child", "right_child")
    top = len(nodes) - sum(len(state["nodes"]) for state in states)
    parts = [np.zeros((top, values[0].shape[1])), *values]
    of_node = np.ascontiguousarray(np.concatenate(parts))
    joined = type(trees[0])(features + 1, np.array([1], dtype=np.intp), 1)
    state = {"max_depth": max(s["max_depth"] for s in states) + len(trees), "node_count": len(nodes), "nodes": nodes}
    joined.__setstate__({**state, "values": np.zeros((len(nodes), 1, 1))})
    count = len(starts)
    numbered = np.arange(count, dtype=np.float32).reshape(-1, 1)
    k = of_node.shape[1]

    def walk(rows: Floats) -> Floats:
        repeated = np.empty((count, len(rows), features + 1), dtype=np.float32)
        with np.errstate(over="ignore"):
            narrow = rows.astype(np.float32)
        _check(narrow, gaps=gaps)
        repeated[:, :, :features] = narrow
        repeated[:, :, features] = numbered
        leaves = joined.apply(repeated.reshape(-1, features + 1))
        found: Floats = of_node.take(leaves, axis=0).reshape(count, -1, k)
        return found

    return _in_pieces(walk, count * (features + 1))


def histogram_walk(predictors: Sequence[Any], categories: tuple[Any, Any], features: int) -> Walk:
    """The same for the predictors of histogram boosting, whose leaves have one value: (n, features) → (trees, n, 1).

    categories: the bitsets of known ones and the features' places in them, as the bin mapper gives them.
    """
    import numpy as np

    first = type(predictors[0])
    bitsets: list[NDArray[Any]] = []
    shifted: list[NDArray[Any]] = []
    for predictor in predictors:
        nodes = predictor.nodes.copy()
        nodes["bitset_idx"] += sum(len(found) for found in bitsets)
        bitsets.append(predictor.raw_left_cat_bitsets)
        shifted.append(nodes)
    nodes, starts = _joined(shifted, features, "left", "right")
    sets = np.ascontiguousarray(np.concatenate(bitsets))
    joined = first(nodes, sets, sets)
    known, places = categories
    count = len(starts)
    numbered = np.arange(count, dtype=np.float64).reshape(-1, 1)

    def walk(rows: Floats) -> Floats:
        repeated = np.empty((count, len(rows), features + 1))
        repeated[:, :, :features] = rows
        repeated[:, :, features] = numbered
        found: Floats = joined.predict(repeated.reshape(-1, features + 1), known, places, 1).reshape(count, -1, 1)
        return found

    return _in_pieces(walk, count * (features + 1))


def _joined(
    trees: Sequence[NDArray[Any]], number_feature: int, left: str, right: str
) -> tuple[NDArray[Any], list[int]]:
    """The nodes of all trees in one array below a search for a tree's number, and where each tree's root is."""
    import numpy as np

    top = len(trees) - 1
    starts = np.cumsum([top, *(len(nodes) for nodes in trees)]).tolist()
    search = np.zeros(top, dtype=trees[0].dtype)
    _search(search, starts, number_feature, left, right)
    parts = [search]
    for nodes, start in zip(trees, starts[:-1], strict=True):
        moved = nodes.copy()
        inner = ~nodes["is_leaf"].astype(bool) if "is_leaf" in (nodes.dtype.names or ()) else nodes[left] != _LEAF
        for side in (left, right):
            moved[side][inner] += nodes[side].dtype.type(start)
        parts.append(moved)
    return np.concatenate(parts), starts[:-1]


def _search(nodes: NDArray[Any], starts: Sequence[int], feature: int, left: str, right: str) -> None:
    """Fill the nodes of a balanced search: up to number m + 0.5 to the left."""
    names = nodes.dtype.names or ()
    threshold = "threshold" if "threshold" in names else "num_threshold"
    column = "feature" if "feature" in names else "feature_idx"
    free = iter(range(len(nodes)))

    def place(low: int, high: int) -> int:
        """The node for trees low … high-1."""
        if high - low == 1:
            return starts[low]
        node = next(free)
        middle = (low + high) // 2
        nodes[column][node] = feature
        nodes[threshold][node] = middle - 0.5
        nodes[left][node] = place(low, middle)
        nodes[right][node] = place(middle, high)
        return node

    place(0, len(starts) - 1)


def _check(narrow: NDArray[np.float32], *, gaps: bool) -> None:
    import numpy as np

    total = float(narrow.sum())
    if total - total == 0.0:  # finite: so is every number in it
        return
    if np.isinf(narrow).any() or (not gaps and np.isnan(narrow).any()):
        raise HandOverError("values that trees refuse")


def _in_pieces(walk: Walk, cells_of_row: int) -> Walk:
    import numpy as np

    most = max(1, _CELLS // cells_of_row)

    def pieces(rows: Floats) -> Floats:
        if len(rows) <= most:
            return walk(rows)
        return np.concatenate([walk(rows[start : start + most]) for start in range(0, len(rows), most)], axis=1)

    return pieces
