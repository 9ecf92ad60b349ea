"""`engine promote`, short for `engine rollout promote`."""

from __future__ import annotations

import click

from engine.cli.changes import echo_endpoint_change
from engine.cli.models import model_argument
from engine.cli.shape import Settings, define, json_option


@define(
    "promote",
    examples="""
    engine promote customer_churn
    engine promote customer_churn --json
    """,
)
@model_argument
@json_option
@click.pass_obj
def command(settings: Settings, /, model: str, as_json: bool) -> int:
    """Make a model's candidate the stable release, which gets all traffic. Short for `engine rollout promote`."""
    from engine.app.delivering import promote

    return echo_endpoint_change(promote(settings.workspace(), model), as_json=as_json)
