"""The two parsers of a payload's JSON agree: what is taken is the same, what is refused is refused by both."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.serving.payloads import _parse_strictly, parse
from engine.serving.refusal import Refusal

KEYS = st.sampled_from(["a", "b", "instances", "x:y", 'q"', "ü"])
PLAIN = st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False) | st.text(max_size=5)


def _written(pairs: list[tuple[str, str]]) -> str:
    return "{" + ",".join(f"{json.dumps(key)} : {value}" for key, value in pairs) + "}"


def _objects(values: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.lists(st.tuples(KEYS, values), max_size=4).map(_written)


TEXTS = st.recursive(
    PLAIN.map(json.dumps),
    lambda inner: _objects(inner) | st.lists(inner, max_size=3).map(lambda items: "[" + ",".join(items) + "]"),
    max_leaves=12,
)


def _outcome(parser: Any, body: bytes) -> Any:
    try:
        return parser(body)
    except Refusal as refusal:
        return refusal.status, refusal.message


@settings(max_examples=400, deadline=None)
@given(TEXTS)
def test_keys_may_come_twice_anywhere(text: str) -> None:
    assert _outcome(parse, text.encode()) == _outcome(_parse_strictly, text.encode())


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=20) | st.text('{}[]:,"\\ae1.-0 NaInfity', max_size=20).map(str.encode))
def test_what_is_no_json(body: bytes) -> None:
    assert _outcome(parse, body) == _outcome(_parse_strictly, body)


@pytest.mark.parametrize(
    "text", ['{"a":1,"a":2}', '{"instances":[{"a":1,"a":2}]}', '{"a":[[{"b":1,"b":1}]]}', '{"a":{"b":1,"b":":"}}']
)
def test_a_key_that_is_there_twice(text: str) -> None:
    with pytest.raises(Refusal, match="is there twice"):
        parse(text.encode())


def test_what_only_the_strict_parser_takes() -> None:
    assert parse(b'{"a":1e999}') == {"a": float("inf")}  # refused with its column, later
    assert parse(b'{"a":"\\ud83d\\ude00:","b":1e999}') == {"a": "\U0001f600:", "b": float("inf")}


@pytest.mark.parametrize(
    "text", ['{"a":"\\ud800"}', '{"a":1e999,"b:":["x\\udc00"]}', '{"\\ud800":1}', '"\\udc00\\ud800"']
)
def test_half_a_surrogate_pair(text: str) -> None:
    with pytest.raises(Refusal, match="surrogate"):
        parse(text.encode())
