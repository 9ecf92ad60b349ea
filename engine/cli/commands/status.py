"""`engine status`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from engine.cli.models import models_argument
from engine.cli.shape import Settings, define, json_option

if TYPE_CHECKING:
    from engine.app.inspecting import ModelStatus


@define(
    "status",
    examples="""
    engine status
    engine status customer_churn
    engine status --env prod --json
    """,
)
@models_argument
@json_option
@click.pass_obj
def command(settings: Settings, /, models: tuple[str, ...], as_json: bool) -> int:
    """Show what is live and how the last runs went. Reads the state only; `engine plan` compares it with the specs."""
    from engine.app.inspecting import status

    found = status(settings.workspace(), models)
    if as_json:
        import json

        from engine.app.showing import model_document

        document = {"format_version": 1, "models": [model_document(model) for model in found]}
        click.echo(json.dumps(document, ensure_ascii=False, indent=2))
    elif not found:
        click.echo("Nothing was applied here yet. Begin with: engine plan")
    else:
        click.echo(_text(found))
    return 0


def _text(models: list[ModelStatus]) -> str:
    from engine.cli.delivery import stage_text
    from engine.cli.plan_text import endpoint_text
    from engine.cli.tables import render_table
    from engine.cli.words import when

    rows = []
    for model in models:
        run = model.last_run
        rows.append(
            (
                model.name,
                endpoint_text(model.endpoint),
                stage_text(model.rollout) if model.rollout and model.rollout.is_open else "",
                run.status.value if run else "",
                when(run.started_at) if run else "",
                model.holder,
            )
        )
    table = render_table(("model", "endpoint", "rollout", "last run", "started", "held by"), rows)
    runs = [(model.name, model.last_run.message) for model in models if model.last_run and not model.awaits]
    messages = [f"{name}: {message}" for name, message in runs if message]
    messages += [f"{model.name}: {model.awaits}" for model in models if model.awaits]
    return "\n".join([table, *([""] if messages else []), *messages])
