"""A report on a terminal and in a pipe: what fits, what is left out, what has a colour."""

from __future__ import annotations

from io import StringIO

import pytest
from click import unstyle

from engine.cli.sections import Section, Table, draw, plain, show

WHY = "drift in 1 of the last 3 windows, 2 needed, which is said at some length so that it does not fit into one line"
ROWS = [
    ("monthly_charges", "ks", "0.397", "1.5e-45", "██████████", "▁▂▇", "drift", ""),
    ("tenure", "ks", "0.012", "0.43", "", "▁▁▂", "no drift", WHY),
]
TABLE = Table(
    ("feature", "test", "effect", "p", "size", "history", "verdict", "why"),
    ROWS,
    states=("verdict",),
    spare=("size", "test"),
    drawn=("size",),
)
REPORT = [Section("Drift", "drift in 1 of 2 columns", "drift", TABLE, ("and 3 more",)), Section("Limits", "none")]


class Terminal(StringIO):
    def isatty(self) -> bool:
        return True


def drawn(width: int, monkeypatch: pytest.MonkeyPatch, **environment: str) -> str:
    for name in ("NO_COLOR", "COLORTERM", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"TERM": "xterm-256color", **environment}.items():
        monkeypatch.setenv(name, value)
    stream = Terminal()
    draw(REPORT, stream, width)
    return stream.getvalue()


@pytest.mark.parametrize("width", [60, 80, 120, 200])
def test_no_line_is_wider_than_the_terminal_and_no_verdict_is_cut(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = unstyle(drawn(width, monkeypatch)).splitlines()
    assert max(map(len, lines)) <= width
    text = "\n".join(lines)
    assert all(cell in text for row in ROWS for cell in (row[2], row[3], row[5], row[6]))
    assert all(word in text for word in WHY.split())
    assert ("TEST" in text) == (width > 60)
    assert ("██████████" in text) == (width >= 120)


def test_verdicts_have_colours_and_nobody_is_forced_to_see_them(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "\x1b[1;31mdrift" in drawn(120, monkeypatch)
    assert "\x1b[32mno drift" in drawn(120, monkeypatch)
    assert "\x1b[3" not in drawn(120, monkeypatch, NO_COLOR="1")


def test_in_a_pipe_a_row_is_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = StringIO()
    show(REPORT, stream)
    text = stream.getvalue()
    assert text == unstyle(plain(REPORT)) + "\n"
    assert "\x1b" not in text and "█" not in text
    (row,) = [line for line in text.splitlines() if line.startswith("tenure")]
    assert row.split()[:4] == ["tenure", "ks", "0.012", "0.43"] and row.endswith(WHY)
    assert text.splitlines()[0] == "Drift: drift in 1 of 2 columns"


def test_a_column_that_says_nothing_is_not_drawn() -> None:
    assert Table(("a", "b"), [("x", ""), ("y", "")]).fitted(80).headings == ("a",)
    assert Table(("a", "b"), [("x", ""), ("y", "z")], spare=("a",)).fitted(80).headings == ("a", "b")
