"""Options that `plan` and `apply` share, and what they come to: files, variables and a request."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import click

from engine.cli.shape import F, Settings
from engine.errors import UsageError

if TYPE_CHECKING:
    from engine.app.planning import Planned
    from engine.app.workspace import Workspace

paths_argument = click.argument("paths", nargs=-1, metavar="[SPEC|FOLDER]...")
variables_option = click.option(
    "--var", "variables", multiple=True, metavar="NAME=VALUE", help="Value of ${var:NAME} in the specs. Repeatable."
)


def planning_options(function: F) -> F:
    """`--target`, `--replace`, `--refresh` and `--var`."""
    options: Sequence[Callable[[Any], Any]] = (
        variables_option,
        click.option(
            "--refresh", is_flag=True, help="Look at everything again: caches aside, the registry's aliases too."
        ),
        click.option("--replace", multiple=True, metavar="STEP", help="Run this step again in any case. Repeatable."),
        click.option(
            "--target", "targets", multiple=True, metavar="STEP", help="Only this step and what it needs. Repeatable."
        ),
    )
    for option in options:
        function = option(function)
    return function


def parse_variables(pairs: Sequence[str]) -> dict[str, str]:
    """`NAME=VALUE` pairs as a mapping. Raises UsageError."""
    found: dict[str, str] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise UsageError(f'--var "{pair}" has no value', remedy="Write it like --var threshold=0.8")
        if name in found:
            raise UsageError(f"--var {name} is given twice", remedy="Keep one of them.")
        found[name] = value
    return found


def under(settings: Settings, paths: Sequence[str]) -> list[str]:
    """Paths as they are meant: relative to the folder that the command works in."""
    return [str(settings.folder / path) for path in paths]


def make_planned(settings: Settings, workspace: Workspace, paths: Sequence[str], options: dict[str, Any]) -> Planned:
    """Plan what the command line asks for. Raises EngineError."""
    from engine.app.planning import find_specs, plan
    from engine.core.plan import Request

    request = Request(
        replace=frozenset(options["replace"]), targets=frozenset(options["targets"]), refresh=options["refresh"]
    )
    variables = parse_variables(options["variables"])
    planned = plan(
        workspace,
        find_specs(workspace, under(settings, paths)),
        variables=variables,
        request=request,
    )
    _refuse_unknown_steps(planned, request.replace | request.targets)
    return planned


def _refuse_unknown_steps(planned: Planned, names: frozenset[str]) -> None:
    """A step that no model has is a slip of the pen, not a wish for nothing."""
    if not names:
        return
    known = sorted({step.name for model in planned.models.values() for step in model.graph.steps})
    for name in sorted(names):
        if name not in known:
            raise UsageError(f"no model here has a step {name}", remedy=f"Steps: {', '.join(known)}.")
