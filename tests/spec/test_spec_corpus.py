"""Hundreds of bad specs: each gets located mistakes with remedies, and no traceback."""

from __future__ import annotations

import cProfile
from collections.abc import Callable

import pytest
from bad_specs import CORPUS, VALID, extremes

from engine.errors import Diagnostic

Mistakes = Callable[..., list[Diagnostic]]


def test_the_valid_spec_is_valid(load: Callable[..., object]) -> None:
    load(VALID)


def test_the_corpus_is_large() -> None:
    assert len(CORPUS) >= 500


@pytest.mark.parametrize("text", CORPUS.values(), ids=list(CORPUS))
def test_each_gets_located_mistakes_with_a_remedy(mistakes: Mistakes, text: bytes) -> None:
    lines = text.splitlines()
    for found in mistakes(text):
        assert found.file == "spec.yaml"
        assert 1 <= found.line <= len(lines) + 1 and found.column >= 1
        assert found.message.strip() and found.remedy.strip()
        assert "pydantic" not in str(found) and "Input should" not in str(found) and "\n" not in str(found)


@pytest.mark.parametrize("text", [text for _, text in extremes()], ids=[name for name, _ in extremes()])
def test_as_much_as_the_limits_allow_is_bounded_work(mistakes: Mistakes, text: str) -> None:
    with cProfile.Profile() as calls:
        mistakes(text)
    calls.create_stats()
    assert sum(entry[1] for entry in calls.stats.values()) < 3_000_000  # type: ignore[attr-defined]
