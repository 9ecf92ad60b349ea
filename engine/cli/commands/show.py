"""`engine show`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from engine.cli.files import FilePath
from engine.cli.shape import Settings, define, json_option
from engine.errors import UsageError

if TYPE_CHECKING:
    from engine.app.inspecting import ReleaseDetail, RunDetail
    from engine.app.workspace import Workspace


@define(
    "show",
    examples="""
    engine show customer_churn              # its stable release, else its last run
    engine show customer_churn@2            # release 2: its data, code, metrics, verdicts, when it served
    engine show customer_churn@2 --lineage  # all that it was made of, step by step
    engine show customer_churn@2 --lineage --out lineage.svg
    engine show 20261123T0438               # a run, by the beginning of its id
    engine show 20261123T0438 --log train   # what a step printed
    """,
)
@click.argument("what", metavar="RUN|MODEL|MODEL@VERSION")
@click.option("--log", "step", metavar="STEP", help="Print the log of this step of a run.")
@click.option("--lineage", is_flag=True, help="All that a release was made of; with --json its whole record.")
@click.option("--out", type=FilePath(), metavar="FILE", help="With --lineage: draw it, as .svg or .png.")
@json_option
@click.pass_obj
def command(settings: Settings, /, what: str, step: str | None, lineage: bool, out: Path | None, as_json: bool) -> int:
    """Show a run, or a release with its lineage: data, code, environment, metrics, verdicts, when it served."""
    from engine.app.inspecting import ReleaseDetail, find

    workspace = settings.workspace()
    if lineage:
        return _show_lineage(workspace, what, out, as_json)
    if out is not None:
        raise UsageError("--out draws a lineage", remedy="Add --lineage.")
    found = find(workspace, what)
    if step is not None:
        _print_log(found, step)
    elif as_json:
        import json

        document = _release_document(found) if isinstance(found, ReleaseDetail) else _run_document(found)
        click.echo(json.dumps({"format_version": 1, **document}, ensure_ascii=False, indent=2))
    else:
        from engine.cli.details import release_text, run_text

        shown = release_text(found) if isinstance(found, ReleaseDetail) else run_text(found, workspace)
        click.echo(shown)
    return 0


def _show_lineage(workspace: Workspace, what: str, out: Path | None, as_json: bool) -> int:
    from engine.app.lineage import find_release, record_of

    record = record_of(workspace, find_release(workspace, what))
    if out is not None:
        from engine.cli.lineage_picture import lineage_picture
        from engine.cli.picture import draw

        form = out.suffix.removeprefix(".")
        if form not in ("svg", "png"):
            raise UsageError(f"{out.name} names no format of a picture", remedy="Name it .svg or .png.")
        draw(lineage_picture(record), out, form)
        click.echo(f"Drawn in {out}.", err=as_json)
    if as_json:
        import json

        click.echo(json.dumps(record, ensure_ascii=False, indent=2))
    elif out is None:
        from engine.cli.lineage_text import lineage_text

        click.echo(lineage_text(record))
    return 0


def _print_log(found: RunDetail | ReleaseDetail, step: str) -> None:
    from engine.app.inspecting import RunDetail

    if not isinstance(found, RunDetail):
        raise UsageError("a release has no log of its own", remedy=f"Name its run: {found.release.run_id}")
    path = found.logs / f"{step}.log"
    names = sorted(log.stem for log in found.logs.glob("*.log"))
    if step not in names:
        remedy = f"Logs: {', '.join(names)}." if names else "Steps that run in the engine itself have none."
        raise UsageError(f"run {found.run.run_id} has no log of {step}", remedy=remedy)
    click.echo(path.read_text(encoding="utf-8", errors="replace"), nl=False)


def _run_document(found: RunDetail) -> dict[str, Any]:
    run = found.run
    return {
        "run": {**vars(run), "status": run.status.value},
        "steps": [
            {
                "step": result.step,
                "fingerprint": result.fingerprint,
                "seconds": result.seconds,
                "finished_at": result.finished_at,
                "summary": result.summary,
                "facts": result.facts,
                "verdict": result.verdict.value if result.verdict else None,
                "outputs": {role: dict(vars(artifact)) for role, artifact in result.outputs.items()},
            }
            for result in found.results
        ],
        "attempts": [{**vars(attempt), "status": attempt.status.value} for attempt in found.attempts],
        "releases": [release.version for release in found.releases],
        "logs": str(found.logs),
    }


def _release_document(found: ReleaseDetail) -> dict[str, Any]:
    release = found.release
    return {
        "release": {**vars(release), "artifact": dict(vars(release.artifact))},
        "role": found.role or None,
        "spec": found.run.document if found.run else None,
        "lineage": {
            step: {
                "fingerprint": result.fingerprint,
                "components": result.components,
                "facts": result.facts,
                "run_id": result.run_id,
                "outputs": {role: dict(vars(artifact)) for role, artifact in result.outputs.items()},
            }
            for step, result in found.lineage.items()
        },
        "service": [dict(vars(event)) for event in found.service],
    }
