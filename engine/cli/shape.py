"""What all commands have in common: global options on either side of the command's name, and examples in the help.

`Settings` is what the global options say; a command gets it with `@click.pass_obj`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

import click

if TYPE_CHECKING:
    from engine.app.workspace import Workspace

F = TypeVar("F", bound=Callable[..., Any])


@dataclass
class Settings:
    """The global options, filled in while the command line is parsed."""

    folder: Path = field(default_factory=Path)
    environment: str | None = None
    _opened: list[Workspace] = field(default_factory=list)

    def workspace(self) -> Workspace:
        """The project that the command is about. Raises UsageError for a folder that does not exist."""
        from engine.app.workspace import open_workspace

        self._opened.append(open_workspace(self.folder, self.environment))
        return self._opened[-1]

    def close(self) -> None:
        """End what the command left open: connections, and the registry's process."""
        for workspace in self._opened:
            workspace.close()


def global_options() -> list[click.Parameter]:
    """`--chdir`, `--env` and `--no-color`, new objects each time."""
    return [
        click.Option(
            ["-C", "--chdir"],
            metavar="DIR",
            expose_value=False,
            callback=_set_folder,
            help="Work in this folder.",
        ),
        click.Option(
            ["--env"],
            metavar="NAME",
            expose_value=False,
            callback=_set_environment,
            help="Use this environment of engine.yaml, with a state of its own.",
        ),
        click.Option(
            ["--no-color"],
            is_flag=True,
            expose_value=False,
            callback=_set_color,
            help="No colours. NO_COLOR=1 in the environment says the same.",
        ),
    ]


def _set_folder(context: click.Context, _parameter: click.Parameter, value: str | None) -> None:
    if value is not None:
        context.find_object(Settings).folder = Path(value)  # type: ignore[union-attr]


def _set_environment(context: click.Context, _parameter: click.Parameter, value: str | None) -> None:
    if value is not None:
        context.find_object(Settings).environment = value  # type: ignore[union-attr]


def _set_color(context: click.Context, _parameter: click.Parameter, value: bool) -> None:
    if value or os.environ.get("NO_COLOR"):
        step: click.Context | None = context
        while step is not None:
            step.color = False
            step = step.parent


class Command(click.Command):
    """A command that takes the global options too and shows examples at the end of its help."""

    def __init__(self, *args: Any, examples: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.examples = examples
        self._globals = global_options()

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """The command's own parameters, then the global ones."""
        own = super().get_params(ctx)
        return [*own[:-1], *self._globals, *own[-1:]]

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Two lists: the command's own options and the global ones."""
        _write_options(self, ctx, formatter, self._globals)

    def format_epilog(self, _context: click.Context, formatter: click.HelpFormatter) -> None:
        """The examples, as they are."""
        _write_examples(self.examples, formatter)


class Group(click.Group):
    """A group of commands such as `state`."""

    command_class = Command

    def __init__(self, *args: Any, examples: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.examples = examples

    def format_epilog(self, _context: click.Context, formatter: click.HelpFormatter) -> None:
        """The examples, as they are."""
        _write_examples(self.examples, formatter)


def define(name: str, *, examples: str, **options: Any) -> Callable[[Callable[..., Any]], Command]:
    """Make a function a command."""
    return cast(
        "Callable[[Callable[..., Any]], Command]", click.command(name, cls=Command, examples=examples, **options)
    )


def group(name: str, *, examples: str, cls: type[Group] = Group) -> Callable[[Callable[..., Any]], Group]:
    """Make a function a group of commands."""
    return cast("Callable[[Callable[..., Any]], Group]", click.group(name, cls=cls, examples=examples))


json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead of text.")


def _write_options(
    command: click.Command,
    context: click.Context,
    formatter: click.HelpFormatter,
    shared: Sequence[click.Parameter],
) -> None:
    for title, wanted in (("Options", False), ("Global options", True)):
        records = [p.get_help_record(context) for p in command.get_params(context) if (p in shared) is wanted]
        with formatter.section(title):
            formatter.write_dl([record for record in records if record is not None])


def _write_examples(examples: str, formatter: click.HelpFormatter) -> None:
    with formatter.section("Examples"):
        for line in examples.strip().splitlines():
            formatter.write(f"{'':{formatter.current_indent}}{line.strip()}\n")
