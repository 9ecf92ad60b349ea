"""`engine graph`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from engine.cli.asking import make_planned, paths_argument, variables_option
from engine.cli.files import FilePath, writing
from engine.cli.shape import Settings, define
from engine.errors import UsageError

PICTURES = ("svg", "png")


@define(
    "graph",
    examples="""
    engine graph
    engine graph specs/customer_churn.yaml --format mermaid
    engine graph specs/customer_churn.yaml --out churn.svg
    """,
)
@paths_argument
@variables_option
@click.option("--format", "form", type=click.Choice(["text", "mermaid", *PICTURES]), help="text if left out.")
@click.option("--out", type=FilePath(), metavar="FILE", help="Write it to a file; its ending is the format.")
@click.pass_obj
def command(settings: Settings, /, paths: tuple[str, ...], form: str | None, out: Path | None, **options: Any) -> int:
    """Draw the steps of a model and what each reads, coloured by what a plan would do."""
    form = form or _form_of(out)
    workspace = settings.workspace()
    planned = make_planned(settings, workspace, paths, {**options, "replace": (), "targets": (), "refresh": False})
    models = list(planned.models.values())
    if form in PICTURES:
        if out is None:
            raise UsageError(f"a {form} picture wants a file", remedy=f"Add --out graph.{form}")
        if len(models) > 1:
            raise UsageError("a picture shows one model", remedy=f"Name its spec: engine graph {models[0].file} …")
        from engine.cli.picture import draw, picture_of

        draw(picture_of(models[0]), out, form)
        click.echo(f"Drawn in {out}.")
        return 0
    from engine.cli.graph_text import render_mermaid, render_text

    text = "\n\n".join(render_text(model) if form == "text" else render_mermaid(model) for model in models)
    if out is None:
        click.echo(text)
    else:
        with writing(out) as file:
            file.write(click.unstyle(text) + "\n")
        click.echo(f"Written to {out}.")
    return 0


def _form_of(out: Path | None) -> str:
    ending = out.suffix.removeprefix(".") if out is not None else ""
    return {"svg": "svg", "png": "png", "mmd": "mermaid", "mermaid": "mermaid"}.get(ending, "text")
