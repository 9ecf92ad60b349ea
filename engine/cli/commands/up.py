"""`engine up`, and `engine controller`, which is the same without a gateway."""

from __future__ import annotations

import os
import sys
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click
from click.core import ParameterSource

from engine.cli.asking import parse_variables, paths_argument, under, variables_option
from engine.cli.commands.serve import command as serve
from engine.cli.shape import F, Settings, define

if TYPE_CHECKING:
    from collections.abc import Sequence

    from engine.app.controller import Controller, Options
    from engine.app.retraining import Note
    from engine.app.workspace import Workspace
    from engine.runtime.events import Event

# Whoever took the place of its gateway would be in the way of the one that it starts again.
_OF_THE_GATEWAY = [option for option in serve.params if isinstance(option, click.Option) and option.name != "take_over"]
_COLORS = {"error": "red", "trigger": "cyan", "rollout": "magenta", "breach": "yellow", "run": "green"}


def controller_options(function: F) -> F:
    """What both commands take."""
    for option in (
        paths_argument,
        variables_option,
        click.option("--once", is_flag=True, help="One pass over everything that is due, then end: for cron and CI."),
        click.option("--trainings", default=1, show_default=True, type=click.IntRange(1), help="Models at a time."),
        click.option(
            "--metrics-port",
            type=click.IntRange(1, 65535),
            metavar="N",
            help="Answer Prometheus on loopback there; what the gateway counts is at its own /metrics.",
        ),
        click.option(
            "--repo", metavar="URL", help="Follow a git repository: this folder becomes, or is, a clone of it."
        ),
        click.option("--branch", default="main", show_default=True, metavar="NAME", help="The branch of it."),
        click.option("--jobs", type=click.IntRange(1), metavar="N", help="Steps at a time; one for each processor."),
    ):
        function = option(function)
    return function


@define(
    "up",
    examples="""
    engine up
    engine up specs/customer_churn.yaml --port 9000
    engine up --once
    engine up --repo https://git.example.org/models.git --branch main
    """,
)
@controller_options
@click.pass_context
def command(context: click.Context, /, **options: Any) -> int:
    """Keep every model as its spec says: serve it, watch it, carry rollouts on, retrain it when it is due.

    One command for one machine: `engine controller` and `engine serve` together. It follows changes of the spec files,
    with --repo the commits of a branch, forward only and while all specs are valid.
    Ctrl-C lets running steps finish, twice ends them at once; the next start goes on from there. --once exits with 1
    if a model failed.
    """
    settings = context.find_object(Settings)
    assert settings is not None
    return keep_models(settings, gateway=_gateway_arguments(context), **options)


command.params.extend(_OF_THE_GATEWAY)


def keep_models(
    settings: Settings,
    gateway: Sequence[str] | None,
    *,
    paths: Sequence[str],
    variables: Sequence[str],
    once: bool,
    trainings: int,
    jobs: int | None,
    metrics_port: int | None,
    repo: str | None,
    branch: str,
    **_of_the_gateway: Any,
) -> int:
    """Run a controller, beside it a gateway with these arguments unless they are None."""
    from engine.app.controller import Options
    from engine.app.repository import cloned

    named = parse_variables(variables)
    repository = None
    if repo is not None:
        repository = cloned(settings.folder, settings.environment, repo, branch, paths, named)
    workspace = settings.workspace() if repository is None else repository.workspace
    options = Options(
        under(settings, paths),
        named,
        jobs=jobs or os.cpu_count() or 1,
        trainings=trainings,
        repository=repository,
    )
    if once:
        controller = _controller(workspace, options)
        return 1 if controller.run_once() or controller.has_mistaken_specs else 0
    return _run(workspace, options, gateway, metrics_port)


def _gateway_arguments(context: click.Context) -> list[str]:
    """The gateway's options as they were typed."""
    arguments: list[str] = []
    for option in _OF_THE_GATEWAY:
        assert option.name is not None
        if context.get_parameter_source(option.name) is ParameterSource.COMMANDLINE:
            arguments.append(option.opts[0])
            if not option.is_flag:
                arguments.append(str(context.params[option.name]))
    return arguments


def _run(workspace: Workspace, options: Options, gateway: Sequence[str] | None, metrics_port: int | None) -> int:
    from engine.app.gateway_process import GatewayProcess
    from engine.cli.interrupts import Interrupts

    controller = _controller(workspace, options)
    child, end_metrics = None, None
    if metrics_port is not None:
        from engine.app.controller_metrics import serve_metrics

        end_metrics = serve_metrics(controller, metrics_port)
    if gateway is not None:
        child = GatewayProcess(workspace.root, workspace.environment, gateway, lambda text: _line("", text, "error"))
    with Interrupts(lambda text: click.echo(text, err=True)) as interrupts:
        interrupts.on_kill(controller.kill)
        controller.run(interrupts.stop, each_second=child.check if child else lambda: None)
    if child is not None:
        child.stop()
    if end_metrics is not None:
        end_metrics()
    return 0


def _controller(workspace: Workspace, options: Options) -> Controller:
    from engine.app.controller import Controller
    from engine.cli.watching import event_text
    from engine.runtime.events import StepProgress

    def tell(event: Event) -> None:
        if not isinstance(event, StepProgress):
            _line(event.model, event_text(event))

    def note(note: Note) -> None:
        _line(note.model, f"{note.text} {note.remedy if note.grave else ''}".rstrip(), note.kind)

    return Controller(workspace, options, note=note, tell=tell)


def _line(model: str, text: str, kind: str = "") -> None:
    """One line for each thing that happens, with the time; from any thread, whole."""
    at = click.style(f"{datetime.now():%H:%M:%S}", dim=True)
    name = click.style(model, bold=True) + " " if model else ""
    what = click.style(f"{kind}: ", fg=_COLORS.get(kind)) if kind else ""
    click.echo(f"{at} {name}{what}{text}", color=None if sys.stdout.isatty() else False)
