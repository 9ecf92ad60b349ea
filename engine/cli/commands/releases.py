"""`engine releases`."""

from __future__ import annotations

import click

from engine.cli.models import model_argument
from engine.cli.shape import Settings, define, json_option


@define(
    "releases",
    examples="""
    engine releases customer_churn
    engine releases customer_churn --json
    """,
)
@model_argument
@json_option
@click.pass_obj
def command(settings: Settings, /, model: str, as_json: bool) -> int:
    """Show which release served when, with what share of the traffic, and why. From the audit log."""
    from engine.app.delivering import service

    found = service(settings.workspace(), model)
    if as_json:
        import json

        document = {"format_version": 1, "model": model, "service": [dict(vars(each)) for each in found]}
        click.echo(json.dumps(document, ensure_ascii=False, indent=2))
        return 0
    if not found:
        click.echo(f"No release of {model} has been live yet.")
        return 0
    from engine.cli.tables import render_table
    from engine.cli.words import one_line, percent, when

    rows = [
        (
            f"{model}@{each.version}",
            each.role,
            percent(each.weight),
            when(each.since),
            when(each.until) or "now",
            each.actor,
            one_line(each.reason, 80),
        )
        for each in found
    ]
    click.echo(render_table(("release", "role", "share", "from", "until", "by", "why"), rows))
    return 0
