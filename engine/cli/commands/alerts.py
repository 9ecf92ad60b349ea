"""`engine alerts [list] [NAME]` and `engine alerts test NAME`."""

from __future__ import annotations

from typing import Any

import click

from engine.cli.models import model_argument
from engine.cli.shape import Group, Settings, group, json_option


class _Listing(Group):
    """Lists when it is not said what to do."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """With `list` put in front of what is no command of the group."""
        if not args or (args[0] not in self.commands and args[0] not in ctx.help_option_names):
            args = ["list", *args]
        return super().parse_args(ctx, args)


@group(
    "alerts",
    cls=_Listing,
    examples="engine alerts\nengine alerts customer_churn --json\nengine alerts test customer_churn",
)
def command() -> None:
    """Show what is wrong and who was told, or send a test notice; list is what it does when nothing else is said."""


@command.command(
    "list", examples="engine alerts\nengine alerts customer_churn\nengine alerts list customer_churn --json"
)
@click.argument("model", required=False)
@click.option("--firing", is_flag=True, help="Only what is wrong now.")
@json_option
@click.pass_obj
def list_alerts(settings: Settings, /, model: str | None, firing: bool, as_json: bool) -> int:
    """Show the alerts that fire and those that are over, and who was told of them.

    `engine up` and `engine controller` write them down.
    """
    from engine.app.inspecting import alerts
    from engine.app.showing import alert_document, told_document

    found = alerts(settings.workspace(), model, firing)
    if as_json:
        import json

        document: dict[str, Any] = {
            "format_version": 1,
            "alerts": [alert_document(each) for each in found.alerts],
            "receivers": [told_document(each) for each in found.told],
        }
        click.echo(json.dumps(document, ensure_ascii=False, indent=2))
        return 0
    from engine.cli.alerts_text import alerts_text

    click.echo(alerts_text(found))
    return 0


@command.command("test", examples="engine alerts test customer_churn")
@model_argument
@json_option
@click.pass_obj
def test(settings: Settings, /, model: str, as_json: bool) -> int:
    """Send a test notice to each receiver in the spec. Exits with 1 if one did not take it."""
    from engine.app.alerting import test as send_tests

    tried = send_tests(settings.workspace(), model)
    if as_json:
        import json

        click.echo(json.dumps({"format_version": 1, "receivers": [vars(each) for each in tried]}, indent=2))
    else:
        from engine.cli.tables import render_table

        rows = [
            (each.receiver, each.kind, "failed" if each.error else "ok", f"{each.error} {each.remedy}".strip())
            for each in tried
        ]
        click.echo(render_table(("receiver", "kind", "notice", ""), rows))
    return 1 if any(each.error for each in tried) else 0
