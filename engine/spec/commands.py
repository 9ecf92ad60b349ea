"""Commands in a spec: one line, or a list of arguments → arguments. There is no shell, and the spec says so early.

`${inputs.ROLE}` and `${outputs.ROLE}` are the only references in a command; `command_references` lists them.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from typing import Any

_REFERENCE = re.compile(r"\$\{(inputs|outputs)\.([A-Za-z0-9_]+)\}")
_ASSIGNMENT = re.compile(r"[A-Za-z_][A-Za-z0-9_]*=")
_LONGEST = 20_000  # of a line, in characters; splitting a longer one takes long
_NO_SHELL = "There is no shell: put it into a script and run that, or write a list of arguments."


class CommandError(ValueError):
    """Not a command; `remedy` says how to mend it."""

    def __init__(self, message: str, remedy: str) -> None:
        super().__init__(message)
        self.remedy = remedy


def parse_command(value: Any) -> list[str]:
    """A command as its arguments; raises CommandError for shell syntax, foreign references, excess."""
    if isinstance(value, str):
        if len(value) > _LONGEST:
            raise CommandError(
                f"the command has {len(value):,} characters, at most {_LONGEST:,} may be", "Put it into a script."
            )
        _refuse_shell_syntax(value)
        try:
            arguments = shlex.split(value)
        except ValueError:
            raise CommandError("a quote in the command is not closed", "Close it, or escape it.") from None
    elif isinstance(value, list) and all(isinstance(item, str) for item in value):
        arguments = list(value)
    else:
        raise CommandError("a command is one line of text, or a list of texts", 'Write it like "python train.py".')
    _check_arguments(arguments)
    return arguments


def command_references(arguments: Sequence[str]) -> list[tuple[str, str]]:
    """Every `${inputs.ROLE}` and `${outputs.ROLE}` in order, as (`inputs` or `outputs`, role)."""
    return [(kind, role) for argument in arguments for kind, role in _REFERENCE.findall(argument)]


def _check_arguments(arguments: list[str]) -> None:
    if not arguments or not arguments[0]:
        raise CommandError("the command is empty", 'Write it like "python train.py".')
    if _ASSIGNMENT.match(arguments[0]):
        raise CommandError(f'"{arguments[0]}" sets a variable, which only a shell does', "Put it under environment.")
    for argument in arguments:
        if "\x00" in argument:
            raise CommandError("the command contains a NUL", "Remove it.")
        if "$" in _REFERENCE.sub("", argument):
            raise CommandError(
                f'"{argument}" has a $ that nothing would replace',
                "Only ${inputs.ROLE} and ${outputs.ROLE} are; hand secrets over under environment.",
            )


def _refuse_shell_syntax(text: str) -> None:
    quote = ""
    escaped = False
    for index, character in enumerate(text):
        if escaped:
            escaped = False
        elif character == "\\" and quote != "'":
            escaped = True
        elif quote:
            quote = "" if character == quote else quote
        elif character in "'\"":
            quote = character
        elif character in "|&;<>":
            raise CommandError(f'the command has the shell\'s "{character}"', _NO_SHELL)
        if not escaped and quote != "'" and (character == "`" or text.startswith("$(", index)):
            raise CommandError("the command has a shell's substitution", _NO_SHELL)
