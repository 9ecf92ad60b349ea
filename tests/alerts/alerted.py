"""A project with a run that failed, and passes of alerting over it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from engine.adapters.state import holder
from engine.app.alerting import Alerting
from engine.app.controller import Controller, Options
from engine.app.monitoring import watched_document
from engine.app.retraining import Note
from engine.app.workspace import Workspace
from engine.core.canonical import utc
from engine.core.records import Run, RunStatus
from engine.runtime.leases import LeaseKeeper

SPEC = """
model_spec:
  name: churn
  monitoring:
    alerts:
"""


def project(folder: Path, *receivers: str) -> Path:
    """A project whose spec has these receivers, and whose only run failed."""
    (folder / "specs").mkdir(parents=True)
    lines = [f"      - {{{each}}}\n" for each in receivers]
    (folder / "specs/churn.yaml").write_text(SPEC + "".join(lines), encoding="utf-8")
    ran(folder, RunStatus.FAILED)
    return folder


def ran(folder: Path, status: RunStatus) -> None:
    """One more run that ended so."""
    document = watched_document(Workspace(folder), "churn")
    store = Workspace(folder).store
    number = len(store.runs("churn")) + 1
    lease = store.acquire("churn", "ana", 60)
    now = utc(datetime.now(timezone.utc))
    store.start_run(lease, Run(f"run{number}", "churn", RunStatus.RUNNING, now, None, "", document))
    store.finish_run(lease, f"run{number}", status, "train: no memory", now)
    store.release(lease)
    store.close()


class Passes:
    """A controller's alerting of one project. `seconds` moves its clock."""

    def __init__(self, folder: Path, *, waits: bool = False, troubles: Mapping[str, tuple[str, str]] | None = None):
        self.workspace = Workspace(folder)
        self.seconds = 0.0
        self.notes: list[Note] = []
        self.troubles = troubles or {}
        self.leases = LeaseKeeper(self.workspace.store, holder.this_process(), threading.Event())
        document = watched_document(self.workspace, "churn")
        self.alerting = Alerting(
            workspace=self.workspace,
            hold=self.leases.hold_alone,
            document_of=lambda _: document,
            reports_of=lambda *_: (),
            troubles_of=lambda _: self.troubles,
            note=self.notes.append,
            clock=lambda: datetime.fromtimestamp(datetime.now(timezone.utc).timestamp() + self.seconds, timezone.utc),
            waits=waits,
        )

    def __call__(self, later: float = 0) -> Any:
        self.seconds += later
        return self.alerting.reconcile("churn")

    def close(self) -> None:
        """End what it opened."""
        self.leases.close()
        self.workspace.close()


@contextmanager
def passes(folder: Path, **options: Any) -> Iterator[Passes]:
    """Passes that are closed afterwards."""
    made = Passes(folder, **options)
    try:
        yield made
    finally:
        made.close()


@contextmanager
def controllers(
    folder: Path, seconds: float = 0.0, paths: Sequence[str] = ()
) -> Iterator[tuple[Controller, Callable[[float], None]]]:
    """A controller that has looked once, and what moves its clock, which is so far ahead. Its loops do not run."""
    ahead = [seconds]

    def clock() -> datetime:
        return datetime.now(timezone.utc) + timedelta(seconds=ahead[0])

    def later(more: float) -> None:
        ahead[0] += more

    workspace = Workspace(folder, clock=clock)
    made = Controller(workspace, Options(paths), note=lambda _: None, tell=lambda _: None)
    made.look()
    try:
        yield made, later
    finally:
        made.stop()
        made.close()
        workspace.close()
