"""`engine logs`."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TYPE_CHECKING

import click

from engine.cli.files import FilePath, writing
from engine.cli.models import model_argument
from engine.cli.shape import Settings, define, json_option
from engine.errors import UsageError

if TYPE_CHECKING:
    from engine.serving.prediction_log_format import Prediction

_SHOWN = 20


@define(
    "logs",
    examples="""
    engine logs customer_churn
    engine logs customer_churn --since 1h --limit 100 --json
    engine logs customer_churn --since 2026-11-23T08:00:00Z --csv predictions.csv
    """,
)
@model_argument
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="How many; 20, or all with --csv.")
@click.option("--since", metavar="WHEN", help="A duration such as 1h or 7d before now, or a moment (ISO 8601).")
@click.option("--until", metavar="WHEN", help="Likewise.")
@click.option("--csv", "csv_file", type=FilePath(dir_okay=False), help="Write a CSV file, oldest first.")
@json_option
@click.pass_obj
def command(
    settings: Settings,
    /,
    model: str,
    limit: int | None,
    since: str | None,
    until: str | None,
    csv_file: Path | None,
    as_json: bool,
) -> int:
    """List predictions, newest first, with their actual values as far as they are known.

    What was answered within the last second may be missing.
    """
    from engine.app.logs import predictions

    found = predictions(
        settings.workspace(),
        model,
        since=_moment("--since", since),
        until=_moment("--until", until),
        limit=limit if limit or csv_file else _SHOWN,
        newest_first=csv_file is None,
    )
    if csv_file is not None:
        _write_csv(csv_file, found)
    elif as_json:
        import json

        rows = [dict(vars(row)) for row in found]
        click.echo(json.dumps({"format_version": 1, "predictions": rows}, ensure_ascii=False, indent=2))
    else:
        _show(list(found))
    return 0


def _moment(option: str, text: str | None) -> datetime | None:
    if text is None:
        return None
    from engine.spec.units import parse_duration

    try:
        return datetime.now(timezone.utc) - timedelta(seconds=parse_duration(text))
    except (ValueError, OverflowError):
        pass
    try:
        found = datetime.fromisoformat(text.replace("Z", "+00:00"))
        return found.astimezone(timezone.utc) if found.tzinfo else found.replace(tzinfo=timezone.utc)
    except (ValueError, OverflowError):
        raise UsageError(
            f'{option}: "{text}" is no duration or moment', remedy="Write 30m, 1h, 7d or 2026-11-23T08:00:00Z."
        ) from None


def _write_csv(path: Path, found: Iterable[Prediction]) -> None:
    import csv
    import json
    from dataclasses import fields

    from engine.cli.words import count
    from engine.serving.prediction_log_format import Prediction

    names = [field.name for field in fields(Prediction)]
    written = 0
    with writing(path) as file:
        table = csv.writer(file)
        table.writerow(names)
        for written, row in enumerate(found, 1):  # noqa: B007 - the count
            features = None if row.features is None else json.dumps(row.features, ensure_ascii=False)
            table.writerow([features if name == "features" else getattr(row, name) for name in names])
    click.echo(f"{path}: {count(written, 'prediction')}.")


def _show(found: list[Prediction]) -> None:
    if not found:
        click.echo("No predictions in that time.")
        return
    from engine.cli.tables import render_table
    from engine.cli.words import one_line, when

    rows = [
        (
            row.id,
            when(row.at),
            f"{row.model}@{row.version}",
            row.role,
            "failed" if row.prediction is None else str(row.prediction),
            "" if row.score is None else f"{row.score:.4g}",
            "" if row.actual is None else str(row.actual),
            f"{row.latency * 1000:.1f} ms",
            one_line(row.error or _features(row), 60),
        )
        for row in found
    ]
    headings = ("id", "at", "release", "role", "prediction", "score", "actual", "took", "features")
    click.echo(render_table(headings, rows))


def _features(row: Prediction) -> str:
    return ", ".join(f"{name}={value}" for name, value in (row.features or {}).items())
