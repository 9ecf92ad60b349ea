"""`engine reject`."""

from __future__ import annotations

from pathlib import Path

import click

from engine.cli.approvals import approval_options, say_word
from engine.cli.models import model_argument
from engine.cli.shape import Settings, define, json_option


@define(
    "reject",
    examples="""
    engine reject customer_churn --reason "worse for new customers"
    engine reject customer_churn --version 7 --reason "wrong data" --token-file ~/.approval
    engine reject customer_churn --commit HEAD
    """,
)
@model_argument
@approval_options
@json_option
@click.pass_obj
def command(
    settings: Settings,
    /,
    model: str,
    version: int | None,
    reason: str,
    token_file: Path | None,
    commit: str | None,
    as_json: bool,
) -> int:
    """Say that a release must not go live, and why. A candidate is sent away at once.

    Who says so is known as for `engine approve`. One rejection outweighs all approvals, until the same person approves.
    """
    return say_word(settings, model, version, reason, token_file, commit, agrees=False, as_json=as_json)
