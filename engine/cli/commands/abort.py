"""`engine abort`."""

from __future__ import annotations

import click

from engine.cli.changes import echo_endpoint_change, lock_timeout_option
from engine.cli.shape import Settings, define, json_option


@define(
    "abort",
    examples="""
    engine abort customer_churn
    engine abort customer_churn --reason "errors in the app since noon"
    """,
)
@click.argument("model")
@click.option("--reason", default="", metavar="TEXT", help="Why; kept in the record and the audit log.")
@lock_timeout_option
@json_option
@click.pass_obj
def command(settings: Settings, /, model: str, reason: str, lock_timeout: float, as_json: bool) -> int:
    """Send a model's candidate away; the stable release gets all traffic.

    The same release is not deployed again until its spec, data or code changes.
    """
    from engine.app.changing import abort

    change = abort(settings.workspace(), model, reason, lock_timeout=lock_timeout)
    return echo_endpoint_change(change, as_json=as_json)
