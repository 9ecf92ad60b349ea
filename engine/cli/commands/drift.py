"""`engine drift check`."""

from __future__ import annotations

from pathlib import Path

import click

from engine.cli.files import FilePath
from engine.cli.models import model_argument
from engine.cli.shape import Settings, group, json_option

EXIT_CODES = {"no_drift": 0, "drift": 2, "inconclusive": 3}


@group("drift", examples="engine drift check customer_churn --data batch.csv")
def command() -> None:
    """Check whether a file's rows have drifted from a release's."""


@command.command(
    "check",
    examples="""
    engine drift check customer_churn --data batch.csv
    engine drift check customer_churn --data batch.parquet --detector mmd --json
    """,
)
@model_argument
@click.option("--data", type=FilePath(), required=True, help="A file of rows.")
@click.option("--version", type=click.IntRange(min=1), help="The release; the live one if left out.")
@click.option("--detector", help="A detector of a drift trigger; those of the spec's triggers if left out.")
@json_option
@click.pass_obj
def check(
    settings: Settings, /, model: str, data: Path, version: int | None, detector: str | None, as_json: bool
) -> int:
    """Compare the features in a file with a release's hold-out.

    The exit code is 0 without drift, 2 with drift, and 3 where there is too little to say.
    """
    from engine.app.drifting import check_batch

    found = check_batch(settings.workspace(), model, data, version, detector)
    if as_json:
        import json

        document = {
            "format_version": 1,
            "model": model,
            "version": found.version,
            "verdict": found.verdict,
            "checks": {name: report.to_json() for name, report in found.reports.items()},
        }
        click.echo(json.dumps(document, ensure_ascii=False, indent=2))
    else:
        import sys

        from engine.cli.monitoring import drift_section
        from engine.cli.sections import show

        click.echo(click.style(f"{model}@{found.version}", bold=True) + f": {data.name}")
        show([drift_section(report.to_json()) for report in found.reports.values()], sys.stdout)
    return EXIT_CODES[found.verdict]
