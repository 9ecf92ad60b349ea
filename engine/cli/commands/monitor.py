"""`engine monitor`."""

from __future__ import annotations

from pathlib import Path

import click

from engine.cli.files import FilePath, writing
from engine.cli.models import model_argument
from engine.cli.shape import Settings, define, json_option


@define(
    "monitor",
    examples="""
    engine monitor customer_churn
    engine monitor customer_churn --windows 100 --json
    engine monitor customer_churn --html report.html
    engine monitor customer_churn --evidently evidently.html
    """,
)
@model_argument
@click.option("--windows", type=click.IntRange(min=1), default=20, show_default=True, help="The newest so many.")
@click.option("--html", type=FilePath(dir_okay=False), help="Write a page with plots to this file.")
@click.option(
    "--evidently",
    type=FilePath(dir_okay=False),
    help="Write Evidently's page of the newest window to this file. Needs the extra `evidently`.",
)
@json_option
@click.pass_obj
def command(
    settings: Settings, /, model: str, windows: int, html: Path | None, evidently: Path | None, as_json: bool
) -> int:
    """Judge the windows of the live release's predictions that have closed, and show what they say.

    Each window is judged once, by whoever looks first; labels that came since are taken in.
    """
    from engine.app.monitoring import evidently_report, look
    from engine.cli.monitoring import monitored_document, monitored_sections

    workspace = settings.workspace()
    found = look(workspace, model, windows)
    if html is not None:
        from engine.cli.monitoring_html import monitored_html

        with writing(html) as file:
            file.write(monitored_html(found))
    if evidently is not None:
        page = evidently_report(workspace, found)
        with writing(evidently) as file:
            file.write(page)
    if as_json:
        import json

        click.echo(json.dumps({"format_version": 1, **monitored_document(found)}, ensure_ascii=False, indent=2))
    else:
        import sys

        from engine.cli.sections import show

        show(list(monitored_sections(found)), sys.stdout)
    return 0
