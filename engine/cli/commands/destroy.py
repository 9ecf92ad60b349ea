"""`engine destroy`."""

from __future__ import annotations

import click

from engine.cli.models import model_argument
from engine.cli.shape import Settings, define


@define("destroy", examples="engine destroy old_model\nengine destroy old_model --auto-approve")
@model_argument
@click.option("--auto-approve", is_flag=True, help="Do not ask.")
@click.pass_obj
def command(settings: Settings, /, model: str, auto_approve: bool) -> int:
    """End a model: nothing serves it, the registry's aliases go, and the state forgets it. Shows that first, and asks.

    The registry's versions, the log of predictions, the spec and the audit log stay. `lifecycle.prevent_destroy`
    refuses it, also after the spec is gone.
    """
    from engine.app.destroying import destroy, plan_destruction
    from engine.cli.agreement import agree
    from engine.cli.plan_text import endpoint_text
    from engine.cli.words import count, table

    workspace = settings.workspace()
    planned = plan_destruction(workspace, model)
    versions = ", ".join(map(str, planned.versions)) or "none"
    rows = [
        ("- endpoint", endpoint_text(planned.endpoint), "serves nobody any more"),
        ("- aliases", "champion, challenger", "removed from the registry"),
        ("- state", f"{count(planned.runs, 'run')}, {count(len(planned.versions), 'release')}", "forgotten"),
        ("= registry", f"versions {versions}", "stay"),
        ("= artifacts", "", "stay until: engine state gc"),
        ("= audit log", "", "stays, and so do the spec and the log of predictions"),
    ]
    click.echo("\n".join([click.style(model, bold=True), *(f"  {line}" for line in table(rows)), ""]))
    agree(f"Destroy {model}?", auto_approve=auto_approve, instead="Add --auto-approve.")
    destroy(workspace, planned)
    click.echo(f"{model} is destroyed.")
    return 0
