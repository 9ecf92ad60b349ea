"""`engine export prometheus|grafana`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import click

from engine.cli.asking import parse_variables, paths_argument, under, variables_option
from engine.cli.files import FilePath, refusals_told, writing
from engine.cli.shape import F, Settings, group

_DURATION = re.compile(r"[1-9][0-9]*(ms|s|m|h|d)")


def _duration(_context: click.Context, _parameter: click.Parameter, value: str | None) -> str | None:
    if value is not None and not _DURATION.fullmatch(value):
        raise click.BadParameter(f'"{value}" is not a duration of Prometheus: write it like 5m')
    return value


def _window_option(function: F) -> F:
    return click.option(
        "--window", default="5m", show_default=True, callback=_duration, metavar="DURATION", help="Take rates over it."
    )(function)


def _output_option(function: F) -> F:
    return click.option("--output", type=FilePath(file_okay=False), metavar="DIR", help="Write files there.")(function)


@group("export", examples="engine export prometheus --output monitoring/\nengine export grafana --output monitoring/")
def command() -> None:
    """Write rules and dashboards for other systems, from the specs' own limits."""


@command.command(
    "prometheus",
    examples="""
    engine export prometheus > engine.rules.yml
    engine export prometheus --output monitoring/ && promtool test rules monitoring/engine.rules.test.yml
    """,
)
@paths_argument
@variables_option
@_output_option
@_window_option
@click.option(
    "--for", "lasts", default="1m", show_default=True, callback=_duration, metavar="DURATION",
    help="How long a gateway may miss its limits before an alert fires.",
)  # fmt: skip
@click.option(
    "--interval", callback=_duration, metavar="DURATION", help="Evaluate so often; Prometheus' own if left out."
)
@click.pass_obj
def prometheus(
    settings: Settings,
    /,
    paths: Sequence[str],
    variables: Sequence[str],
    output: Path | None,
    window: str,
    lasts: str,
    interval: str | None,
) -> int:
    """Write recording and alert rules of the specs, and with --output unit tests of them for promtool.

    The rules are over what `engine serve` and `engine controller --metrics-port` export.
    """
    from engine.app import exporting

    options = exporting.Options(window, lasts, interval)
    made = exporting.prometheus(settings.workspace(), under(settings, paths), parse_variables(variables), options)
    _write(made, output, exporting.RULES)
    return 0


@command.command("grafana", examples="engine export grafana --output monitoring/\nengine export grafana > models.json")
@_output_option
@_window_option
def grafana(output: Path | None, window: str) -> int:
    """Write a dashboard of all models for Grafana. Needs the extra `grafana`."""
    from engine.app import exporting

    _write(exporting.grafana(exporting.Options(window)), output, exporting.DASHBOARD)
    return 0


def _write(made: Mapping[str, str], output: Path | None, shown: str) -> None:
    if output is None:
        click.echo(made[shown], nl=False)
        return
    with refusals_told(output):
        output.mkdir(parents=True, exist_ok=True)
    for name, text in made.items():
        with writing(output / name) as file:
            file.write(text)
    click.echo(f"Wrote {', '.join(made)} to {output}.")
