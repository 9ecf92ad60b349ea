"""`engine abort`, short for `engine rollout abort`."""

from __future__ import annotations

import click

from engine.cli.changes import echo_endpoint_change, reason_option
from engine.cli.models import model_argument
from engine.cli.shape import Settings, define, json_option


@define(
    "abort",
    examples="""
    engine abort customer_churn
    engine abort customer_churn --reason "errors in the app since noon"
    """,
)
@model_argument
@reason_option
@json_option
@click.pass_obj
def command(settings: Settings, /, model: str, reason: str, as_json: bool) -> int:
    """Send a model's candidate away; the stable release gets all traffic. Short for `engine rollout abort`.

    The same release is not deployed again until its spec, data or code changes, or by `engine rollout retry`.
    """
    from engine.app.delivering import abort

    return echo_endpoint_change(abort(settings.workspace(), model, reason), as_json=as_json)
