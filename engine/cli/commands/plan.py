"""`engine plan`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from engine.cli.asking import make_planned, paths_argument, planning_options
from engine.cli.files import FilePath
from engine.cli.shape import Settings, define

CHANGES = 2  # the exit code of --detailed-exitcode when there is something to do


@define(
    "plan",
    examples="""
    engine plan
    engine plan specs/customer_churn.yaml --replace train
    engine plan --out churn.plan && engine apply churn.plan
    engine plan --format markdown > comment.md
    """,
)
@paths_argument
@planning_options
@click.option("--out", type=FilePath(), metavar="FILE", help="Save the plan, for one apply.")
@click.option("--format", "form", type=click.Choice(["text", "json", "markdown"]), default="text", show_default=True)
@click.option("--json", "as_json", is_flag=True, help="The same as --format json.")
@click.option("--detailed-exitcode", is_flag=True, help="Exit with 2 if there is something to do.")
@click.pass_obj
def command(
    settings: Settings, /, paths: tuple[str, ...], out: Path | None, form: str, as_json: bool, **options: Any
) -> int:
    """Show what would run, and why. Changes nothing.

    Without SPEC or FOLDER it plans every spec in specs/.
    """
    workspace = settings.workspace()
    planned = make_planned(settings, workspace, paths, options)
    if out is not None:
        from engine.app.saved_plans import save_plan

        save_plan(workspace, planned, out)
    if as_json or form == "json":
        import json

        from engine.cli.plan_json import plan_document

        click.echo(json.dumps(plan_document(planned), ensure_ascii=False, indent=2))
    elif form == "markdown":
        from engine.cli.plan_markdown import render_markdown

        click.echo(render_markdown(planned))
    else:
        from engine.cli.plan_text import render_plan

        click.echo(render_plan(planned))
        if out is not None:
            click.echo(f"\nSaved in {out}. To carry out exactly this: engine apply {out}")
    return CHANGES if options["detailed_exitcode"] and planned.plan.changes else 0
