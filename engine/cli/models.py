"""The argument that names a model, completed from what the state knows."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import click

from engine.cli.shape import Settings


def complete(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    """The names of the state's models that begin so; none where it cannot be read."""
    from engine.errors import EngineError

    settings = context.find_object(Settings) or Settings(Path())
    with suppress(EngineError, OSError):
        return [name for name in settings.workspace().reader.list_models() if name.startswith(incomplete)]
    return []


model_argument = click.argument("model", shell_complete=complete)
models_argument = click.argument("models", nargs=-1, metavar="[MODEL]...", shell_complete=complete)
