"""`engine trigger`."""

from __future__ import annotations

import click

from engine.cli.models import model_argument
from engine.cli.shape import Settings, define, json_option


@define(
    "trigger",
    examples="""
    engine trigger customer_churn --reason "prices changed"
    engine trigger customer_churn --reason "nightly load" --event loaded --id load-2026-11-24
    """,
)
@model_argument
@click.option("--reason", required=True, metavar="TEXT", help="Why; kept in the audit log and shown with the retrain.")
@click.option("--event", default="", metavar="NAME", help="What happened, in one word.")
@click.option("--id", "key", metavar="ID", help="Of one id the model takes one event, however often it is sent.")
@json_option
@click.pass_obj
def command(settings: Settings, /, model: str, reason: str, event: str, key: str | None, as_json: bool) -> int:
    """Ask for a retrain: leave an event in the model's inbox, where it waits until `engine up` takes it up.

    It counts in every model, whatever else its triggers say; only a `manual` trigger of the spec may hold it back.
    It is not lost while nothing runs.
    """
    from engine.app.delivering import this_actor
    from engine.app.triggering import put, requested

    found = requested(model, reason, event, key, this_actor())
    new = put(settings.workspace(), found)
    if as_json:
        import json

        document = {"format_version": 1, "accepted": new, "id": found.id, "model": model}
        click.echo(json.dumps(document, ensure_ascii=False, indent=2))
    elif new:
        click.echo(f"{model}: event {found.id} waits in the inbox. What acts on it: engine up")
    else:
        click.echo(f"{model}: event {found.id} was known already; nothing was added.")
    return 0
