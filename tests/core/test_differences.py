"""What two fingerprints differ in is named to the innermost field, as the spec writes it."""

from __future__ import annotations

from typing import Any

import pytest

from engine.core.fingerprint import Difference, differences


@pytest.mark.parametrize(
    ("before", "after", "found"),
    [
        ({"training": {"params": {"C": 1}}}, {"training": {"params": {"C": 2}}}, [("training.params.C", 1, 2)]),
        ({"validation": [{"min": 1}]}, {"validation": [{"min": 2}]}, [("validation.min", 1, 2)]),
        (
            {"validation": [{"min": 1}, {"min": 3}]},
            {"validation": [{"min": 2}, {"min": 4}]},
            [("validation[0].min", 1, 2), ("validation[1].min", 3, 4)],
        ),
        ({"validation": [1]}, {"validation": [1, 2]}, [("validation", [1], [1, 2])]),
        ({"a": 1}, {"a": True}, [("a", 1, True)]),
        ({"a": 1}, {"a": 1.0}, [("a", 1, 1.0)]),
        ({"a": {"b": 1}}, {}, [("a", {"b": 1}, None)]),
        ({"a": 1, "b": [1, {"c": None}]}, {"b": [1, {"c": None}], "a": 1}, []),
    ],
)
def test_the_innermost_field(before: dict[str, Any], after: dict[str, Any], found: list[tuple[str, Any, Any]]) -> None:
    expected = tuple(Difference("settings", *difference) for difference in found)
    assert differences({"settings": before}, {"settings": after}) == expected


def test_settings_come_before_inputs_and_packages() -> None:
    before = {"settings": {"a": 1}, "inputs": {"x": "1"}, "packages": {"p": "1"}, "step": {"version": 1}}
    after = {"settings": {"a": 2}, "inputs": {"x": "2"}, "packages": {"p": "2"}, "step": {"version": 2}}
    assert [difference.kind for difference in differences(before, after)] == ["settings", "inputs", "packages", "step"]
