"""Run one command line and give its exit code. Every failure of every command ends here.

An EngineError is told with its remedy; a wrong command line exits with 1, because 2 means "there are changes" for
`plan --detailed-exitcode`; anything else is a defect, whose traceback goes into a file.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from itertools import pairwise

import click

from engine.cli.program import program
from engine.cli.shape import Settings
from engine.errors import EngineError

INTERRUPTED = 130  # 128 + SIGINT, as shells have it


def run(argv: Sequence[str]) -> int:
    """Run a command line; the exit code."""
    settings = Settings()
    color = False if os.environ.get("NO_COLOR") else None
    try:
        code = program().main(args=list(argv), prog_name="engine", standalone_mode=False, obj=settings, color=color)
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except click.exceptions.Abort:
        click.echo("Interrupted.", err=True)
        return INTERRUPTED
    except BrokenPipeError:
        sys.stdout = sys.stderr = open(os.devnull, "w")  # noqa: SIM115, PTH123 - the interpreter flushes at its end
        return 1
    except Exception as error:
        if os.environ.get("ENGINE_TRACEBACK") and not isinstance(error, click.ClickException | EngineError):
            raise
        return _report(error, settings, as_json=_wants_json(argv))
    finally:
        settings.close()


def _report(error: Exception, settings: Settings, *, as_json: bool) -> int:
    from engine.cli.failures import report_defect, report_error, report_usage

    if isinstance(error, click.ClickException):
        return report_usage(error, as_json=as_json)
    if isinstance(error, EngineError):
        return report_error(error, as_json=as_json)
    return report_defect(error, settings, as_json=as_json)


def _wants_json(argv: Sequence[str]) -> bool:
    """Whether this command line asks for JSON; known even if it cannot be parsed."""
    words = list(argv)
    if "--" in words:
        words = words[: words.index("--")]
    return "--json" in words or "--format=json" in words or ("--format", "json") in pairwise(words)
