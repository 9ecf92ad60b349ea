from __future__ import annotations

import pytest
import yaml

from engine.spec.yaml_tree import MAX_BYTES, MAX_DEPTH, MAX_NODES, parse_tree


def plain(text: str) -> object:
    parsed = parse_tree(text.encode(), "f")
    assert parsed.root is not None and not parsed.diagnostics, parsed.diagnostics
    return parsed.root.plain()


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("on", "on"), ("off", "off"), ("yes", "yes"), ("NO", "NO"), ("y", "y"), ("22:22", "22:22"),
        ("1e3", 1000.0), ("1.5", 1.5), (".5", 0.5), ("-1.", -1.0), ("0o17", 15), ("0x1F", 31), ("017", 17),
        ("+3", 3), ("0", 0), ("true", True), ("False", False), ("null", None), ("~", None), ("Null", None),
        ("2001-12-14", "2001-12-14"), ("1_000", "1_000"), ("0b1", "0b1"), ("=", "="), ("'1'", "1"),
        ('"true"', "true"), ("!!str 12", "12"), ("!!int 12", 12), ("!!float 1", 1.0), ("! 12", "12"),
    ],
)  # fmt: skip
def test_scalars_are_those_of_yaml_1_2(text: str, value: object) -> None:
    found = plain(f"a: {text}")
    assert found == {"a": value}
    assert type(found["a"]) is type(value)  # type: ignore[index]


def test_places_are_those_of_keys_and_values() -> None:
    root = parse_tree(b"a:\n  - x\n  - b: 1\n", "f").root
    assert root is not None
    item = root.fields["a"].items[1].fields["b"]
    assert item.key == ("f", 3, 5) and item.place == ("f", 3, 8)


def test_a_byte_order_mark_is_passed_over() -> None:
    assert plain("\ufeffa: 1") == {"a": 1}


def test_merge_keys_and_aliases() -> None:
    assert plain("a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}\nc: {<<: [{y: 9}, *a]}\nd: *a") == {
        "a": {"x": 1, "y": 2}, "b": {"y": 3, "x": 1}, "c": {"y": 9, "x": 1}, "d": {"x": 1, "y": 2},
    }  # fmt: skip


def test_several_mistakes_are_found_at_once() -> None:
    found = parse_tree(b"a: .nan\nb: !x 1\na: 2\n3: x\nc: !!python/object:os.system {}\nd: 1e999\n", "f")
    assert sorted(d.line for d in found.diagnostics) == [1, 2, 3, 4, 5, 6]


def bomb(levels: int, body: str) -> bytes:
    lines = ["a0: &a0 {" + ", ".join(f"k{i}: 1" for i in range(10)) + "}"]
    lines += [f"a{n}: &a{n} " + body.format(refs=", ".join([f"*a{n - 1}"] * 10)) for n in range(1, levels)]
    return "\n".join(lines).encode()


@pytest.mark.parametrize(
    ("content", "line"),
    [
        (bomb(9, "[{refs}]"), 4),
        (bomb(9, "{{<<: [{refs}]}}"), 4),
        (b"a: &a [*a]", 1),
        (b"a: &a {b: *a}", 1),
        (b"a: *nothing", 1),
        (b"[" * 100_000, 1),
        (b"a:\n" + b"".join(b" " * i + b"- \n" for i in range(1, 100)), None),
        (b"- " * 50_000, 1),
        (b"? " * 50_000, 1),
        (b"{a: " * 40, 1),
        (b"&a " * 1000 + b"x", 1),
        (b"x: 1\n" * (MAX_NODES + 1), None),
        (b"[" + b"1," * (MAX_NODES + 1) + b"]", 1),
        (b"a" * (MAX_BYTES + 1), 1),
        (b"a: 1\n" * 2_000_000, 1),
        ("a: 1".encode("utf-16"), 1),
        ("a: 1".encode("utf-32"), 1),
        (b"a: 1\nb: caf\xe9\n", 2),
        (b"a: 1\n\nb: \x00\n", 3),
        (b"a: \x1b[31m", 1),
        (b"a: \xed\xa0\x80", 1),
        (b"a: \"\\0\"", 1),
        (b"--- {a: 1}\n---\nb: 2\n", 2),
        (b"%YAML 1.1\n---\na: 1\n", 1),
        (b"a: 1\n\tb: 2\n", 2),
        (b"a: {b: 1\n", 2),
        (b"a: 'x\n", 2),
        (b"", 1),
        (b"# nothing\n", 1),
        (b"a: 99999999999999999999", 1),
        (b"a: " + b"9" * 100_000, 1),
        (b"a: -.inf", 1),
        (b"{a: 1}: 2", 1),
        (b"null: 2", 1),
        (b"<<: 3", 1),
        (b"!!binary aGVsbG8=: 1", 1),
        (b"a: !!timestamp 2001-12-14", 1),
        (b"a: !!int x", 1),
        (b"a: !!set {x}", 1),
        (b"a: !!bool 1", 1),
    ],
)  # fmt: skip
def test_what_cannot_be_read_is_a_located_mistake(content: bytes, line: int | None) -> None:
    found = parse_tree(content, "f").diagnostics
    assert found
    for diagnostic in found:
        assert diagnostic.line >= 1 and diagnostic.column >= 1 and diagnostic.message and diagnostic.remedy
    if line:
        assert min(d.line for d in found) == line


def test_the_deepest_allowed_document() -> None:
    assert parse_tree(b"[" * MAX_DEPTH + b"]" * MAX_DEPTH, "f").diagnostics == ()
    assert parse_tree(b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1), "f").root is None


def test_depth_counts_what_aliases_bring() -> None:
    lines = ["a0: &a0 [1]"] + [f"a{n}: &a{n} [*a{n - 1}]" for n in range(1, 40)]
    assert "deep" in parse_tree("\n".join(lines).encode(), "f").diagnostics[0].message


@pytest.mark.parametrize(
    "content", [b"a: {x: on, y: [1, 1e3]}\n", b"a: [1", b"a: 1\na: 2\n", b"[" * 1000, b"a:\n\tb: 1\n", b"a: b: c"]
)
def test_without_libyaml_the_same_is_read(content: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    fast = parse_tree(content, "f")
    monkeypatch.delattr(yaml, "CSafeLoader", raising=False)
    slow = parse_tree(content, "f")
    assert slow.root == fast.root
    assert len(slow.diagnostics) == len(fast.diagnostics)  # their places may differ by a token
    assert all(d.remedy for d in slow.diagnostics)
