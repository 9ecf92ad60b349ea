"""ADWIN: has the mean of a stream changed, and what is it now? (Bifet and Gavaldà 2007, SIAM Data Mining, 443.)

A window over the stream grows with every value and loses its oldest ones as soon as two parts of it differ by more than
chance allows, at a level that holds over all cuts. Here the stream is the errors of predictions, 0–1 each, in chunks:
the window is cut between chunks, and looked at after each of them. The window begins with the errors on the hold-out,
which are taken as they are; the paper's exponential histogram is left out, because chunks are few.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import log
from typing import TYPE_CHECKING, Any

from engine.stats import inputs

if TYPE_CHECKING:
    from engine.stats.bootstrap import Floats

CHUNK = 32  # values, as river and MOA look
MOST_CHUNKS = 64  # of what is cut at once
_LEAST = 5  # values on either side of a cut

Chunk = tuple[int, float, float]
"""How many values, their sum, the sum of their squares."""


@dataclass(frozen=True)
class Adapted:
    """The window at the end: how many values it holds, their mean, and whether it was ever cut."""

    n: int
    mean: float
    changed: bool


def chunks_of(errors: Floats) -> tuple[Chunk, ...]:
    """Errors, (n,) in the order of time and 0–1 each, in chunks of 32, or as many as make 64 chunks.

    Raises ValueError for other values, NaN included.
    """
    import numpy as np

    values = np.asarray(errors, dtype=np.float64)
    if not ((values >= 0) & (values <= 1)).all():
        raise ValueError("errors must lie from 0 to 1")
    size = max(CHUNK, -(-len(values) // MOST_CHUNKS))
    parts = (values[start : start + size] for start in range(0, len(values), size))
    return tuple((len(part), float(part.sum()), float((part**2).sum())) for part in parts)


def adwin(reference: Sequence[Chunk], stream: Iterable[Chunk], delta: float) -> Adapted:
    """Run over the stream behind the reference. `delta`: the chance of a false alarm at a look, 0–1.

    A cut is a change when the means differ by more than √(2·σ²·l/m) + 2·l/(3·m), where 1/m = 1/n₀ + 1/n₁, σ² is the
    window's variance and l = ln(2·ln(n)/delta). Raises ValueError for a level that is none.
    """
    import numpy as np

    inputs.level(delta)
    window: list[Any] = list(reference)
    changed = False
    for chunk in stream:
        window.append(chunk)
        held = np.array(window, dtype=np.float64)
        first = 0
        while _has_changed(held[first:], delta):
            first, changed = first + 1, True
        del window[:first]
    n, total = (sum(chunk[place] for chunk in window) for place in (0, 1))
    return Adapted(n, total / n if n else 0.0, changed)


def _has_changed(held: Floats, delta: float) -> bool:
    """held: (chunks, 3)."""
    import numpy as np

    n, total, squares = held.sum(axis=0)
    if len(held) < 2 or n < 2 * _LEAST:
        return False
    older = np.cumsum(held[:-1], axis=0)
    n0, n1 = older[:, 0], n - older[:, 0]
    apart = np.abs(older[:, 1] / n0 - (total - older[:, 1]) / n1)
    variance = max(0.0, squares / n - (total / n) ** 2)
    level = log(2 * log(n) / delta)
    per = 1 / n0 + 1 / n1
    allowed = np.sqrt(2 * per * variance * level) + 2 / 3 * per * level
    return bool(((apart > allowed) & (n0 >= _LEAST) & (n1 >= _LEAST)).any())
