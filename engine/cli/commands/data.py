"""`engine data`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from engine.cli.files import FilePath, writing
from engine.cli.models import model_argument
from engine.cli.shape import Settings, group, json_option
from engine.core.verdict import Verdict

MOST_LISTED = 200  # changes; --json has all


@group("data", examples="engine data profile data/churn.csv")
def command() -> None:
    """Propose a data contract, hold data against one, compare two snapshots."""


_format = click.option(
    "--format", "file_format", type=click.Choice(["csv", "parquet", "jsonl"]), help="Where names do not tell it."
)
_missing = click.option("--missing", multiple=True, metavar="TEXT", help="What stands for a missing value; repeatable.")
_personal = click.option("--personal", multiple=True, metavar="COLUMN", help="Tell no value of it; repeatable.")


@command.command(
    "profile",
    examples="""
    engine data profile data/churn.csv
    engine data profile data/churn.csv --personal name --out contract.yaml
    engine data profile events/ --format jsonl --json
    """,
)
@click.argument("data", type=FilePath(), metavar="FILE")
@_format
@_missing
@_personal
@click.option("--out", type=FilePath(dir_okay=False), help="Write the contract to this file.")
@json_option
def profile(
    data: Path,
    file_format: str | None,
    missing: tuple[str, ...],
    personal: tuple[str, ...],
    out: Path | None,
    as_json: bool,
) -> int:
    """Propose a contract from a file or folder: YAML to be pasted into a spec.

    The data itself passes it. Ranges are a tenth wider than what is there, half of the rows are enough.
    """
    from engine.app.contracts import Reading, propose_contract
    from engine.cli.data_text import proposal_document, proposal_text

    found = propose_contract(data, Reading(file_format, list(missing) or None, personal))
    if as_json:
        _print_json(proposal_document(found))
        return 0
    text = proposal_text(found, data.name)
    if out is None:
        click.echo(text, nl=False)
    else:
        with writing(out) as file:
            file.write(text)
    return 0


@command.command(
    "check",
    examples="""
    engine data check customer_churn --data batch.csv
    engine data check customer_churn --data batch.parquet --json
    """,
)
@model_argument
@click.option("--data", type=FilePath(), required=True, help="A file or folder.")
@json_option
@click.pass_obj
def check(settings: Settings, /, model: str, data: Path, as_json: bool) -> int:
    """Hold a file or folder against the contract in a model's spec. The exit code is 3 where it does not pass."""
    from engine.app.contracts import check_batch
    from engine.cli.data_text import report_text

    report = check_batch(settings.workspace(), model, data)
    if as_json:
        _print_json(report.to_json())
    else:
        click.echo(report_text(report))
    return 0 if report.verdict is Verdict.PASS else 3


@command.command(
    "diff",
    examples="""
    engine data diff data/churn.csv data/churn_new.csv
    engine data diff customer_churn@1 customer_churn@2
    engine data diff customer_churn data/churn.csv --json
    """,
)
@click.argument("before", metavar="A")
@click.argument("after", metavar="B")
@_format
@_missing
@_personal
@json_option
@click.pass_obj
def diff(
    settings: Settings,
    /,
    before: str,
    after: str,
    file_format: str | None,
    missing: tuple[str, ...],
    personal: tuple[str, ...],
    as_json: bool,
) -> int:
    """Show what changed between two snapshots: files, digests of snapshots, runs, releases or models."""
    from engine.app.contracts import Reading, compare
    from engine.cli.data_text import difference_document, difference_text

    reading = Reading(file_format, list(missing) or None, personal)
    named = [str(settings.folder / what) if (settings.folder / what).exists() else what for what in (before, after)]
    found = compare(settings.workspace(), named[0], named[1], reading)
    if as_json:
        _print_json(difference_document(found))
    else:
        click.echo(difference_text(found, MOST_LISTED))
    return 0


def _print_json(document: dict[str, Any]) -> None:
    import json

    click.echo(json.dumps({"format_version": 1, **document}, ensure_ascii=False, indent=2))
