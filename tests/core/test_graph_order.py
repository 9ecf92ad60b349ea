"""The order of any graph: valid, complete, and as declared wherever the dependencies leave it free."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.core.graph import FromStep, Step, graph_of
from engine.errors import StateError


@st.composite
def acyclic(draw: st.DrawFn) -> list[Step]:
    """Steps in an order that is not theirs; every one may need any that has a smaller number."""
    size = draw(st.integers(1, 12))
    steps = []
    for number in range(size):
        needs = draw(st.sets(st.integers(0, number - 1), max_size=4)) if number else set()
        kinds = draw(st.lists(st.sampled_from(["input", "after", "gate"]), min_size=len(needs), max_size=len(needs)))
        by_kind = {kind: [f"s{n}" for n, k in zip(sorted(needs), kinds, strict=True) if k == kind] for kind in kinds}
        gates = by_kind.get("gate", [])
        steps.append(
            Step(
                f"s{number}",
                "command",
                inputs={name: FromStep(name, "o") for name in by_kind.get("input", [])},
                after=(*by_kind.get("after", []), *gates[1:]),
                gate=gates[0] if gates else None,
            )
        )
    return draw(st.permutations(steps))


@given(acyclic())
def test_order_is_valid_and_stable(steps: list[Step]) -> None:
    order = [step.name for step in graph_of(steps).steps]
    assert sorted(order) == sorted(step.name for step in steps)
    place = {name: number for number, name in enumerate(order)}
    for step in steps:
        assert all(place[name] < place[step.name] for name in step.upstream)
    assert [step.name for step in graph_of(steps).steps] == order
    again = graph_of(graph_of(steps).steps)
    assert [step.name for step in again.steps] == order  # an order that fits is left alone


@given(st.integers(2, 8))
def test_cycles_are_named(size: int) -> None:
    steps = [Step(f"s{i}", "command", after=(f"s{(i + 1) % size}",)) for i in range(size)]
    with pytest.raises(StateError, match=r"cycle: s\d → "):
        graph_of(steps)


def test_unknown_upstream_is_named() -> None:
    with pytest.raises(StateError, match="step a needs b, which does not exist"):
        graph_of([Step("a", "command", after=("b",))])
