"""`engine apply`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import click

from engine.cli.agreement import agree
from engine.cli.asking import make_planned, paths_argument, planning_options
from engine.cli.changes import lock_timeout_option
from engine.cli.shape import Settings, define, json_option
from engine.errors import UsageError

if TYPE_CHECKING:
    from engine.app.delivering import Progress
    from engine.app.planning import Planned
    from engine.app.workspace import Workspace
    from engine.cli.watching import Watcher
    from engine.runtime.apply import Result

SPEC_SUFFIXES = (".yaml", ".yml")
INSTEAD = "Add --auto-approve, or review a plan first: engine plan --out FILE, then engine apply FILE"


@define(
    "apply",
    examples="""
    engine apply
    engine apply specs/customer_churn.yaml --auto-approve
    engine apply --auto-approve --wait
    engine apply churn.plan
    engine apply --replace train --lock-timeout 10m
    """,
)
@paths_argument
@planning_options
@click.option("--auto-approve", is_flag=True, help="Do not ask.")
@click.option("--wait", is_flag=True, help="Carry the rollouts on that this begins, and show them until they ended.")
@lock_timeout_option
@click.option(
    "--jobs", type=click.IntRange(min=1), metavar="N", help="Steps at a time; one for each processor if left out."
)
@json_option
@click.pass_obj
def command(settings: Settings, /, paths: tuple[str, ...], as_json: bool, **options: Any) -> int:
    """Carry out a plan: that of the specs, or one saved by `engine plan --out`.

    Shows the plan and asks. Exits with 3 if a gate stopped a model or its candidate was sent away (--wait), 4 if
    another run holds it, 1 for any other failure. A run that was interrupted goes on where it was.
    """
    workspace = settings.workspace()
    planned = _planned(settings, workspace, paths, options)
    if not as_json:
        from engine.cli.plan_text import render_plan

        click.echo(render_plan(planned))
    if planned.plan.changes:
        approved = options["auto_approve"] or planned.saved is not None
        if not approved and not as_json:
            click.echo()
        agree("Apply?", auto_approve=approved, instead=INSTEAD)
    return _carry_out(workspace, planned, options, as_json=as_json)


def _planned(settings: Settings, workspace: Workspace, paths: tuple[str, ...], options: dict[str, Any]) -> Planned:
    from engine.app.saved_plans import is_saved_plan, load_plan

    saved = [path for path in paths if not path.endswith(SPEC_SUFFIXES) and is_saved_plan(settings.folder / path)]
    if not saved:
        return make_planned(settings, workspace, paths, options)
    given = [f"--{name.rstrip('s')}" for name in ("targets", "replace", "variables", "refresh") if options[name]]
    if len(paths) > 1 or given:
        raise UsageError(
            f"{saved[0]} is a saved plan, which is applied as it is",
            remedy=f"Leave out {given[0] if given else 'the other arguments'}, or plan anew: engine plan --out FILE",
        )
    return load_plan(workspace, settings.folder / saved[0])


def _carry_out(workspace: Workspace, planned: Planned, options: dict[str, Any], *, as_json: bool) -> int:
    from engine.app.applying import apply
    from engine.cli.interrupts import Interrupts
    from engine.cli.outcome import exit_code, outcome_document, render_outcome

    with _watcher(planned, as_json=as_json) as watcher, Interrupts(watcher.note) as interrupts:
        results = apply(
            workspace,
            planned,
            tell=watcher.tell,
            stop=interrupts.stop,
            on_kill=interrupts.on_kill,
            lock_timeout=options["lock_timeout"],
            jobs=options["jobs"],
        )
    if not as_json and (planned.plan.changes or any(model.held for model in planned.plan.models)):
        click.echo(render_outcome(workspace, planned, results))
    delivered = _delivered(workspace, results, as_json=as_json) if options["wait"] else []
    code = exit_code(results, delivered)
    if as_json:
        import json

        document = outcome_document(workspace, planned, results)
        if options["wait"]:
            from engine.app.showing import progress_document

            document |= {"exit_code": code, "rollouts": [progress_document(found) for found in delivered]}
        click.echo(json.dumps(document, ensure_ascii=False, indent=2))
    return code


def _delivered(workspace: Workspace, results: Sequence[Result], *, as_json: bool) -> list[Progress]:
    """How the rollouts of these models ended, those of earlier applies too."""
    from engine.cli.following import follow_rollouts
    from engine.core.records import RunStatus

    going_on = workspace.reader.open_rollouts()
    models = [result.model for result in results if result.model in going_on and result.status is RunStatus.DONE]
    if not models:
        return []
    if not as_json:
        click.echo()
    return follow_rollouts(workspace, models, as_json=as_json)


def _watcher(planned: Planned, *, as_json: bool) -> AbstractContextManager[Watcher]:
    """Who shows the events: a live view on a terminal, else lines; on stderr if stdout is for JSON."""
    stream = sys.stderr if as_json else sys.stdout
    if planned.plan.changes and stream.isatty():
        from engine.cli.live import LiveWatcher

        return LiveWatcher(stream, several=len(planned.models) > 1)
    from engine.cli.watching import LineWatcher

    return LineWatcher(as_json)
