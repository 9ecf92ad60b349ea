"""Many tests at once: p-values adjusted by Benjamini and Hochberg 1995 (J. R. Statist. Soc. B 57, 289)."""

from __future__ import annotations

from collections.abc import Sequence

from engine.stats import inputs


def adjusted(p_values: Sequence[float]) -> list[float]:
    """The smallest rate of false discoveries at which each would be one; (k,) → (k,).

    Where no hypothesis is false, "any at most alpha" happens with probability alpha at most. It holds for independent
    and for positively dependent tests (Benjamini and Yekutieli 2001, Annals of Statistics 29, 1165). Raises ValueError
    for what is no probability, NaN included.
    """
    for p in p_values:
        inputs.share("a p-value", p)
    count = len(p_values)
    order = sorted(range(count), key=lambda place: p_values[place], reverse=True)
    found = [0.0] * count
    least = 1.0
    for above, place in enumerate(order):
        least = min(least, p_values[place] * count / (count - above))
        found[place] = least
    return found
