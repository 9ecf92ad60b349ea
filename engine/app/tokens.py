"""Tokens for the gateway and for control: making, listing and revoking them. Each environment has its own.

Raises UsageError for a name that is taken or not known.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from engine.app.workspace import Workspace
from engine.serving.tokens import FILE, Purpose, Token, TokenFile


def create(workspace: Workspace, purpose: Purpose, name: str | None, lasts: timedelta | None) -> tuple[Token, str]:
    """A new token, and its text, which is told now and kept nowhere."""
    workspace.prepare_home()
    return token_file(workspace).create(purpose, name, lasts)


def listed(workspace: Workspace) -> Sequence[Token]:
    """The tokens, by name."""
    return token_file(workspace).tokens()


def revoke(workspace: Workspace, name: str) -> Token:
    """Forget a token; whoever listens refuses it within a second."""
    workspace.prepare_home()
    return token_file(workspace).revoke(name)


def first_tokens(workspace: Workspace) -> dict[Purpose, str]:
    """One token for each of the gateway's purposes, for a project that has no tokens yet; nothing for one that has."""
    if listed(workspace):
        return {}
    return {purpose: create(workspace, purpose, None, None)[1] for purpose in (Purpose.CONTROL, Purpose.PREDICT)}


def token_file(workspace: Workspace) -> TokenFile:
    """Where the tokens are kept."""
    return TokenFile(workspace.home / FILE)
