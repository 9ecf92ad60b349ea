"""Asking the user for a yes. Where nobody can be asked, nothing is done."""

from __future__ import annotations

import sys

import click

from engine.errors import UsageError


def agree(question: str, *, auto_approve: bool, instead: str) -> None:
    """Return if the answer is yes. Raises UsageError for any other, and where there is no terminal to ask on."""
    if auto_approve:
        return
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise UsageError("nobody can be asked here, so nothing was done", remedy=instead)
    answer = click.prompt(
        click.style(f"{question} [y/N]", bold=True), default="n", show_default=False, prompt_suffix=" "
    )
    if answer.strip().lower() not in ("y", "yes"):
        raise UsageError("nothing was changed")
