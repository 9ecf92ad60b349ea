"""Who answers a request: the sticky hash, and the route that is in effect for a model.

A key's place in [0, 1) depends on the model, the candidate's version and the key alone. It goes to the candidate when
its place is below the weight: who saw the candidate keeps it while the weight grows, and a new candidate draws anew.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b

from engine.serving.counting import Slot


def hash_of(model: str, candidate: int, key: bytes) -> int:
    """64 bits for a key."""
    return int.from_bytes(blake2b(key, digest_size=8, key=f"{model}@{candidate}".encode()[:64]).digest(), "big")


def place_of(hashed: int) -> float:
    """The place of a hash in [0, 1)."""
    return (hashed >> 11) / float(1 << 53)


@dataclass(frozen=True)
class Route:
    """What is in effect for one model. Swapped as a whole; a request keeps the one that it began with."""

    model: str
    generation: int
    stable: Slot
    candidate: Slot | None  # ready, with a weight above 0
    weight: float
    shadow: Slot | None  # gets copies, answers nobody
    mirror: float  # share of the requests of which it gets one
    forced: dict[int, Slot]  # every release that is loaded, for who asks for it by its version
    id_column: str | None
