"""How failures are told: text with a remedy on stderr, or one JSON document on stdout for a command with `--json`."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click

from engine.cli.shape import Settings
from engine.cli.words import count
from engine.errors import EngineError, SpecError


def report_error(error: EngineError, *, as_json: bool) -> int:
    """Tell an error of the engine; its exit code."""
    if as_json:
        click.echo(json.dumps({"format_version": 1, "error": error_json(error)}, ensure_ascii=False))
    elif isinstance(error, SpecError):
        for diagnostic in error.diagnostics:
            click.echo(str(diagnostic), err=True)
        files = len({diagnostic.file for diagnostic in error.diagnostics})
        where = f" in {count(files, 'file')}" if files > 1 else ""
        click.echo(_error_line(f"{count(len(error.diagnostics), 'mistake')}{where}"), err=True)
    else:
        click.echo(_error_line(error.message), err=True)
        if error.remedy:
            click.echo(error.remedy, err=True)
    return error.exit_code


def error_json(error: EngineError) -> Mapping[str, Any]:
    """An error as it stands in a JSON document."""
    diagnostics = error.diagnostics if isinstance(error, SpecError) else ()
    message = count(len(diagnostics), "mistake") if diagnostics else error.message
    return {
        "kind": _kind(error),
        "message": message,
        "remedy": error.remedy,
        "diagnostics": [dict(vars(diagnostic)) for diagnostic in diagnostics],
    }


def report_usage(error: click.ClickException, *, as_json: bool) -> int:
    """Tell a wrong command line."""
    context = getattr(error, "ctx", None)
    message = error.format_message().rstrip(".")
    remedy = f"See: {context.command_path} --help" if context is not None else "See: engine --help"
    if as_json:
        document = {"kind": "usage", "message": message, "remedy": remedy, "diagnostics": []}
        click.echo(json.dumps({"format_version": 1, "error": document}, ensure_ascii=False))
    else:
        click.echo(_error_line(message), err=True)
        click.echo(remedy, err=True)
    return 1


def report_defect(error: Exception, settings: Settings, *, as_json: bool) -> int:
    """Tell of a defect, and keep its traceback in a file."""
    place = _write_crash(error, settings)
    message = f"this is a defect in engine: {type(error).__name__}: {error}"
    remedy = (
        f"Please report it with {place}." if place else "ENGINE_TRACEBACK=1 shows where. Please report it with that."
    )
    if as_json:
        document = {"kind": "defect", "message": message, "remedy": remedy, "diagnostics": []}
        click.echo(json.dumps({"format_version": 1, "error": document}, ensure_ascii=False))
    else:
        click.echo(_error_line(message), err=True)
        click.echo(remedy, err=True)
    return 1


def _error_line(message: str) -> str:
    return f"{click.style('error:', fg='red', bold=True)} {message}"


def _kind(error: EngineError) -> str:
    name = type(error).__name__.removesuffix("Error")
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()


def _write_crash(error: Exception, settings: Settings) -> Path | None:
    """The file with the traceback: in the project's `.engine`, or where temporary files are kept without one."""
    import tempfile
    import time
    import traceback

    name = f"crash-{time.strftime('%Y%m%dT%H%M%S')}.log"
    text = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    for folder in (*_project_homes(settings), Path(tempfile.gettempdir())):
        path = folder / name
        try:
            path.touch(mode=0o600)
            path.write_text(text, encoding="utf-8")
        except OSError:
            continue
        return path
    return None


def _project_homes(settings: Settings) -> list[Path]:
    try:
        home = settings.workspace().shared
    except (EngineError, OSError):
        return []
    return [home] if home.is_dir() else []
