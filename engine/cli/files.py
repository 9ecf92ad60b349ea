"""Files that a command line names: where they are, and how they are written."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TextIO

import click

from engine.cli.shape import Settings
from engine.errors import UsageError


class FilePath(click.Path):
    """A path whose value is a `Path`; a relative one lies in the folder that `--chdir` names."""

    def __init__(self, **options: Any) -> None:
        super().__init__(path_type=Path, **options)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The path, after click's own checks of it."""
        settings = ctx.find_object(Settings) if ctx is not None else None
        if settings is not None and settings.folder != Path():
            value = settings.folder.absolute() / value
        return super().convert(value, param, ctx)


@contextmanager
def refusals_told(path: Path) -> Iterator[None]:
    """Raise UsageError where the system refuses to write below or at `path`."""
    try:
        yield
    except OSError as error:
        raise UsageError(
            f"{path} cannot be written: {error.strerror}", remedy="Name a place that you may write to."
        ) from None


@contextmanager
def writing(path: Path) -> Iterator[TextIO]:
    """A text file for `path`: what is there stays whole until the new one is. Raises UsageError."""
    special = path.exists() and not path.is_file()  # /dev/stdout
    draft = path if special else path.with_name(f".{path.name}.partial")
    try:
        with refusals_told(path):
            with draft.open("w", encoding="utf-8", newline="") as file:
                yield file
            if not special:
                draft.replace(path)
    finally:
        if not special:
            with suppress(OSError):
                draft.unlink(missing_ok=True)
