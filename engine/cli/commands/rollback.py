"""`engine rollback`."""

from __future__ import annotations

import click

from engine.cli.changes import echo_change, echo_document, echo_unmirrored, reason_option
from engine.cli.models import model_argument
from engine.cli.shape import Settings, define, json_option


@define(
    "rollback",
    examples="""
    engine rollback customer_churn
    engine rollback customer_churn --to 3 --reason "complaints since noon"
    """,
)
@model_argument
@click.option("--to", type=click.IntRange(min=1), metavar="VERSION", help="This release, not the one that was before.")
@reason_option
@json_option
@click.pass_obj
def command(settings: Settings, /, model: str, to: int | None, reason: str, as_json: bool) -> int:
    """Serve the release that was stable before, at once and alone.

    A rollout that goes on ends. The flip is one change of the endpoint's record and waits for nothing, also not for a
    run that holds the model; afterwards the registry's aliases follow. What was rolled back is not deployed again
    until its spec, data or code changes.
    """
    from engine.app.delivering import Asked, EndpointChange, roll_back, this_actor

    def tell(change: EndpointChange) -> None:
        if not as_json:
            echo_change(change)

    change = roll_back(settings.workspace(), model, to, reason, Asked(this_actor(), tell))
    if as_json:
        echo_document(change)
    echo_unmirrored(change)
    return 0
