"""Events of a run on a terminal: finished steps scroll by, running ones stand below with spinner, time and progress."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from types import TracebackType
from typing import TextIO

import click
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from engine.cli.watching import event_text
from engine.cli.words import duration
from engine.core.records import RunStatus
from engine.core.verdict import Verdict
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

_STATUS_STYLES = {RunStatus.DONE: "green", RunStatus.STOPPED: "yellow"}


@dataclass
class _Running:
    """A step that goes on."""

    started: float = field(default_factory=time.monotonic)
    spinner: Spinner = field(default_factory=lambda: Spinner("dots", style="cyan"))
    done: int = 0
    total: int = 0
    text: str = ""


class LiveWatcher:
    """A live view on `stream`; with `several` models each line names its own."""

    def __init__(self, stream: TextIO, *, several: bool) -> None:
        context = click.get_current_context(silent=True)
        plain = context is not None and context.color is False
        self._console = Console(file=stream, no_color=plain, highlight=False)
        self._several = several
        self._running: dict[tuple[str, str], _Running] = {}
        self._note = ""
        self._live = Live(console=self._console, refresh_per_second=10, get_renderable=self._view, transient=True)

    def __enter__(self) -> LiveWatcher:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def note(self, text: str) -> None:
        """Show a remark below the running steps; printing here might wait for a lock that is held."""
        self._note = text

    def tell(self, event: Event) -> None:
        """Show an event."""
        match event:
            case StepStarted():
                self._running[event.model, event.step] = _Running()
            case StepProgress():
                running = self._running.get((event.model, event.step))
                if running is not None:
                    running.done, running.total, running.text = event.done, event.total, event.text
            case StepFinished():
                self._running.pop((event.model, event.step), None)
                stopped = event.result.verdict not in (None, Verdict.PASS)
                self._say(event, *(("✗", "yellow") if stopped else ("✓", "green")))
            case StepFailed():
                self._running.pop((event.model, event.step), None)
                self._say(event, "✗", "red")
            case StepSkipped():
                self._say(event, "-", "dim")
            case Retrying():
                self._say(event, "↻", "yellow")
            case RunStarted():
                self._say(event, "▶", "cyan")
            case RunFinished():
                self._say(event, "■", _STATUS_STYLES.get(event.status, "red"))

    def _say(self, event: Event, mark: str, style: str) -> None:
        name = f"{event.model}: " if self._several else ""
        line = Text.assemble(
            ("  ", ""), (mark, style), (f" {name}{event_text(event)}", "dim" if style == "dim" else "")
        )
        self._console.print(line, soft_wrap=True)

    def _view(self) -> RenderableType:
        grid = Table.grid(padding=(0, 1))
        for (model, step), running in list(self._running.items()):
            name = f"{model}: {step}" if self._several else step
            elapsed = duration(time.monotonic() - running.started)
            bar = ProgressBar(running.total, running.done, width=24) if running.total else Text("")
            counted = f"{running.done} of {running.total} " if running.total else ""
            grid.add_row(" ", running.spinner, name, Text(elapsed, "cyan"), bar, Text(counted + running.text, "dim"))
        return Group(grid, Text(f"  {self._note}", "yellow")) if self._note else grid
