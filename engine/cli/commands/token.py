"""`engine token create|list|revoke`."""

from __future__ import annotations

from typing import Any

import click

from engine.cli.shape import Settings, group, json_option


class Lasting(click.ParamType):  # type: ignore[type-arg]  # generic since click 8.3 only
    """`12h`, `90d`, as seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Seconds of a text."""
        from engine.spec.units import parse_duration

        try:
            seconds = float(parse_duration(value))
        except ValueError:
            seconds = 0.0
        if not 0 < seconds < 1e10:
            self.fail(f'"{value}" is not a time; write it like 12h or 90d', param, ctx)
        return seconds


@group("token", examples="engine token create --for control --name ci\nengine token list")
def command() -> None:
    """Make, list and revoke tokens: to ask for predictions, to control, to approve releases."""


@command.command(
    "create",
    examples="""
    engine token create --for control --name ci --expires 90d
    engine token create --for predict
    engine token create --for approve --name ana
    engine token create --for predict --env prod --json
    """,
)
@click.option(
    "--for",
    "purpose",
    type=click.Choice(["control", "predict", "approve"]),
    required=True,
    help="What it is for; none does for another.",
)
@click.option("--name", metavar="NAME", help="Its name, in lists and in the audit log. What it is for, if left out.")
@click.option("--expires", type=Lasting(), metavar="DURATION", help="Refuse it after so long (12h, 90d).")
@json_option
@click.pass_obj
def create(settings: Settings, /, purpose: str, name: str | None, expires: float | None, as_json: bool) -> int:
    """Make a token and print it. It is shown this once; only a salted hash of it is kept."""
    from datetime import timedelta

    from engine.app.tokens import create as make
    from engine.serving.tokens import Purpose

    lasts = None if expires is None else timedelta(seconds=expires)
    token, secret = make(settings.workspace(), Purpose(purpose), name, lasts)
    if as_json:
        import json

        click.echo(json.dumps({"format_version": 1, "token": secret, **_document(token)}, ensure_ascii=False, indent=2))
    else:
        click.echo(secret)
        until = f" until {token.expires_at}" if token.expires_at else ""
        click.echo(f"This is {token.name}, for {purpose}{until}. It is not shown again.", err=True)
    return 0


@command.command("list", examples="engine token list\nengine token list --json")
@json_option
@click.pass_obj
def list_tokens(settings: Settings, /, as_json: bool) -> int:
    """List the tokens: their names, what they are for, and until when. Their text is not kept."""
    from engine.app.tokens import listed

    found = listed(settings.workspace())
    if as_json:
        import json

        document = {"format_version": 1, "tokens": [_document(token) for token in found]}
        click.echo(json.dumps(document, ensure_ascii=False, indent=2))
    elif not found:
        click.echo("There are no tokens. Make one: engine token create --for control")
    else:
        from engine.cli.tables import render_table
        from engine.cli.words import when

        rows = [
            (each.name, each.purpose.value, when(each.created_at), when(each.expires_at) or "never") for each in found
        ]
        click.echo(render_table(("token", "for", "made", "expires"), rows))
    return 0


@command.command("revoke", examples="engine token revoke ci")
@click.argument("name")
@json_option
@click.pass_obj
def revoke(settings: Settings, /, name: str, as_json: bool) -> int:
    """Forget a token. Gateways that run refuse it within a second."""
    from engine.app.tokens import revoke as forget

    token = forget(settings.workspace(), name)
    if as_json:
        import json

        click.echo(json.dumps({"format_version": 1, "revoked": token.name}, ensure_ascii=False, indent=2))
    else:
        click.echo(f"{token.name} opens nothing any more.")
    return 0


def _document(token: Any) -> dict[str, Any]:
    return {
        "name": token.name,
        "for": token.purpose.value,
        "created_at": token.created_at,
        "expires_at": token.expires_at,
    }
