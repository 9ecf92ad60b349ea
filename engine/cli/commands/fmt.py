"""`engine fmt`."""

from __future__ import annotations

import click

from engine.cli.asking import paths_argument, under
from engine.cli.shape import Settings, define


@define(
    "fmt",
    examples="""
    engine fmt
    engine fmt specs/customer_churn.yaml
    engine fmt --check
    """,
)
@paths_argument
@click.option("--check", is_flag=True, help="Change nothing; list the files that would change, and exit with 1.")
@click.pass_obj
def command(settings: Settings, /, paths: tuple[str, ...], check: bool) -> int:
    """Lay specs out in the standard way: two spaces a level. Only white space changes; comments stay."""
    from engine.app.planning import find_specs
    from engine.app.starting import lay_out

    workspace = settings.workspace()
    changed = lay_out(find_specs(workspace, under(settings, paths)), write=not check)
    for path in changed:
        click.echo(workspace.relative(path))
    return 1 if check and changed else 0
