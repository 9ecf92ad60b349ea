"""`engine lock list|release`."""

from __future__ import annotations

import click

from engine.cli.shape import Settings, group, json_option


@group("lock", examples="engine lock list\nengine lock release customer_churn")
def command() -> None:
    """List leases, or release one."""


@command.command("list", examples="engine lock list\nengine lock list --json")
@json_option
@click.pass_obj
def list_leases(settings: Settings, /, as_json: bool) -> int:
    """List who holds which model."""
    from engine.app.inspecting import leases, pretty_holder

    held = leases(settings.workspace())
    if as_json:
        import json

        found = [
            {
                "model": lease.model,
                "holder": pretty_holder(lease.holder),
                "token": lease.token,
                "acquired_at": lease.acquired_at,
                "expires_at": lease.expires_at,
            }
            for lease in held
        ]
        click.echo(json.dumps({"format_version": 1, "leases": found}, ensure_ascii=False, indent=2))
    elif not held:
        click.echo("Nobody holds a model.")
    else:
        from engine.cli.tables import render_table
        from engine.cli.words import when

        rows = [
            (lease.model, pretty_holder(lease.holder), when(lease.acquired_at), when(lease.expires_at))
            for lease in held
        ]
        click.echo(render_table(("model", "held by", "since", "until"), rows))
    return 0


@command.command("release", examples="engine lock release customer_churn")
@click.argument("model")
@click.pass_obj
def release(settings: Settings, /, model: str) -> int:
    """Take a model away from whoever holds it.

    A run that still goes on there cannot write any more. Leases whose process is gone need no help: the next apply
    takes them over.
    """
    from engine.app.changing import release_lock
    from engine.app.inspecting import pretty_holder

    lease = release_lock(settings.workspace(), model)
    click.echo(f"{model} was held by {pretty_holder(lease.holder)}; now it is free.")
    return 0
