"""Approving and rejecting: the options of both, who speaks, and what came of it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from engine.cli.changes import reason_option
from engine.cli.files import FilePath
from engine.cli.shape import Settings
from engine.errors import UsageError

if TYPE_CHECKING:
    from engine.app.approving import Awaited, Identity, Word
    from engine.app.workspace import Workspace

F = TypeVar("F", bound=Callable[..., Any])


def approval_options(command: F) -> F:
    """`--version`, `--reason`, `--token-file`, `--commit`."""
    for option in (
        click.option("--commit", metavar="REVISION", help="Speak by this signed commit."),
        click.option(
            "--token-file",
            type=FilePath(exists=True, dir_okay=False),
            metavar="FILE",
            help="Read the token from this file.",
        ),
        reason_option,
        click.option(
            "--version", type=click.IntRange(min=1), metavar="N", help="This release; the candidate if left out."
        ),
    ):
        command = option(command)
    return command


def say_word(
    settings: Settings,
    model: str,
    version: int | None,
    reason: str,
    token_file: Path | None,
    commit: str | None,
    *,
    agrees: bool,
    as_json: bool,
) -> int:
    """Keep the word and tell what came of it."""
    from engine.app.approving import awaited, say

    workspace = settings.workspace()
    wanted = awaited(workspace, model, version)
    who = _identity(workspace, wanted, token_file, commit, agrees=agrees)
    word = say(workspace, wanted, who, agrees=agrees, reason=reason)
    if as_json:
        import json

        click.echo(json.dumps({"format_version": 1, **_document(word)}, ensure_ascii=False, indent=2))
    else:
        click.echo("\n".join(_text(word)))
    return 0


def _identity(
    workspace: Workspace, wanted: Awaited, token_file: Path | None, commit: str | None, *, agrees: bool
) -> Identity:
    from engine.app.approving import TOKEN_VARIABLE, by_commit, by_token

    if commit is not None:
        return by_commit(workspace, commit, wanted.release, agrees=agrees)
    if token_file is not None:
        return by_token(workspace, token_file.read_text(encoding="utf-8"))
    secret = os.environ.get(TOKEN_VARIABLE)
    if secret is None and sys.stdin.isatty():
        secret = click.prompt("Token", hide_input=True)
    if secret is None:
        raise UsageError(
            "it is not known who speaks", remedy=f"Set {TOKEN_VARIABLE}, or give --token-file or --commit."
        )
    return by_token(workspace, secret)


def _text(word: Word) -> list[str]:
    from engine.cli.delivery import stage_text

    said = word.approval
    verb = "approved" if said.agrees else "rejected"
    lines = [
        f"{click.style(said.model, bold=True)}: version {said.version} {verb} by {said.by}",
        f"  artifact  {said.artifact}",
        f"  approval  {word.consent.text}",
    ]
    if word.rollout is not None:
        lines.append(f"  rollout   {stage_text(word.rollout)}")
    elif word.consent.enough:
        lines.append("  It goes live by the next: engine apply")
    return lines


def _document(word: Word) -> dict[str, Any]:
    from engine.app.showing import rollout_document

    consent = word.consent
    return {
        **{key: value for key, value in vars(word.approval).items() if key != "sequence"},
        "approvals": list(consent.given),
        "needed": consent.needed,
        "enough": consent.enough,
        "rejected": consent.rejected or None,
        "rollout": None if word.rollout is None else rollout_document(word.rollout),
    }
