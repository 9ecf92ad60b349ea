"""`engine promote`."""

from __future__ import annotations

import click

from engine.cli.changes import echo_endpoint_change, lock_timeout_option
from engine.cli.shape import Settings, define, json_option


@define(
    "promote",
    examples="""
    engine promote customer_churn
    engine promote customer_churn --json
    """,
)
@click.argument("model")
@lock_timeout_option
@json_option
@click.pass_obj
def command(settings: Settings, /, model: str, lock_timeout: float, as_json: bool) -> int:
    """Make a model's candidate the stable release, which gets all traffic."""
    from engine.app.changing import promote

    return echo_endpoint_change(promote(settings.workspace(), model, lock_timeout=lock_timeout), as_json=as_json)
