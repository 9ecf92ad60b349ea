"""`engine schema`."""

from __future__ import annotations

from pathlib import Path

import click

from engine.cli.files import FilePath, refusals_told
from engine.cli.shape import define


@define(
    "schema",
    examples="""
    engine schema > schemas/model_spec.schema.json
    engine schema --write schemas
    engine schema --check schemas
    """,
)
@click.option("--project", is_flag=True, help="The schema of engine.yaml instead of that of specs.")
@click.option("--write", "target", type=FilePath(), metavar="DIR", help="Write both schemas there.")
@click.option("--check", "checked", type=FilePath(), metavar="DIR", help="Exit with 1 if those differ.")
def command(project: bool, target: Path | None, checked: Path | None) -> int:
    """Print or write the JSON Schema of specs, by which editors complete and check them."""
    from engine.kinds import KINDS
    from engine.spec import schema

    if target is not None:
        with refusals_told(target):
            schema.write(target, KINDS)
        click.echo(f"Wrote {', '.join(schema.render(KINDS))} to {target}.")
    elif checked is not None:
        stale = schema.check(checked, KINDS)
        for name in stale:
            click.echo(f"{checked / name} is not in step with this version of engine.", err=True)
        if stale:
            click.echo(f"Write them again: engine schema --write {checked}", err=True)
        return 1 if stale else 0
    else:
        rendered = schema.render(KINDS)
        click.echo(rendered["engine.schema.json" if project else "model_spec.schema.json"], nl=False)
    return 0
