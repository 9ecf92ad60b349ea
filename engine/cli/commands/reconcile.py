"""`engine reconcile`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from engine.cli.models import models_argument
from engine.cli.shape import Settings, define, json_option
from engine.errors import EngineError

if TYPE_CHECKING:
    from engine.runtime.deliver import Reconciled


@define(
    "reconcile",
    examples="""
    engine reconcile
    engine reconcile customer_churn --json
    """,
)
@models_argument
@json_option
@click.pass_obj
def command(settings: Settings, /, models: tuple[str, ...], as_json: bool) -> int:
    """Carry every rollout on by one pass, and the registry's aliases where they lag behind.

    Any number of these may run at once. Exits with 1 if a model could not be carried on.
    """
    from engine.app.delivering import reconcile

    came = reconcile(settings.workspace(), models)
    if as_json:
        import json

        document = {"format_version": 1, "models": [_document(name, each) for name, each in came.items()]}
        click.echo(json.dumps(document, ensure_ascii=False, indent=2))
    elif not came:
        click.echo("Nothing to carry on.")
    for name, each in () if as_json else came.items():
        click.echo(f"{click.style(name, bold=True)}: {_text(each)}")
    return 1 if any(isinstance(each, EngineError) for each in came.values()) else 0


def _text(came: Reconciled | EngineError) -> str:
    from engine.runtime.deliver import Again

    if isinstance(came, EngineError):
        return f"{click.style('error:', fg='red', bold=True)} {came.message} {came.remedy}".rstrip()
    return f"{came.why} (again in {came.seconds:g} s)" if isinstance(came, Again) else came.why


def _document(name: str, came: Reconciled | EngineError) -> dict[str, Any]:
    from engine.runtime.deliver import Again

    if isinstance(came, EngineError):
        return {"model": name, "done": False, "again_seconds": None, "why": None, "error": _error(came)}
    seconds = came.seconds if isinstance(came, Again) else None
    return {"model": name, "done": seconds is None, "again_seconds": seconds, "why": came.why, "error": None}


def _error(error: EngineError) -> dict[str, str]:
    return {"message": error.message, "remedy": error.remedy}
