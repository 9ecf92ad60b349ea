"""The page docs/cli.md, from the commands themselves: `python -m engine.cli.reference > docs/cli.md`."""

from __future__ import annotations

from collections.abc import Iterable
from inspect import cleandoc

import click

from engine.cli.program import COMMANDS, program
from engine.cli.shape import Command, Group, global_options

HEAD = """\
# The command line

Written from the commands themselves: `python -m engine.cli.reference > docs/cli.md`.

| exit code | means |
|---|---|
| 0 | done; for `plan --detailed-exitcode`: nothing to do |
| 1 | an error, or a wrong command line |
| 2 | `plan --detailed-exitcode`: there is something to do |
| 3 | a gate's verdict stopped a model, or its candidate was sent away (`apply --wait`, `rollout watch`) |
| 4 | another run holds the model |
| 130 | interrupted |

Of several models the worst counts: 1, then 4, then 3.

With `--json` a command prints one document with a `format_version`. A failure has `error` in it, with `kind`,
`message`, `remedy` and `diagnostics`, each of which has `file`, `line`, `column`, `message` and `remedy`.

`ENGINE_TRACEBACK=1` shows the traceback of a defect instead of writing it to `.engine/crash-*.log`; `NO_COLOR=1` turns
colours off.
"""


def render_reference() -> str:
    """The whole page."""
    group = program()
    context = click.Context(group, info_name="engine")
    parts = [HEAD, "## Global options\n\n" + _options(context, global_options())]
    for title, section in COMMANDS.items():
        parts.append(f"## {title}\n")
        for name in section:
            command = group.get_command(context, name)
            assert command is not None
            parts += _command(click.Context(command, context, info_name=name), command)
    return "\n".join(parts)


def _command(context: click.Context, command: click.Command) -> Iterable[str]:
    if isinstance(command, Group):
        for name, inner in command.commands.items():
            yield from _command(click.Context(inner, context, info_name=name), inner)
        return
    assert isinstance(command, Command)
    arguments = [_metavar(parameter) for parameter in command.params if isinstance(parameter, click.Argument)]
    yield f"### {' '.join([context.command_path, *arguments])}\n"
    yield cleandoc(command.help or "") + "\n"
    options = [parameter for parameter in command.params if isinstance(parameter, click.Option)]
    if options:
        yield _options(context, options)
    lines = [line.strip() for line in command.examples.strip().splitlines()]
    yield "\n".join(["```", *lines, "```", ""])


def _metavar(argument: click.Argument) -> str:
    name = argument.metavar or str(argument.name).upper()
    return name if argument.required or name.startswith("[") else f"[{name}]"


def _options(context: click.Context, options: Iterable[click.Parameter]) -> str:
    rows = ["| option | |", "|---|---|"]
    for option in options:
        record = option.get_help_record(context)
        if record is not None:
            name, text = (cell.replace("|", "\\|") for cell in record)
            rows.append(f"| `{name}` | {text} |")
    return "\n".join([*rows, ""])


if __name__ == "__main__":
    click.echo(render_reference(), nl=False)
