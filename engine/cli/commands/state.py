"""`engine state list|show|taint|rm|backup|gc`."""

from __future__ import annotations

from pathlib import Path

import click

from engine.cli.files import FilePath
from engine.cli.shape import Settings, group, json_option


@group("state", examples="engine state list\nengine state taint customer_churn train\nengine state gc --dry-run")
def command() -> None:
    """List, show, back up and clean the state."""


@command.command("list", examples="engine state list\nengine state list --json")
@json_option
@click.pass_obj
def list_models(settings: Settings, /, as_json: bool) -> int:
    """List the models that the state knows."""
    workspace = settings.workspace()
    reader = workspace.reader
    lineage, states = reader.lineage(), sorted(reader.models().values(), key=lambda state: state.name)
    if as_json:
        import json

        models = [
            {
                "name": s.name,
                "serial": s.serial,
                "spec_digest": s.spec_digest,
                "steps": sorted(s.latest),
                "tainted": sorted(s.tainted),
            }
            for s in states
        ]
        document = {"format_version": 1, "lineage": lineage.lineage, "serial": lineage.serial, "models": models}
        click.echo(json.dumps(document, ensure_ascii=False, indent=2))
    elif not states:
        click.echo("The state is empty.")
    else:
        from engine.cli.tables import render_table

        rows = [(s.name, str(s.serial), str(len(s.latest)), ", ".join(sorted(s.tainted)) or "-") for s in states]
        click.echo(render_table(("model", "serial", "steps", "tainted"), rows))
    return 0


@command.command("show", examples="engine state show customer_churn\nengine state show customer_churn --json")
@click.argument("model")
@json_option
@click.pass_obj
def show(settings: Settings, /, model: str, as_json: bool) -> int:
    """Show the newest result of each step of a model."""
    from engine.app.inspecting import model_state

    state = model_state(settings.workspace(), model)
    results = sorted(state.latest.values(), key=lambda result: result.finished_at)
    if as_json:
        import json

        steps = [
            {
                "step": r.step,
                "fingerprint": r.fingerprint,
                "run_id": r.run_id,
                "finished_at": r.finished_at,
                "seconds": r.seconds,
                "summary": r.summary,
                "verdict": r.verdict.value if r.verdict else None,
                "outputs": {role: dict(vars(artifact)) for role, artifact in r.outputs.items()},
                "components": r.components,
                "tainted": r.step in state.tainted,
            }
            for r in results
        ]
        click.echo(json.dumps({"format_version": 1, "model": model, "steps": steps}, ensure_ascii=False, indent=2))
        return 0
    from engine.cli.tables import render_table
    from engine.cli.words import duration, short_digest, when

    rows = [
        (
            r.step,
            short_digest(r.fingerprint),
            when(r.finished_at),
            duration(r.seconds),
            "tainted" if r.step in state.tainted else "",
            r.summary,
        )
        for r in results
    ]
    click.echo(render_table(("step", "fingerprint", "finished", "took", "", "result"), rows))
    for attempt in state.attempts.values():
        click.echo(f"{attempt.step}: {attempt.status.value} {attempt.message}".rstrip())
    return 0


@command.command("taint", examples="engine state taint customer_churn train")
@click.argument("model")
@click.argument("step")
@click.pass_obj
def taint_step(settings: Settings, /, model: str, step: str) -> int:
    """Mark a step to run again at the next apply."""
    from engine.app.changing import taint

    taint(settings.workspace(), model, step)
    click.echo(f"{step} of {model} will run again at the next apply.")
    return 0


@command.command("rm", examples="engine state rm old_model\nengine state rm old_model --auto-approve")
@click.argument("model")
@click.option("--auto-approve", is_flag=True, help="Do not ask.")
@click.pass_obj
def remove_model(settings: Settings, /, model: str, auto_approve: bool) -> int:
    """Forget a model: its results, runs, releases and endpoint.

    Its versions in the registry and the audit log stay. Applying its spec again starts from nothing.
    """
    from engine.app.changing import remove
    from engine.app.inspecting import model_state
    from engine.cli.agreement import agree

    workspace = settings.workspace()
    model_state(workspace, model)
    agree(f"Forget {model}?", auto_approve=auto_approve, instead="Add --auto-approve.")
    remove(workspace, model)
    click.echo(f"{model} is forgotten.")
    return 0


@command.command("backup", examples="engine state backup state-before-upgrade.db")
@click.argument("file", type=FilePath())
@click.pass_obj
def backup_state(settings: Settings, /, file: Path) -> int:
    """Copy the state, as of one moment, into a new file. To go back, put it in the place of .engine/state.db."""
    from engine.app.changing import backup

    backup(settings.workspace(), file)
    click.echo(f"Saved in {file}.")
    return 0


@command.command("gc", examples="engine state gc --dry-run\nengine state gc --keep 3")
@click.option(
    "--keep",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    metavar="N",
    help="Keep the N newest results of each step.",
)
@click.option("--dry-run", is_flag=True, help="Only say how much would go.")
@json_option
@click.pass_obj
def collect(settings: Settings, /, keep: int, dry_run: bool, as_json: bool) -> int:
    """Remove artifacts that nothing needs. Those of releases stay, but where `retention` in a spec no longer keeps one.

    A release that is not kept stays on record: its lineage, metrics and verdicts. It cannot be rolled back to.
    """
    from engine.app.changing import collect_garbage
    from engine.cli.words import size

    garbage = collect_garbage(settings.workspace(), keep=keep, dry_run=dry_run)
    if as_json:
        import json

        document = {**vars(garbage), "retired": list(garbage.retired)}
        click.echo(json.dumps({"format_version": 1, **document}))
    else:
        if garbage.retired:
            click.echo(f"Not kept by their retention: {', '.join(garbage.retired)}.")
        click.echo(f"{size(garbage.bytes)} {'would be' if dry_run else 'were'} freed.")
    return 0
