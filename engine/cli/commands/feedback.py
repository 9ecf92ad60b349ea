"""`engine feedback import`."""

from __future__ import annotations

from pathlib import Path

import click

from engine.cli.files import FilePath
from engine.cli.models import model_argument
from engine.cli.shape import Settings, group, json_option

_SHOWN = 10


@group("feedback", examples="engine feedback import customer_churn labels.csv")
def command() -> None:
    """Tell what predictions turned out to be."""


@command.command(
    "import",
    examples="""
    engine feedback import customer_churn labels.csv
    engine feedback import customer_churn crm.csv --id-column prediction --actual-column churned
    """,
)
@model_argument
@click.argument("file", type=FilePath(exists=True, dir_okay=False))
@click.option("--id-column", default="id", show_default=True, help="The column with the predictions' ids.")
@click.option("--actual-column", default="actual", show_default=True, help="The column with the actual values.")
@json_option
@click.pass_obj
def import_file(
    settings: Settings, /, model: str, file: Path, id_column: str, actual_column: str, as_json: bool
) -> int:
    """Import actual values from a CSV file. Can be repeated: nothing counts twice. Works with or without a gateway.

    Exits with 1 if a row was not taken: an id that is not in the log, a value that is none of the model's classes, or
    another value than was told before.
    """
    from engine.app.logs import import_feedback

    taken = import_feedback(settings.workspace(), model, file, id_column, actual_column)
    left_out = taken.unknown or taken.conflicting or taken.invalid
    if as_json:
        import json

        click.echo(json.dumps({"format_version": 1, **taken.to_json()}, ensure_ascii=False, indent=2))
        return 1 if left_out else 0
    from engine.cli.words import count

    click.echo(f"{count(taken.accepted, 'label')} accepted, {taken.already:,} known already.")
    problems = [
        *(f"{id_}: no prediction with this id is in the log" for id_ in taken.unknown),
        *(f"{each['id']}: {each['actual']} was told before, which stays" for each in taken.conflicting),
        *(f"{each['id']}: {each['problem']}" for each in taken.invalid),
    ]
    for problem in problems[:_SHOWN]:
        click.echo(problem, err=True)
    if len(problems) > _SHOWN:
        click.echo(f"… and {len(problems) - _SHOWN:,} more (--json lists all)", err=True)
    return 1 if left_out else 0
