"""Events of a run as plain lines, one for each: for pipes, log files and CI.

A step that goes on for long says how far it is every half minute, so that a CI system does not take it for dead.
"""

from __future__ import annotations

import time
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Protocol

import click

from engine.cli.reasons import summary, tally
from engine.cli.words import duration, one_line
from engine.errors import assert_never
from engine.runtime.events import (
    Event,
    Retrying,
    RunFinished,
    RunStarted,
    StepFailed,
    StepFinished,
    StepProgress,
    StepSkipped,
    StepStarted,
)

SAY_AGAIN = 30.0  # seconds between two lines of a step's progress


class Watcher(AbstractContextManager["Watcher"], Protocol):
    """Shows what happens while it is open."""

    def tell(self, event: Event) -> None:
        """Show an event; called from several threads, one at a time."""

    def note(self, text: str) -> None:
        """Show a remark; called from a signal handler."""


def event_text(event: Event) -> str:  # noqa: RET503 - the last case raises
    """An event in words, without the model's name."""
    match event:
        case RunStarted():
            return f"run {event.run_id}: {summary(tally({event.model: event.plan}))}"
        case StepStarted():
            return f"{event.step} started"
        case StepProgress():
            return f"{event.step} {event.done} of {event.total} {event.text}".rstrip()
        case StepFinished():
            return _finished(event)
        case StepFailed():
            return f"{event.step} failed: {one_line(event.message.removeprefix(f'{event.step}: '), 300)}"
        case StepSkipped():
            return f"{event.step} skipped because of {event.cause}"
        case Retrying():
            return f"retry {event.attempt} of {event.limit}, with another seed"
        case RunFinished():
            return f"{event.status.value} after {duration(event.seconds)}"
        case _:
            assert_never(event)


def _finished(event: StepFinished) -> str:
    how = f"done in {duration(event.result.seconds)}"
    if event.reused:
        how = "up to date: worked on the same input before"
    elif event.adopted:
        how = "taken over from an interrupted run"
    return f"{event.step} {how}" + (f": {event.result.summary}" if event.result.summary else "")


class LineWatcher:
    """One line for each event, on stdout or (`err`) stderr."""

    def __init__(self, err: bool) -> None:
        self._err = err
        self._said: dict[tuple[str, str], float] = {}

    def __enter__(self) -> LineWatcher:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def tell(self, event: Event) -> None:
        """Print the event."""
        if isinstance(event, StepStarted):
            self._said[event.model, event.step] = time.monotonic()
        if isinstance(event, StepProgress):
            now = time.monotonic()
            if now - self._said.get((event.model, event.step), now) < SAY_AGAIN:
                return
            self._said[event.model, event.step] = now
        click.echo(f"{event.model}: {event_text(event)}", err=self._err)

    def note(self, text: str) -> None:
        """Print the remark on stderr."""
        click.echo(text, err=True)
