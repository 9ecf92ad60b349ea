from __future__ import annotations

import re
from pathlib import Path
from textwrap import indent

import pytest
from pydantic import Field

from engine.kinds import KINDS
from engine.spec.fields import Block
from engine.spec.kinds import Kinds, KindTable
from engine.spec.load import load_spec
from engine.spec.notation import type_text
from engine.spec.project import Project, load_project
from engine.spec.reference import render

PAGE = (Path(__file__).parents[2] / "docs" / "spec.md").read_text(encoding="utf-8")
PROJECT_KEYS = ("defaults:", "stores:")


def examples() -> list[str]:
    written = re.sub(r"<!-- table: .*?<!-- end -->", "", PAGE, flags=re.DOTALL)
    return re.findall(r"```yaml\n(.*?)```", written, re.DOTALL)


def test_the_page_is_in_step() -> None:
    assert render(PAGE, KINDS) == PAGE, "write it again: python -m engine.cli.spec_reference docs/spec.md"


@pytest.mark.parametrize("text", examples(), ids=lambda text: text.partition("\n")[0])
def test_each_example_of_the_page_is_valid(text: str) -> None:
    if text.startswith(PROJECT_KEYS):
        assert load_project(text.encode()).environments
        return
    spec = text if text.startswith("model_spec:") else f"model_spec:\n  name: example\n{indent(text, '  ')}"
    loaded = load_spec(
        spec.encode(), "spec.yaml", project=Project(), kinds=KINDS, exists=lambda _: True, variables={"prior": "a.csv"}
    )
    assert loaded.warnings == ()


def test_a_kind_is_written_where_its_table_says() -> None:
    kinds = Kinds(KindTable({"manual": "engine.triggers.manual:Block"}), KINDS.gates, KINDS.strategies)
    page = render(PAGE, kinds)
    assert "type: manual" in page and "#### `type: webhook`" not in page


def test_a_page_that_leaves_a_block_out_is_refused() -> None:
    without = re.sub(r"<!-- table: split -->.*?<!-- end -->", "", PAGE, flags=re.DOTALL)
    with pytest.raises(ValueError, match="split"):
        render(without, KINDS)


def test_a_type_without_words_is_refused() -> None:
    class Odd(Block):
        value: complex = Field(default=0j)

    with pytest.raises(TypeError, match="complex"):
        type_text(Odd.model_fields["value"].annotation)
