"""`engine history`."""

from __future__ import annotations

import click

from engine.cli.shape import Settings, define, json_option


@define(
    "history",
    examples="""
    engine history
    engine history customer_churn --limit 5
    engine history --json
    """,
)
@click.argument("model", required=False)
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True, metavar="N", help="How many runs.")
@json_option
@click.pass_obj
def command(settings: Settings, /, model: str | None, limit: int, as_json: bool) -> int:
    """List runs, newest first. `engine show RUN` tells all about one."""
    from engine.app.inspecting import history

    runs = history(settings.workspace(), model, limit)
    if as_json:
        import json

        from engine.app.showing import run_document

        found = [run_document(run) for run in runs]
        click.echo(json.dumps({"format_version": 1, "runs": found}, ensure_ascii=False, indent=2))
        return 0
    if not runs:
        click.echo("No runs yet.")
        return 0
    from engine.cli.details import commit_of
    from engine.cli.tables import render_table
    from engine.cli.words import elapsed, one_line, when

    commits = [commit_of(run.provenance) for run in runs]
    rows = [
        (
            run.run_id,
            run.model,
            run.status.value,
            when(run.started_at),
            elapsed(run.started_at, run.finished_at),
            str(run.provenance.get("user") or ""),
            *([commit] if any(commits) else []),
            one_line(run.message, 80),
        )
        for run, commit in zip(runs, commits, strict=True)
    ]
    found_in = ("commit",) if any(commits) else ()
    click.echo(render_table(("run", "model", "status", "started", "took", "by", *found_in, "message"), rows))
    return 0
