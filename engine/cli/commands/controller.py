"""`engine controller`."""

from __future__ import annotations

from typing import Any

import click

from engine.cli.commands.up import controller_options, keep_models
from engine.cli.shape import Settings, define


@define(
    "controller",
    examples="""
    engine controller
    engine controller specs/customer_churn.yaml --trainings 2
    engine controller --once
    """,
)
@controller_options
@click.pass_obj
def command(settings: Settings, /, **options: Any) -> int:
    """Keep every model as its spec says, without a gateway: `engine serve` runs elsewhere.

    Several may run over one state; leases decide who does what.
    """
    return keep_models(settings, gateway=None, **options)
