"""Frames between the gateway and a model process, over a Unix socketpair. Lengths in bytes, little endian.

A request is a job's number, the form of its payload and the payload itself as the client sent it; it is parsed in the
model's process, so that the gateway stays light. A reply is a status as in HTTP, how many rows were predicted, what
their scores were, and a fragment of JSON that the gateway completes. Job 0 is the process's first word: `Hello`.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

OWN, MLFLOW, OPEN_INFERENCE = 0, 1, 2  # the forms of a payload and of its answer


HELLO = 0

_REQUEST = struct.Struct("<IIBI")  # length of the body, job, form, length of its JSON head (0: all of it)
_REPLY = struct.Struct("<IIHIIdd")  # length of what follows, job, status, rows, bins, sum and sum of squares of scores


class Request(NamedTuple):
    """One payload. `head` is how much of it is JSON when binary tensors follow; 0 when all of it is."""

    job: int
    form: int
    head: int
    body: bytes


class Reply(NamedTuple):
    """What became of a job. `bins` has one byte for each scored row: the place of its score among BINS bins."""

    job: int
    status: int
    rows: int
    score_sum: float
    score_squares: float
    bins: bytes
    body: bytes


@dataclass(frozen=True)
class Hello:
    """A model process's first word: what it serves, or why it cannot."""

    reason: str = ""  # empty when it is ready
    golden: str = "none"  # same, none, different
    signature: Mapping[str, Any] | None = None
    path: str = ""  # which implementation answers
    pid: int = 0

    def to_bytes(self) -> bytes:
        """As a frame."""
        text = json.dumps(vars(self)).encode()
        return reply_frame(Reply(HELLO, 500 if self.reason else 200, 0, 0.0, 0.0, b"", text))

    @staticmethod
    def of(reply: Reply) -> Hello:
        """From a frame."""
        return Hello(**json.loads(reply.body))


def request_frame(job: int, form: int, head: int, body: bytes) -> bytes:
    """A request as bytes."""
    return _REQUEST.pack(len(body), job, form, head) + body


def reply_frame(reply: Reply) -> bytes:
    """A reply as bytes."""
    size = len(reply.bins) + len(reply.body)
    head = _REPLY.pack(size, reply.job, reply.status, reply.rows, len(reply.bins), reply.score_sum, reply.score_squares)
    return b"".join((head, reply.bins, reply.body))


class Requests:
    """Takes bytes as they come, gives whole requests."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[Request]:
        """The requests that are complete now."""
        data = self._rest + data if self._rest else data
        at, size = 0, _REQUEST.size
        while len(data) - at >= size:
            length, job, form, head = _REQUEST.unpack_from(data, at)
            end = at + size + length
            if end > len(data):
                break
            yield Request(job, form, head, data[at + size : end])
            at = end
        self._rest = data[at:]


class Replies:
    """Takes bytes as they come, gives whole replies."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[Reply]:
        """The replies that are complete now."""
        data = self._rest + data if self._rest else data
        at, size = 0, _REPLY.size
        while len(data) - at >= size:
            length, job, status, rows, bins, total, squares = _REPLY.unpack_from(data, at)
            end = at + size + length
            if end > len(data):
                break
            start = at + size
            yield Reply(job, status, rows, total, squares, data[start : start + bins], data[start + bins : end])
            at = end
        self._rest = data[at:]
