"""How far the actual values of a model's predictions go: what a plan sees of them, so that a run reads just these."""

from __future__ import annotations

import re
from dataclasses import dataclass

_TEXT = re.compile(r"(\d+) labels until (\S+)")


@dataclass(frozen=True)
class LabelMark:
    """The first `count` values that became known, the newest of them at `until` (UTC; empty while there are none)."""

    count: int = 0
    until: str = ""

    def __str__(self) -> str:
        return f"{self.count} labels until {self.until}" if self.count else "no labels"

    @staticmethod
    def of(text: object) -> LabelMark:
        """From its text; anything else stands for no labels."""
        found = _TEXT.fullmatch(str(text))
        return LabelMark(int(found[1]), found[2]) if found else LabelMark()
