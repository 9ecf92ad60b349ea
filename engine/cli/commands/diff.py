"""`engine diff`."""

from __future__ import annotations

from typing import Any

import click

from engine.cli.shape import Settings, define, json_option


@define(
    "diff",
    examples="""
    engine diff customer_churn@1 customer_churn@2
    engine diff customer_churn@1 customer_churn --json    # the stable release
    """,
)
@click.argument("first", metavar="A")
@click.argument("second", metavar="B")
@json_option
@click.pass_obj
def command(settings: Settings, /, first: str, second: str, as_json: bool) -> int:
    """Show what differs between two releases: data, code, parameters, environment, metrics with intervals, slices."""
    from engine.app.lineage import compare_releases

    before, after, found = compare_releases(settings.workspace(), first, second)
    if as_json:
        import json

        document: dict[str, Any] = {
            "format_version": 1,
            "before": f"{before['release']['model']}@{before['release']['version']}",
            "after": f"{after['release']['model']}@{after['release']['version']}",
            "same_holdout": found.same_holdout,
        }
        for part in ("data", "code", "parameters", "environment", "metrics", "slices"):
            document[part] = [dict(vars(each)) for each in getattr(found, part)]
        click.echo(json.dumps(document, ensure_ascii=False, indent=2))
        return 0
    from engine.cli.comparing_text import comparison_text

    click.echo(comparison_text(before, after, found))
    return 0
