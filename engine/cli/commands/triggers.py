"""`engine triggers`."""

from __future__ import annotations

import click

from engine.cli.models import model_argument
from engine.cli.shape import Settings, define, json_option


@define(
    "triggers",
    examples="""
    engine triggers customer_churn
    engine triggers customer_churn --limit 200
    engine triggers customer_churn --json
    """,
)
@model_argument
@click.option("--limit", type=click.IntRange(1, 100_000), default=20, show_default=True, help="How many, newest first.")
@json_option
@click.pass_obj
def command(settings: Settings, /, model: str, limit: int, as_json: bool) -> int:
    """Show what a model's triggers said when they were last looked at, and before, and what came of it.

    `engine up` looks; evaluations in a row that say the same are one line, with a count.
    """
    from engine.app.inspecting import triggers
    from engine.app.showing import evaluation_document, event_document

    found = triggers(settings.workspace(), model, limit)
    if as_json:
        import json

        document = {
            "format_version": 1,
            "model": model,
            "waiting": [event_document(event) for event in found.waiting],
            "evaluations": [evaluation_document(each) for each in found.evaluations],
        }
        click.echo(json.dumps(document, ensure_ascii=False, indent=2))
        return 0
    from engine.cli.triggers_text import triggers_text

    click.echo(triggers_text(found))
    return 0
