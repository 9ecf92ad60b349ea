"""Writes the tables of docs/spec.md again, from the models: `python -m engine.cli.spec_reference docs/spec.md`."""

from __future__ import annotations

import sys
from pathlib import Path

from engine.kinds import KINDS
from engine.spec.reference import render


def main(page: Path) -> None:
    """Fill the page's tables in place. Raises ValueError for a page that leaves a block out."""
    page.write_text(render(page.read_text(encoding="utf-8"), KINDS), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
