"""Copies of requests, which a shadow answers for the tallies alone: how it fares, and whether it predicts the same."""

from __future__ import annotations

import json
from time import monotonic
from typing import Any

from engine.serving.counting import Slot
from engine.serving.pool import Job
from engine.serving.wire import OPEN_INFERENCE, Reply

_MOST_COPIES = 64  # that may wait for a shadow
_MOST_TO_COMPARE = 64 * 1024  # bytes of an answer; longer ones are counted, and not compared
_APART = 0.05  # numbers that differ by more than this share of the larger one are different predictions
_DECODER = json.JSONDecoder()


class Copy:
    """One copy on its way. It is compared once both the shadow's answer and the one that was given are there."""

    __slots__ = ("_form", "_given", "_key", "_own", "_seconds", "_shadow", "_started")

    def __init__(self, shadow: Slot, form: int, head: int, body: bytes, key: int | None, deadline: float) -> None:
        self._shadow, self._form, self._key = shadow, form, key
        self._given: Reply | None = None
        self._own: Reply | None = None
        self._started = monotonic()
        self._seconds = 0.0
        shadow.pool.submit(Job(form, head, body, self._started + deadline, self._done))

    def given(self, reply: Reply) -> None:
        """What the client was answered."""
        self._given = reply
        self._compare()

    def _done(self, reply: Reply) -> None:
        self._seconds = monotonic() - self._started
        self._own = reply
        self._compare()

    def _compare(self) -> None:
        """What both refuse is the client's mistake and counts for nobody; what the shadow alone refuses, it failed."""
        own, given = self._own, self._given
        if own is None or given is None or 400 <= given.status < 500:
            return
        if own.status != 200:
            if own.status >= 500 or given.status == 200:
                self._shadow.failed(self._key, fell_back=False)
            return
        counts = self._shadow.succeeded(own, self._seconds, self._key)
        if counts and given.status == 200 and max(len(own.body), len(given.body)) <= _MOST_TO_COMPARE:
            self._shadow.compared(same=is_same(self._form, own.body, given.body))


def copy_to(shadow: Slot, form: int, head: int, body: bytes, key: int | None, deadline: float) -> Copy | None:
    """Have the shadow answer a copy, of the request with this key; not while it is behind."""
    if shadow.pool.waiting >= _MOST_COPIES:
        return None
    return Copy(shadow, form, head, body, key, deadline)


def is_same(form: int, one: bytes, other: bytes) -> bool:
    """Whether two answers predict the same for every row: the same class, or nearly the same number."""
    if one == other:
        return True
    mine, theirs = _predictions(form, one), _predictions(form, other)
    return len(mine) == len(theirs) and all(map(_is_near, mine, theirs))


def _predictions(form: int, body: bytes) -> list[Any]:
    name = '"data":[' if form == OPEN_INFERENCE else '"predictions":['
    text = body.decode()
    found: list[Any] = _DECODER.raw_decode(text, text.index(name) + len(name) - 1)[0]
    return found


def _is_near(one: Any, other: Any) -> bool:
    if isinstance(one, str) or isinstance(other, str):
        return bool(one == other)
    return bool(abs(one - other) <= _APART * max(abs(one), abs(other)))
