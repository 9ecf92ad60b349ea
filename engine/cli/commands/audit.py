"""`engine audit list|verify|export`."""

from __future__ import annotations

from pathlib import Path

import click

from engine.cli.files import FilePath, writing
from engine.cli.shape import Settings, group, json_option


@group("audit", examples="engine audit list\nengine audit verify\nengine audit export --out audit.csv")
def command() -> None:
    """List the audit log, verify its chain, or export it."""


@command.command("list", examples="engine audit list\nengine audit list --after 100 --json")
@click.option("--after", type=click.IntRange(min=0), default=0, metavar="N", help="Only events beyond number N.")
@json_option
@click.pass_obj
def list_events(settings: Settings, /, after: int, as_json: bool) -> int:
    """List what was done to the state, when and by whom, oldest first."""
    events = settings.workspace().reader.audit(after)
    if as_json:
        import json

        document = {"format_version": 1, "events": [dict(vars(event)) for event in events]}
        click.echo(json.dumps(document, ensure_ascii=False, indent=2))
        return 0
    from engine.cli.tables import render_table
    from engine.cli.words import when

    rows = [(str(e.sequence), when(e.at), e.actor, e.event, e.subject, _details(dict(e.details))) for e in events]
    click.echo(render_table(("no", "at", "by", "event", "subject", "details"), rows) if rows else "No events yet.")
    return 0


@command.command(
    "verify",
    examples="engine audit verify\nengine audit verify --head 12:blake3:4f0c…   # as an earlier verify printed",
)
@click.option("--head", metavar="COUNT:HASH", help="A head that was kept elsewhere; shows a log that was cut short.")
@json_option
@click.pass_obj
def verify(settings: Settings, /, head: str | None, as_json: bool) -> int:
    """Check that no event was altered, removed or reordered. Exits with 1 if one was.

    A log that was cut at its end still holds together: keep the head that this prints somewhere else, and give it
    back with --head.
    """
    from engine.app.inspecting import verify_audit

    findings = verify_audit(settings.workspace(), head)
    if as_json:
        import json

        document = {
            "format_version": 1,
            "intact": not findings.problems,
            "problems": list(findings.problems),
            "head": f"{findings.count}:{findings.head}",
        }
        click.echo(json.dumps(document, ensure_ascii=False, indent=2))
    elif findings.problems:
        for problem in findings.problems:
            click.echo(f"{click.style('error:', fg='red', bold=True)} {problem}", err=True)
        click.echo("Compare with a backup of the state before you rely on it.", err=True)
    else:
        click.echo(
            f"{click.style('Intact:', fg='green')} {findings.count} events. Head: {findings.count}:{findings.head}"
        )
    return 1 if findings.problems else 0


@command.command(
    "export", examples="engine audit export > audit.jsonl\nengine audit export --after 100 --out audit.csv"
)
@click.option("--after", type=click.IntRange(min=0), default=0, metavar="N", help="Only events beyond number N.")
@click.option("--format", "form", type=click.Choice(["jsonl", "csv"]), help="jsonl, or what FILE ends in.")
@click.option("--out", type=FilePath(), metavar="FILE", help="Write it to a file.")
@click.pass_obj
def export(settings: Settings, /, after: int, form: str | None, out: Path | None) -> int:
    """Write the audit log as JSON lines or CSV. JSON lines hold all that the hashes cover."""
    from engine.app.inspecting import export_audit

    form = form or ("csv" if out is not None and out.suffix == ".csv" else "jsonl")
    workspace = settings.workspace()
    if out is None:
        export_audit(workspace, form, lambda text: click.echo(text, nl=False), after)
        return 0
    with writing(out) as file:
        number = export_audit(workspace, form, file.write, after)
    click.echo(f"{number} events written to {out}.")
    return 0


def _details(details: dict[str, object]) -> str:
    """The details that say something to a person; all of them are in --json."""
    told = [details[key] for key in ("reason", "status", "version", "step", "message", "run_id") if details.get(key)]
    from engine.cli.words import one_line

    return one_line(", ".join(map(str, told)), 80)
