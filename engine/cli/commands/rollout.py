"""`engine rollout status|watch|promote|pause|resume|abort|retry`."""

from __future__ import annotations

import click

from engine.cli.changes import echo_endpoint_change, reason_option
from engine.cli.models import model_argument
from engine.cli.shape import Settings, group, json_option

ABORTED = 3  # the exit code for a candidate that did not go live


@group("rollout", examples="engine rollout status customer_churn\nengine rollout watch customer_churn")
def command() -> None:
    """See how a candidate fares on its way to all traffic, and step in."""


@command.command("status", examples="engine rollout status customer_churn\nengine rollout status customer_churn --json")
@model_argument
@json_option
@click.pass_obj
def status(settings: Settings, /, model: str, as_json: bool) -> int:
    """Show the last rollout of a model: its stage, what it waits for, what live traffic says."""
    from engine.app.delivering import progress
    from engine.app.showing import progress_document
    from engine.cli.delivery import progress_text

    found = progress(settings.workspace(), model)
    if as_json:
        import json

        click.echo(json.dumps({"format_version": 1, **progress_document(found)}, ensure_ascii=False, indent=2))
    else:
        click.echo(progress_text(found))
    return 0


@command.command("watch", examples="engine rollout watch customer_churn\nengine rollout watch customer_churn --json")
@model_argument
@json_option
@click.pass_obj
def watch(settings: Settings, /, model: str, as_json: bool) -> int:
    """Carry a rollout on and show it until it has ended.

    Exits with 0 if the candidate went live, 3 if it was sent away. Ctrl-C leaves the rollout as it is.
    """
    from engine.app.delivering import succeeded
    from engine.app.showing import progress_document
    from engine.cli.following import follow_rollouts

    [found] = follow_rollouts(settings.workspace(), [model], as_json=as_json)
    if as_json:
        import json

        click.echo(json.dumps({"format_version": 1, **progress_document(found)}, ensure_ascii=False, indent=2))
    return 0 if succeeded(found) else ABORTED


@command.command("promote", examples="engine rollout promote customer_churn")
@model_argument
@json_option
@click.pass_obj
def promote(settings: Settings, /, model: str, as_json: bool) -> int:
    """Make the candidate the stable release now, whatever stage it is in; also how one agrees when asked to."""
    from engine.app.delivering import promote as wish

    return echo_endpoint_change(wish(settings.workspace(), model), as_json=as_json)


@command.command("pause", examples="engine rollout pause customer_churn")
@model_argument
@json_option
@click.pass_obj
def pause(settings: Settings, /, model: str, as_json: bool) -> int:
    """Stay at the present share until somebody resumes. What fails is sent away all the same."""
    from engine.app.delivering import pause as wish

    return echo_endpoint_change(wish(settings.workspace(), model), as_json=as_json)


@command.command("resume", examples="engine rollout resume customer_churn")
@model_argument
@json_option
@click.pass_obj
def resume(settings: Settings, /, model: str, as_json: bool) -> int:
    """Go on after a pause."""
    from engine.app.delivering import resume as wish

    return echo_endpoint_change(wish(settings.workspace(), model), as_json=as_json)


@command.command("abort", examples='engine rollout abort customer_churn --reason "errors in the app since noon"')
@model_argument
@reason_option
@json_option
@click.pass_obj
def abort(settings: Settings, /, model: str, reason: str, as_json: bool) -> int:
    """Send the candidate away; the stable release gets all traffic.

    The same release is not deployed again until its spec, data or code changes, or by `engine rollout retry`.
    """
    from engine.app.delivering import abort as wish

    return echo_endpoint_change(wish(settings.workspace(), model, reason), as_json=as_json)


@command.command("retry", examples="engine rollout retry customer_churn")
@model_argument
@json_option
@click.pass_obj
def retry(settings: Settings, /, model: str, as_json: bool) -> int:
    """Begin the rollout anew that was sent away, from its first stage."""
    from engine.app.delivering import retry as wish

    return echo_endpoint_change(wish(settings.workspace(), model), as_json=as_json)
