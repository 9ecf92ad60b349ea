"""The bytes of the prediction log: what a release was asked and said, in blocks that are whole or not there.

A segment is a sequence of blocks; a block is what one flush wrote, with its length and checksum. Reading ends at the
first block that is not whole: that is where a writer or the machine stopped. In a block lie records, little endian: a
few numbers, the payload as the client sent it and the answer as the model gave it. They are taken apart when they are
read, not while requests wait. Records name a `Part`, which the same segment describes before.

An id has 128 bits, written as 32 hex digits that sort by time: 48 of Unix milliseconds, 32 of the gateway's start, 48
of a count. Every row of a request has one; they follow each other.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from functools import cached_property
from math import isnan
from typing import TYPE_CHECKING, Any, NamedTuple
from zlib import crc32

from engine.core.canonical import utc
from engine.serving.signature import Signature
from engine.serving.wire import OPEN_INFERENCE, Request

if TYPE_CHECKING:
    from engine.serving.payloads import Reader

ASSIGNED, FORCED, FELL_BACK, REPEATED, OVERFLOW = 0, 1, 2, 3, 4  # how a request came to its release
WAYS = ("assigned", "forced", "fallback", "repeated", "overflow")
COUNT_BITS, START_BITS = 48, 32
_KEYED, _DESCRIPTION = 0x40, 0x80  # beside the way
_WAY = 0x0F
_MAGIC = b"EPL1"
_BLOCK = struct.Struct("<4sII")  # magic, length and CRC-32 of what follows
# length of what follows; part, way, form, status, rows, JSON head, length of the payload; id, key, seconds, score
_RECORD = struct.Struct("<IHBBHIIIQQQdd")
pack = _RECORD.pack
RECORD_SIZE = _RECORD.size


@dataclass(frozen=True)
class Part:
    """What the releases behind some records were at that time, and what they take and give."""

    model: str
    generation: int
    version: int
    role: str
    weight: float
    signature: Signature

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        own = ("model", "generation", "version", "role", "weight")
        return {**{name: getattr(self, name) for name in own}, "signature": self.signature.to_json()}

    @staticmethod
    def from_json(document: Mapping[str, Any]) -> Part:
        """From what `to_json` gave."""
        return Part(**{**document, "signature": Signature.from_json(document["signature"])})

    @cached_property
    def reader(self) -> Reader:
        """Reads payloads as the model did."""
        from engine.serving.payloads import Reader

        return Reader(self.signature)


class Record(NamedTuple):
    """One request, as it lies in a segment. `key` is None for a request that came without one."""

    part: int
    way: int
    form: int
    status: int
    rows: int
    head: int
    number: int  # the first row's id
    key: int | None
    seconds: float
    score: float  # of a single row; NaN for several, or none
    asked: bytes
    said: bytes


@dataclass(frozen=True)
class Prediction:
    """One row as it is read. `latency` in seconds, `at` in UTC; `actual` is None until somebody told it.

    `way`: assigned, repeated (assigned, too, but the first row of its key's first request in the rollout stands for it
    in the evidence), forced (asked for by its version), fallback (after the candidate failed). `prediction` is None
    where the release failed: then `error` says how. `score`: of the positive class, or of the predicted one of many;
    a regression's value; None where it was not kept. `features` is None for a payload that cannot be read.
    `identity`: the value of the column that names a row, if it came along in rows that are objects.
    """

    id: str
    at: str
    model: str
    generation: int
    version: int
    role: str
    weight: float
    way: str
    key: str | None
    latency: float
    features: Mapping[str, Any] | None
    prediction: str | float | None
    score: float | None
    error: str | None = None
    actual: str | float | None = None
    labelled_at: str | None = None
    identity: str | None = None


# ── ids ──────────────────────────────────────────────────────────────────────────────────────────────────────


def id_text(number: int) -> str:
    """An id as it is written."""
    return f"{number:032x}"


def id_number(text: str) -> int | None:
    """The number of an id, None for a text that is none."""
    if len(text) != 32 or not text.isascii() or not text.isalnum() or text != text.lower():
        return None
    try:
        return int(text, 16)
    except ValueError:
        return None


def time_of(number: int) -> datetime:
    """When an id was made."""
    milliseconds = number >> (COUNT_BITS + START_BITS)
    return datetime.fromtimestamp(milliseconds // 1000, timezone.utc).replace(microsecond=milliseconds % 1000 * 1000)


def first_id(moment: datetime) -> int:
    """The smallest id of a moment."""
    return max(0, int(moment.timestamp() * 1000)) << (COUNT_BITS + START_BITS)


def start_of(number: int) -> int:
    """Which start of a gateway an id is from."""
    return number >> COUNT_BITS & (1 << START_BITS) - 1


def count_of(number: int) -> int:
    """Its place among the ids of that start."""
    return number & (1 << COUNT_BITS) - 1


# ── writing ──────────────────────────────────────────────────────────────────────────────────────────────────


def block_head(payload: bytes) -> bytes:
    """What comes before a block's records."""
    return _BLOCK.pack(_MAGIC, len(payload), crc32(payload))


def describe(number: int, part: Part) -> bytes:
    """The record that says what a part is."""
    text = json.dumps(part.to_json()).encode()
    size = RECORD_SIZE - 4 + len(text)
    return pack(size, number, _DESCRIPTION, 0, 0, 0, 0, 0, 0, 0, 0, 0.0, 0.0) + text


def way_of_row(way: int, row: int) -> int:
    """The way of one of a request's rows: the first one stands for all in the evidence."""
    return REPEATED if row and way == ASSIGNED else way


def way_of(way: int, key: int | None) -> int:
    """The byte for a way, which also says whether there is a key."""
    return way if key is None else way | _KEYED


# ── reading ──────────────────────────────────────────────────────────────────────────────────────────────────


def blocks(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The whole blocks of a segment's bytes: where each one's records begin, and the records."""
    at = 0
    while len(data) - at >= _BLOCK.size:
        magic, length, checksum = _BLOCK.unpack_from(data, at)
        start = at + _BLOCK.size
        payload = data[start : start + length]
        if magic != _MAGIC or len(payload) != length or crc32(payload) != checksum:
            return
        yield start, payload
        at = start + length


def records(payload: bytes, parts: dict[int, Part]) -> Iterator[tuple[int, Record]]:
    """The records of a block with their places in it. Parts that it describes are put into `parts`."""
    at = 0
    while at < len(payload):
        size, number, way, *_ = _RECORD.unpack_from(payload, at)
        if way & _DESCRIPTION:
            parts[number] = Part.from_json(json.loads(payload[at + RECORD_SIZE : at + 4 + size]))
        else:
            yield at, record_at(payload, at)
        at += 4 + size


def record_at(payload: bytes, at: int = 0) -> Record:
    """The record at a place."""
    size, part, way, form, status, rows, head, length, high, low, key, seconds, score = _RECORD.unpack_from(payload, at)
    start = at + RECORD_SIZE
    middle = start + length
    return Record(
        part, way & _WAY, form, status, rows, head, high << 64 | low, key if way & _KEYED else None,
        seconds, score, payload[start:middle], payload[middle : at + 4 + size],
    )  # fmt: skip


def answers(record: Record) -> tuple[list[Any], list[list[float]] | None]:
    """Labels or values, and probabilities by class if they were given; no labels where the release failed."""
    if record.status != 200:
        return [], None
    document = json.loads(b"{%s}" % record.said)
    if record.form != OPEN_INFERENCE:
        shares = document.get("probabilities")
        return document["predictions"], None if shares is None else [list(each.values()) for each in shares]
    tensors = {tensor["name"]: tensor for tensor in document["outputs"]}
    found = tensors["predict"]["data"]
    if "predict_proba" not in tensors:
        return found, None
    flat, width = tensors["predict_proba"]["data"], tensors["predict_proba"]["shape"][1]
    return found, [flat[start : start + width] for start in range(0, len(flat), width)]


def rows_of(record: Record, part: Part) -> Iterator[Prediction]:
    """A record's rows."""
    found, shares = answers(record)
    gaps: list[Any] = [None] * record.rows
    scores = _scores(record, part.signature, found, shares) if found else gaps
    error = None if record.status == 200 else str(json.loads(record.said).get("error", "it failed"))
    features = _features(record, part) or gaps
    identities = _identities(record, part.signature.id) or gaps
    key = None if record.key is None else f"{record.key:016x}"
    at = utc(time_of(record.number))
    for row in range(record.rows):
        yield Prediction(
            id_text(record.number + row), at, part.model, part.generation, part.version, part.role, part.weight,
            WAYS[way_of_row(record.way, row)], key, record.seconds, features[row], found[row] if found else None,
            scores[row], error, identity=identities[row],
        )  # fmt: skip


def _scores(
    record: Record, signature: Signature, found: Sequence[Any], shares: list[list[float]] | None
) -> Sequence[Any]:
    """As the analysis counts them."""
    if not signature.classes:
        return found
    if shares is not None:
        positive = signature.positive_number
        return [max(row) for row in shares] if positive is None else [row[positive] for row in shares]
    return [None if isnan(record.score) else record.score] * record.rows


def _features(record: Record, part: Part) -> Sequence[Mapping[str, Any]] | None:
    names = part.signature.names
    listed = _as_objects(record)
    if listed is not None:
        with suppress(KeyError, TypeError):
            return [{name: row[name] for name in names} for row in listed]
    from engine.serving.refusal import Refusal

    try:
        rows = part.reader.read(Request(0, record.form, record.head, record.asked))
    except Refusal:
        return None
    if len(rows.table) != record.rows:
        return None
    return [dict(zip(names, values, strict=True)) for values in rows.table]


def _identities(record: Record, column: str | None) -> Sequence[str | None] | None:
    listed = None if column is None else _as_objects(record)
    if listed is None:
        return None
    found = [row.get(column) if isinstance(row, dict) else None for row in listed]
    return [None if value is None else str(value) for value in found]


def _as_objects(record: Record) -> list[Any] | None:
    """The rows of a payload that lists them as objects, None for others. The model's process has checked them."""
    if record.form == OPEN_INFERENCE or record.status != 200:
        return None
    document = json.loads(record.asked)
    found = next((document[name] for name in ("instances", "dataframe_records") if name in document), [document])
    return found if isinstance(found, list) and len(found) == record.rows else None
