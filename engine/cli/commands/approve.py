"""`engine approve`."""

from __future__ import annotations

from pathlib import Path

import click

from engine.cli.approvals import approval_options, say_word
from engine.cli.models import model_argument
from engine.cli.shape import Settings, define, json_option


@define(
    "approve",
    examples="""
    engine approve customer_churn --reason "looked at the slices"
    engine approve customer_churn --version 7 --token-file ~/.approval
    engine approve customer_churn --commit HEAD
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
    """Agree that a release may go live, where its spec asks for approval.

    Who agrees is known by a token (ENGINE_APPROVAL_TOKEN, --token-file, or asked for), or by who signed a commit whose
    message says which artifact it approves. A rollout that waited for it goes on at once.
    """
    return say_word(settings, model, version, reason, token_file, commit, agrees=True, as_json=as_json)
