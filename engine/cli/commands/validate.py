"""`engine validate`."""

from __future__ import annotations

import click

from engine.cli.asking import parse_variables, paths_argument, under, variables_option
from engine.cli.shape import Settings, define, json_option


@define(
    "validate",
    examples="""
    engine validate
    engine validate specs/customer_churn.yaml --var threshold=0.8
    engine validate --json
    """,
)
@paths_argument
@variables_option
@json_option
@click.pass_obj
def command(settings: Settings, /, paths: tuple[str, ...], variables: tuple[str, ...], as_json: bool) -> int:
    """Check specs and report every mistake of every file. Silent when there is nothing to say."""
    from engine.app.planning import find_specs, validate

    workspace = settings.workspace()
    specs = validate(workspace, find_specs(workspace, under(settings, paths)), parse_variables(variables))
    if as_json:
        import json

        models = [
            {
                "name": spec.document["name"],
                "file": spec.file,
                "spec_digest": spec.digest,
                "warnings": [dict(vars(warning)) for warning in spec.warnings],
            }
            for spec in specs
        ]
        click.echo(json.dumps({"format_version": 1, "models": models}, ensure_ascii=False, indent=2))
        return 0
    for spec in specs:
        for warning in spec.warnings:
            click.echo(f"{click.style('warning:', fg='yellow')} {warning}", err=True)
    return 0
