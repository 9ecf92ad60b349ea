"""`engine init`."""

from __future__ import annotations

import click

from engine.cli.shape import Settings, define, json_option


@define(
    "init",
    examples="""
    engine init churn
    cd churn && engine plan
    engine init . --name customer_churn_v3
    """,
)
@click.argument("folder", default=".", metavar="[FOLDER]")
@click.option("--name", default="customer_churn", show_default=True, help="The model's name.")
@json_option
@click.pass_obj
def command(settings: Settings, /, folder: str, name: str, as_json: bool) -> int:
    """Start a project that works as it stands: a spec, real data, a CI workflow.

    Nothing is ever overwritten; run again, it writes only what is missing.
    """
    from engine.app.starting import create_project

    created = create_project(settings.folder / folder, name)
    if as_json:
        import json

        document = {
            "format_version": 1,
            "folder": str(created.folder),
            "written": list(created.written),
            "tokens": dict(created.tokens),
        }
        click.echo(json.dumps(document, ensure_ascii=False, indent=2))
        return 0
    for path in created.written:
        click.echo(f"  {click.style('+', fg='green')} {path}")
    for path in created.present:
        click.echo(f"  = {path} was there")
    if not created.written:
        click.echo("Everything is there already.")
    if created.tokens:
        click.echo("\nTokens, shown this once; engine token create makes others:")
        for purpose, text in created.tokens.items():
            click.echo(f"  {purpose}  {text}")
    into = "" if folder == "." else f"cd {folder} && "
    click.echo(f"\nNext: {into}engine plan")
    return 0
