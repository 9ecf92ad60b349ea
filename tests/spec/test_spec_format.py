from __future__ import annotations

import random
import re
from typing import Any

import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from engine.spec.format import format_text
from engine.spec.yaml_tree import parse_tree

UGLY = """


model_spec:
      name:    a     # hi


      # about
      steps:
      -   name: x
          run: |
             a b
               c
          inputs:   {a: b,
              c: d}
      # second
      -
          name: y

      labels:
        - - a
          - b
        -   - c
# end


"""
NEAT = """\
model_spec:
  name: a     # hi

  # about
  steps:
    - name: x
      run: |
         a b
           c
      inputs: {a: b,
          c: d}
    # second
    -
      name: y

  labels:
    - - a
      - b
    - - c
# end
"""


def test_the_canonical_layout() -> None:
    assert format_text(UGLY) == NEAT
    assert format_text(NEAT) == NEAT


def test_line_ends_trailing_blanks_and_the_last_newline() -> None:
    assert format_text("\ufeffa: 1  \r\nb:  2\t\n\n\n\nc: 3") == "a: 1\nb: 2\n\nc: 3\n"


def test_what_does_not_parse_is_left_alone() -> None:
    for text in ("a: [1", "", "a: 1\na: 2 \n", "a: .nan  \n", "a: \ud800  "):
        assert format_text(text) == text


def shape(text: str) -> object:
    parsed = parse_tree(text.encode(), "")
    assert parsed.root is not None and not parsed.diagnostics
    return parsed.root.plain()


SCALARS = st.one_of(
    st.integers(-1000, 1000),
    st.booleans(),
    st.none(),
    st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=30),
    st.sampled_from(
        ["# no comment", "a # b", "- x", "a: b", " lead", "trail ", "two\nlines\n", "x\n\n  y", "on", "", "|", "'"]
    ),
)
KEYS = st.text(st.sampled_from("abcdef_-. #:"), min_size=1, max_size=6)
TREES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4), max_leaves=15
)


@given(tree=st.dictionaries(KEYS, TREES, min_size=1, max_size=4), seed=st.integers(0, 10**6))
@example(tree={"a": [[["x"], "y"], {"b": "two\nlines\n"}]}, seed=1)
def test_formatting_keeps_the_tree_and_the_comments_and_is_stable(tree: dict[str, Any], seed: int) -> None:
    order = random.Random(seed)
    text = yaml.safe_dump(
        tree,
        indent=order.choice([2, 3, 4, 8]),
        width=order.choice([20, 80, 10**6]),
        default_flow_style=order.choice([False, None, True]),
        default_style=order.choice([None, '"', "'", "|", ">"]),
        allow_unicode=order.choice([True, False]),
    )
    comments = ["", "# note\n", "   # far\n", "\n\n"]
    commented = "".join(f"{order.choice(comments)}{line}\n" for line in text.split("\n"))
    if parse_tree(commented.encode(), "").diagnostics:
        return
    result = format_text(commented)
    assert shape(result) == shape(commented)
    assert re.findall("# (?:note|far)", result) == re.findall("# (?:note|far)", commented)
    assert format_text(result) == result
