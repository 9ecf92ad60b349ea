"""What sequential statistics refuse: levels, counts and numbers that cannot be. A check returns what it was given."""

from __future__ import annotations

import math


def level(alpha: float) -> float:
    """A probability of a false alarm. Raises ValueError unless 0 < alpha < 1."""
    return inner_share("alpha", alpha)


def inner_share(name: str, value: float) -> float:
    """A number strictly between 0 and 1. Raises ValueError otherwise, NaN included."""
    if not 0 < value < 1:
        raise ValueError(f"{name} must lie between 0 and 1, not {value!r}")
    return value


def share(name: str, value: float) -> float:
    """A number from 0 to 1. Raises ValueError otherwise, NaN included."""
    if not 0 <= value <= 1:
        raise ValueError(f"{name} must lie from 0 to 1, not {value!r}")
    return value


def count(name: str, value: float) -> float:
    """A whole number of things. Raises ValueError when it is negative, broken, infinite or NaN."""
    if not (math.isfinite(value) and value >= 0 and value == math.floor(value)):
        raise ValueError(f"{name} must be a whole number of at least 0, not {value!r}")
    return value


def finite(name: str, value: float) -> float:
    """Any number but NaN and infinity. Raises ValueError for those."""
    if not math.isfinite(value):
        raise ValueError(f"{name} must be finite, not {value!r}")
    return value


def positive(name: str, value: float) -> float:
    """A finite number above 0. Raises ValueError otherwise."""
    if not (math.isfinite(value) and value > 0):
        raise ValueError(f"{name} must be finite and above 0, not {value!r}")
    return value
