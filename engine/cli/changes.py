"""Telling of a change of an endpoint, and the options of commands that make one or wait for a model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from engine.app.delivering import EndpointChange


class Duration(click.ParamType):  # type: ignore[type-arg]  # generic since click 8.3 only
    """`90`, `30s`, `10m`, `2h`, as seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Seconds of a text."""
        if isinstance(value, float):
            return value
        unit = {"s": 1, "m": 60, "h": 3600}.get(value[-1:], 0)
        number = value[:-1] if unit else value
        try:
            seconds = float(number) * (unit or 1)
        except ValueError:
            seconds = -1.0
        if not 0 <= seconds < 1e9:
            self.fail(f'"{value}" is not a duration; write it like 30s, 10m or 2h', param, ctx)
        return seconds


lock_timeout_option = click.option(
    "--lock-timeout",
    type=Duration(),
    default=0.0,
    metavar="DURATION",
    help="Wait so long for a model that another run holds (30s, 10m).",
)


reason_option = click.option("--reason", default="", metavar="TEXT", help="Why; kept in the record and the audit log.")


def echo_endpoint_change(change: EndpointChange, *, as_json: bool) -> int:
    """Print the endpoint's new state; a registry that could not follow is told on stderr."""
    (echo_document if as_json else echo_change)(change)
    echo_unmirrored(change)
    return 0


def echo_change(change: EndpointChange) -> None:
    """Who serves now, and where the rollout stands."""
    from engine.cli.plan_text import endpoint_text

    click.echo(f"{click.style(change.after.model, bold=True)}: {endpoint_text(change.after)}")
    if change.rollout is not None and change.rollout.is_open:
        from engine.cli.delivery import stage_text

        click.echo(f"  {stage_text(change.rollout)}")


def echo_document(change: EndpointChange) -> None:
    """The same for other programs."""
    import json

    from engine.app.showing import change_document

    click.echo(json.dumps({"format_version": 1, **change_document(change)}, ensure_ascii=False, indent=2))


def echo_unmirrored(change: EndpointChange) -> None:
    """Warn of a registry whose aliases could not follow."""
    if change.unmirrored:
        warning = click.style("warning:", fg="yellow")
        click.echo(f"{warning} the registry's aliases could not follow: {change.unmirrored}", err=True)
        click.echo(f"They will with: engine reconcile {change.after.model}", err=True)
