"""Watching rollouts while they are carried on: a live view on a terminal, a line for each change in a pipe."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, Any, TextIO

import click

from engine.cli.delivery import headline, progress_text

if TYPE_CHECKING:
    from engine.app.delivering import Progress
    from engine.app.workspace import Workspace


def follow_rollouts(workspace: Workspace, models: Sequence[str], *, as_json: bool) -> list[Progress]:
    """Carry rollouts on and show them until they have ended. Ctrl-C leaves them as they are: they go on."""
    from engine.app.delivering import follow

    stream = sys.stderr if as_json else sys.stdout
    view = _Live(stream) if stream.isatty() else _Lines(err=as_json)
    try:
        with view.opened:
            return follow(workspace, models, view.show, threading.Event())
    except KeyboardInterrupt:
        click.echo(f"Left as it is. Go on: engine rollout watch {models[0]}", err=True)
        raise click.exceptions.Abort from None


class _Lines:
    """One line whenever a headline changes or another reason holds it."""

    def __init__(self, *, err: bool) -> None:
        self._err = err
        self._said: dict[str, str] = {}
        self.opened: AbstractContextManager[Any] = nullcontext()

    def show(self, found: Sequence[Progress]) -> None:
        for each in found:
            line = headline(each)
            if self._said.get(each.model) != line:
                self._said[each.model] = line
                click.echo(line, err=self._err)


class _Live:
    """What is known of each rollout, drawn anew with each pass; the last state stays on the screen."""

    def __init__(self, stream: TextIO) -> None:
        from rich.console import Console
        from rich.live import Live
        from rich.text import Text

        context = click.get_current_context(silent=True)
        plain = context is not None and context.color is False
        self._text: Callable[[str], Text] = Text.from_ansi
        live = Live(console=Console(file=stream, no_color=plain, highlight=False), auto_refresh=False)
        self._live, self.opened = live, live

    def show(self, found: Sequence[Progress]) -> None:
        self._live.update(self._text("\n\n".join(progress_text(each, watched=True) for each in found)), refresh=True)
