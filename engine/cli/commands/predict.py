"""`engine predict`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from engine.cli.changes import Duration
from engine.cli.files import FilePath, writing
from engine.cli.models import model_argument
from engine.cli.shape import Settings, define, json_option

if TYPE_CHECKING:
    from engine.app.predicting import Gateway, Traffic

SHOWN = 20
_FILE = FilePath(exists=True)


@define(
    "predict",
    examples="""
    engine predict customer_churn --data data/new_customers.csv
    engine predict customer_churn --data new.parquet --out predictions.csv
    engine predict customer_churn --data data/customers.csv --for 30s --clients 8
    """,
)
@model_argument
@click.option("--data", "file", required=True, type=_FILE, help="CSV, Parquet or JSON lines with the model's columns.")
@click.option("--out", type=FilePath(dir_okay=False), help="Write all predictions to a CSV file.")
@click.option("--batch", default=100, show_default=True, type=click.IntRange(1, 10_000), help="Rows in one request.")
@click.option("--for", "lasting", type=Duration(), help="Send the rows one by one for so long, and count the answers.")
@click.option("--clients", default=4, show_default=True, type=click.IntRange(1, 256), help="With --for: at once.")
@click.option("--url", help="The gateway's address; that of this project's gateway by default.")
@click.option("--token-file", type=_FILE, help="The gateway's token.")
@json_option
@click.pass_obj
def command(
    settings: Settings,
    /,
    model: str,
    file: Path,
    out: Path | None,
    batch: int,
    lasting: float | None,
    clients: int,
    url: str | None,
    token_file: Path | None,
    as_json: bool,
) -> int:
    """Predict a file's rows through the gateway, or send them as traffic for a while."""
    from engine.app import predicting

    gateway = predicting.Gateway(url) if url else predicting.find_gateway(settings.workspace())
    if token_file is not None:
        gateway = predicting.Gateway(gateway.url, token_file.read_text(encoding="utf-8").strip())
    rows = predicting.rows_of(gateway, model, file)
    if lasting is not None:
        return _echo_traffic(predicting.send_traffic(gateway, model, rows, lasting, clients), as_json=as_json)
    _predict(gateway, model, rows, batch, out, as_json=as_json)
    return 0


def _predict(
    gateway: Gateway, model: str, rows: list[dict[str, Any]], batch: int, out: Path | None, *, as_json: bool
) -> None:
    from engine.app.predicting import predict

    answers = predict(gateway, model, rows, batch)
    if sys.stderr.isatty():
        with click.progressbar(answers, length=len(rows), label="Predicting", file=sys.stderr) as shown:
            found = list(shown)
    else:
        found = list(answers)
    if out is not None:
        _write(out, found)
        click.echo(f"{len(found):,} predictions in {out}", err=as_json)
    elif as_json:
        click.echo(json.dumps(found, indent=2))
    else:
        _echo_table(found)


def _write(out: Path, found: list[Any]) -> None:
    import csv

    with writing(out) as file:
        writer = csv.DictWriter(file, ["row", "prediction", "probability", "version", "id"])
        writer.writeheader()
        writer.writerows({"row": number, **each} for number, each in enumerate(found))


def _echo_table(found: list[Any]) -> None:
    from engine.cli.tables import render_table

    shown = [
        (str(number), str(each["prediction"]), _share(each["probability"]), f"version {each['version']}")
        for number, each in enumerate(found[:SHOWN])
    ]
    click.echo(render_table(("row", "prediction", "probability", "by"), shown))
    if len(found) > SHOWN:
        click.echo(f"… and {len(found) - SHOWN:,} more; write all: --out FILE")


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _echo_traffic(traffic: Traffic, *, as_json: bool) -> int:
    """The answers, by release, and how quick they were. Exit code 1 if a request failed."""
    total = sum(traffic.answers.values())
    if as_json:
        document = {
            "requests": total,
            "failed": traffic.failed,
            "seconds": traffic.lasted,
            "answers": dict(traffic.answers),
            "latency_seconds": {"p50": traffic.quantile(0.5), "p99": traffic.quantile(0.99)},
        }
        click.echo(json.dumps(document, indent=2))
    else:
        for said, number in sorted(traffic.answers.items()):
            click.echo(f"{number:>9,}  {said}")
        half, most = (traffic.quantile(share) * 1000 for share in (0.5, 0.99))
        rate = f"{total / traffic.lasted:,.0f} a second"
        click.echo(
            f"{total:>9,}  requests, {traffic.failed:,} failed; {rate}; half within {half:.1f} ms, 99 % {most:.1f}"
        )
    return 1 if traffic.failed else 0
