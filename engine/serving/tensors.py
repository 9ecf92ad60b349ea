"""The Open Inference Protocol's tensors → columns by name: JSON data, or binary data after the JSON.

An input is named like a feature and has the shape [n] or [n, 1]; or there is one input of shape [n, p] that holds all
features in the model's order.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Mapping
from typing import Any

from engine.serving.refusal import Refusal
from engine.serving.signature import Signature, list_of

FORMATS: Mapping[str, str] = {
    "INT8": "b", "INT16": "h", "INT32": "i", "INT64": "q", "UINT8": "B", "UINT16": "H", "UINT32": "I", "UINT64": "Q",
    "FP16": "e", "FP32": "f", "FP64": "d", "BOOL": "?",
}  # fmt: skip
_MOST = 1 << 31  # of a dimension


def columns_of(document: Mapping[str, Any], tail: bytes, signature: Signature) -> dict[str, list[Any]]:
    """The columns of a request. Raises Refusal."""
    inputs = document.get("inputs")
    if not isinstance(inputs, list) or not inputs or not all(isinstance(tensor, dict) for tensor in inputs):
        raise Refusal(422, "inputs must be a list of tensors")
    if "id" in document and not isinstance(document["id"], str):
        raise Refusal(422, "id must be a string")
    reader = _Tail(tail)
    found: dict[str, list[Any]] = {}
    for tensor in inputs:
        name, shape, values = _tensor(tensor, reader)
        if len(inputs) == 1 and len(shape) == 2 and name not in signature.kinds:
            return _whole(name, shape, values, signature)
        if len(shape) == 2 and shape[1] != 1:
            raise Refusal(422, f"input {name} has the shape {shape}; [n] or [n, 1] is expected for a column")
        if name in found:
            raise Refusal(422, f"input {name} is there twice")
        found[name] = values
    reader.finish()
    return found


def _whole(name: str, shape: list[int], values: list[Any], signature: Signature) -> dict[str, list[Any]]:
    width = len(signature.names)
    if shape[1] != width:
        raise Refusal(
            422, f"input {name} has the shape {shape}; [n, {width}] is expected, for {list_of(signature.names)}"
        )
    return {column: values[place::width] for place, column in enumerate(signature.names)}


def _tensor(tensor: Mapping[str, Any], tail: _Tail) -> tuple[str, list[int], list[Any]]:
    name, shape, datatype = tensor.get("name"), tensor.get("shape"), tensor.get("datatype")
    if not isinstance(name, str):
        raise Refusal(422, "an input has no name")
    if not isinstance(shape, list) or not all(type(size) is int and 0 <= size <= _MOST for size in shape[:3]):
        raise Refusal(422, f"input {name}: shape must be a list of sizes")
    if len(shape) not in (1, 2):
        raise Refusal(422, f"input {name} has {len(shape)} dimensions; [n] or [n, 1] is expected for a column")
    if not isinstance(datatype, str) or (datatype != "BYTES" and datatype not in FORMATS):
        raise Refusal(422, f"input {name}: datatype must be one of BYTES, {', '.join(FORMATS)}")
    parameters = tensor.get("parameters")
    size = parameters.get("binary_data_size") if isinstance(parameters, dict) else None
    if size is not None:
        if type(size) is not int or size < 0:
            raise Refusal(422, f"input {name}: binary_data_size must be a number of bytes")
        values = _unpacked(name, datatype, tail.take(name, size))
    else:
        values = _flattened(tensor.get("data"), len(shape))
    expected = math.prod(shape)
    if len(values) != expected:
        raise Refusal(422, f"input {name} has {len(values)} values for the shape {shape}")
    if datatype in ("FP16", "FP32", "FP64"):
        values = [_as_float(value) if type(value) is int else value for value in values]
    return name, shape, values


def _as_float(value: int) -> float | int:
    """The number as it is if it is beyond all floats, which is refused with its row and column later."""
    try:
        return float(value)
    except OverflowError:
        return value


def _flattened(data: Any, dimensions: int) -> list[Any]:
    """The values, whether they came flat or in lists of lists; what is nested more deeply stays a list."""
    if not isinstance(data, list):
        raise Refusal(422, "an input's data must be a list")
    values: list[Any] = data
    for _ in range(dimensions - 1):
        values = [value for each in values for value in (each if isinstance(each, list) else (each,))]
    return values


def _unpacked(name: str, datatype: str, data: bytes) -> list[Any]:
    if datatype == "BYTES":
        return list(_strings(name, data))
    size = struct.calcsize(FORMATS[datatype])
    if len(data) % size:
        raise Refusal(422, f"input {name}: {len(data)} bytes are no whole number of {datatype} values")
    values = list(struct.unpack(f"<{len(data) // size}{FORMATS[datatype]}", data))
    if any(isinstance(value, float) and not math.isfinite(value) for value in values):
        raise Refusal(422, f"input {name} holds NaN or infinite values")
    return values


def _strings(name: str, data: bytes) -> Iterator[str]:
    at = 0
    while at < len(data):
        if at + 4 > len(data):
            raise Refusal(422, f"input {name}: its strings are cut off")
        (length,) = struct.unpack_from("<I", data, at)
        text = data[at + 4 : at + 4 + length]
        if len(text) != length:
            raise Refusal(422, f"input {name}: its strings are cut off")
        try:
            yield text.decode("utf-8")
        except UnicodeDecodeError:
            raise Refusal(422, f"input {name}: a string is not UTF-8") from None
        at += 4 + length


class _Tail:
    """The binary data after the JSON, taken input by input."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def take(self, name: str, size: int) -> bytes:
        taken = self._data[self._at : self._at + size]
        if len(taken) != size:
            raise Refusal(422, f"input {name}: the body has fewer than {size} bytes for it")
        self._at += size
        return taken

    def finish(self) -> None:
        if self._at != len(self._data):
            raise Refusal(422, f"{len(self._data) - self._at} bytes of the body belong to no input")
