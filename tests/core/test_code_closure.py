"""Which files some user code consists of, and what of them counts."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.core.code import code_of, command_files, module_files


def reader(files: Mapping[str, str]) -> Callable[[str], bytes | None]:
    return lambda path: files[path].encode() if path in files else None


def digest_of(source: str) -> str:
    return code_of(["f.py"], reader({"f.py": source})).files["f.py"]


BASE = '''
import math

def area(r):
    """The area."""
    return math.pi * r ** 2  # of a circle

class Shape:
    """A shape."""
    sides = 3
'''


@pytest.mark.parametrize(
    "same",
    [
        BASE.replace('"""The area."""', '"""Other words."""'),
        BASE.replace("  # of a circle", ""),
        BASE.replace("r ** 2", "(r**2)"),
        "# a comment\n\n\n" + BASE.replace("\n\n", "\n\n\n"),
        '"""A module."""\n' + BASE,
        BASE.replace('    """A shape."""\n', ""),
        BASE.replace("\n", "\r\n"),
    ],
)
def test_what_does_not_count(same: str) -> None:
    assert digest_of(same) == digest_of(BASE)


@pytest.mark.parametrize(
    "other",
    [
        BASE.replace("** 2", "** 3"),
        BASE.replace("sides = 3", "sides = 4"),
        BASE + "\nprint(area(1))\n",
        BASE.replace("def area(r)", "def area(r, /)"),
        BASE.replace("math.pi", "3.14"),
    ],
)
def test_what_counts(other: str) -> None:
    assert digest_of(other) != digest_of(BASE)


@pytest.mark.parametrize(("before", "after"), [("x = 'a'", "x = 'b'"), ("x = 1", "x = True"), ("x = 1", "x = 1.0")])
def test_constants_count(before: str, after: str) -> None:
    assert digest_of(before) != digest_of(after)


@pytest.mark.parametrize(
    ("files", "entry", "expected"),
    [
        ({"a.py": "import b", "b.py": ""}, "a.py", {"a.py", "b.py"}),
        ({"a.py": "from b import c", "b.py": "c = 1"}, "a.py", {"a.py", "b.py"}),
        ({"a.py": "def f():\n import b", "b.py": ""}, "a.py", {"a.py", "b.py"}),
        (
            {"a.py": "import p.q", "p/__init__.py": "", "p/q.py": "from . import r", "p/r.py": ""},
            "a.py",
            {"a.py", "p/__init__.py", "p/q.py", "p/r.py"},
        ),
        (
            {"a.py": "from p import q", "p/__init__.py": "from .s import x", "p/q.py": "", "p/s.py": "x = 1"},
            "a.py",
            {"a.py", "p/__init__.py", "p/q.py", "p/s.py"},
        ),
        (
            {"p/a.py": "from ..top import x", "top.py": "x = 1", "p/__init__.py": ""},
            "p/a.py",
            {"p/a.py", "top.py"},
        ),
        ({"src/a.py": "import b", "src/b.py": ""}, "src/a.py", {"src/a.py", "src/b.py"}),
        ({"jobs/a.py": "import lib", "src/lib.py": ""}, "jobs/a.py", {"jobs/a.py", "src/lib.py"}),
        ({"a.py": "import b", "b.py": "import a"}, "a.py", {"a.py", "b.py"}),
        ({"a.py": "import numpy, json"}, "a.py", {"a.py"}),
        ({"fit.R": "x <- 1"}, "fit.R", {"fit.R"}),
    ],
)
def test_imports_are_followed_through_the_project(files: dict[str, str], entry: str, expected: set[str]) -> None:
    assert set(code_of([entry], reader(files)).files) == expected


def test_outside_packages_are_named() -> None:
    source = "import numpy as np, json\nfrom sklearn.tree import X\nfrom . import y\nimport b"
    code = code_of(["a.py"], reader({"a.py": source, "b.py": "import pandas"}))
    assert code.imports == {"numpy", "sklearn", "pandas"}


def test_a_syntax_error_counts_by_its_bytes() -> None:
    assert digest_of("def f(:") != digest_of("def f(: # other")
    assert digest_of("x = 1\0") != digest_of("x = 2\0")


def test_files_of_modules_and_commands() -> None:
    read = reader({"p/__init__.py": "", "p/m.py": "", "train.py": "", "-x": ""})
    assert module_files("p.m", read) == ["p/__init__.py", "p/m.py"]
    assert module_files("missing.m", read) == []
    assert command_files(["python", "-m", "p.m"], read) == ["p/__init__.py", "p/m.py"]
    assert command_files(["python", "train.py", "--in", "${inputs.data}", "-x"], read) == ["train.py"]


@given(st.lists(st.integers(0, 6), max_size=12), st.integers(0, 6))
def test_any_web_of_imports_ends(edges: list[int], entry: int) -> None:
    """Cycles included; every file that is reached is there once."""
    sources = {f"m{i}.py": "" for i in range(7)}
    for number, target in enumerate(edges):
        sources[f"m{number % 7}.py"] += f"import m{target}\n"
    reached, queue = set(), [f"m{entry}.py"]
    while queue:
        file = queue.pop()
        if file not in reached:
            reached.add(file)
            queue += [f"{line.split()[1]}.py" for line in sources[file].splitlines()]
    assert set(code_of([f"m{entry}.py"], reader(sources)).files) == reached
