"""`engine reproduce`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from engine.cli.shape import Settings, define, json_option

if TYPE_CHECKING:
    from engine.app.reproducing import Reproduction
    from engine.runtime.events import Event


@define(
    "reproduce",
    examples="""
    engine reproduce customer_churn@2
    engine reproduce customer_churn --json
    """,
)
@click.argument("what", metavar="MODEL|MODEL@VERSION")
@json_option
@click.pass_obj
def command(settings: Settings, /, what: str, as_json: bool) -> int:
    """Make a release again from its record, and say whether it comes out the same. Exits with 1 if it does not.

    Its stored data, spec, seed and code are taken; code that changed since is taken from the commit that it was made
    of. The steps run in a folder of their own: nothing of the project changes, and nothing is registered.
    """
    from engine.app.reproducing import reproduce

    found = reproduce(settings.workspace(), what, _silent if as_json else _tell)
    if as_json:
        import json

        click.echo(json.dumps(_document(found), ensure_ascii=False, indent=2))
    else:
        from engine.cli.comparing_text import reproduction_text

        click.echo(reproduction_text(found))
    return 0 if found.agrees else 1


def _tell(event: Event) -> None:
    from engine.cli.words import duration
    from engine.runtime.events import StepFinished

    if isinstance(event, StepFinished):
        click.echo(f"{event.step} done in {duration(event.result.seconds)}: {event.result.summary}", err=True)


def _silent(_event: Event) -> None:
    return None


def _document(found: Reproduction) -> dict[str, Any]:
    return {
        "format_version": 1,
        "release": found.release,
        "agrees": found.agrees,
        "same_model": found.same_model,
        "same_metrics": found.same_metrics,
        "code": found.code,
        "outputs": [{**vars(each), "agrees": each.agrees} for each in found.outputs],
        "metrics": [dict(vars(each)) for each in found.metrics],
        "environment": [dict(vars(each)) for each in found.environment],
    }
