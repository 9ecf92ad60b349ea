"""`engine card`."""

from __future__ import annotations

from pathlib import Path

import click

from engine.cli.files import FilePath, writing
from engine.cli.shape import Settings, define


@define(
    "card",
    examples="""
    engine card customer_churn                         # of the stable release, as Markdown
    engine card customer_churn@2 --out card.html       # one page with its pictures
    """,
)
@click.argument("what", metavar="MODEL|MODEL@VERSION")
@click.option("--format", "form", type=click.Choice(["markdown", "html"]), help="markdown, or what FILE ends in.")
@click.option("--out", type=FilePath(), metavar="FILE", help="Write it to a file.")
@click.pass_obj
def command(settings: Settings, /, what: str, form: str | None, out: Path | None) -> int:
    """Write the model card of a release: data, metrics with intervals, slices, fairness, limits, history."""
    from engine.app.carding import card_of_release
    from engine.steps.card import html, markdown

    card = card_of_release(settings.workspace(), what)
    page = form == "html" or (form is None and out is not None and out.suffix in (".html", ".htm"))
    text = html(card) if page else markdown(card)
    if out is None:
        click.echo(text, nl=False)
        return 0
    with writing(out) as file:
        file.write(text)
    click.echo(f"Written to {out}.")
    return 0
