"""`engine completion`."""

from __future__ import annotations

import click

from engine.cli.shape import define


@define(
    "completion",
    examples="""
    eval "$(engine completion bash)"        # in ~/.bashrc
    eval "$(engine completion zsh)"         # in ~/.zshrc
    engine completion fish > ~/.config/fish/completions/engine.fish
    """,
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def command(context: click.Context, /, shell: str) -> int:
    """Print the completion script of a shell."""
    from click.shell_completion import get_completion_class

    found = get_completion_class(shell)
    assert found is not None
    complete = found(context.find_root().command, {}, "engine", "_ENGINE_COMPLETE")
    click.echo(complete.source())
    return 0
