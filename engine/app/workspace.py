"""A project on disk: where its files are, and the adapters that its `engine.yaml` asks for.

Opening a workspace reads and creates nothing. Each adapter is made when it is asked for, so that a plan pays for a
reader of the state and for nothing else.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from engine.clock import Clock, system_clock
from engine.errors import UsageError

if TYPE_CHECKING:
    from engine.adapters.artifacts.local import LocalArtifacts
    from engine.adapters.registries.mlflow import MlflowRegistry
    from engine.adapters.state.queries import StateQueries
    from engine.adapters.state.store import SqlStateStore
    from engine.serving.prediction_log_labelled import LabelledLog

PROJECT_FILE = "engine.yaml"
HOME = ".engine"
DEFAULT_STORES: Mapping[str, str | None] = dict.fromkeys(("state", "artifacts", "mlflow", "registry", "openlineage"))


def open_workspace(start: Path, environment: str | None = None) -> Workspace:
    """The project of `start`: the nearest folder upward with an `engine.yaml` or `.engine`, else itself."""
    start = start.resolve()
    if not start.is_dir():
        raise UsageError(f"{start} is not a folder", remedy="Give the project's folder with --chdir.")
    for folder in (start, *start.parents):
        if (folder / PROJECT_FILE).is_file() or (folder / HOME).is_dir():
            return Workspace(folder, environment)
    return Workspace(start, environment)


@dataclass(frozen=True)
class Workspace:
    """A project's folder and the environment that was asked for."""

    root: Path
    environment: str | None = None
    clock: Clock = system_clock

    @property
    def shared(self) -> Path:
        """What all environments share: caches and artifacts."""
        return self.root / HOME

    @property
    def home(self) -> Path:
        """Where this environment's state, runs and logs lie."""
        return self.shared / "envs" / self.environment if self.environment else self.shared

    @property
    def cache_file(self) -> Path:
        """What may be deleted at any time."""
        return self.shared / "cache.db"

    @cached_property
    def project_text(self) -> bytes | None:
        """The bytes of `engine.yaml`, None without one."""
        with suppress(FileNotFoundError):
            return (self.root / PROJECT_FILE).read_bytes()
        return None

    @cached_property
    def stores(self) -> Mapping[str, str | None]:
        """The addresses that `engine.yaml` gives, references resolved. Raises SpecError for a file with mistakes."""
        if self.project_text is None:
            return DEFAULT_STORES
        from engine.app.documents import project_stores

        stores = project_stores(self)
        return {name: self.resolve(stores[name]) if stores.get(name) else None for name in DEFAULT_STORES}

    def resolve(self, text: str) -> str:
        """A text with its secret references replaced by their values. Raises UsageError for one that is not there."""
        if "${" not in text:
            return text
        from engine.spec.references import resolve_reference

        return resolve_reference(text, os.environ, lambda name: (self.root / name).read_text(encoding="utf-8"))

    # ── adapters ───────────────────────────────────────────────────────────────────────────────────────────

    @property
    def state_url(self) -> str:
        """Where the state is kept."""
        return self.stores["state"] or f"sqlite:///{self.home / 'state.db'}"

    @cached_property
    def reader(self) -> StateQueries:
        """The state, to read; a state that does not exist is empty, an older one is migrated after a backup."""
        if self.state_url.startswith("sqlite:///"):
            from engine.adapters.state.reader import SqliteStateReader

            return SqliteStateReader(self.root / self.state_url.removeprefix("sqlite:///"), lambda: self.store)
        return self.store

    @cached_property
    def store(self) -> SqlStateStore:
        """The state, to write; it is created or migrated now."""
        from engine.adapters.state.store import SqlStateStore

        if self.state_url.startswith("sqlite:///"):
            path = self.root / self.state_url.removeprefix("sqlite:///")
            self.prepare_home()
            path.parent.mkdir(parents=True, exist_ok=True)
            return SqlStateStore(f"sqlite:///{path}", self.clock)
        return SqlStateStore(self.state_url, self.clock)

    @cached_property
    def artifacts(self) -> LocalArtifacts:
        """The content-addressed store."""
        from engine.adapters.artifacts.local import LocalArtifacts

        return LocalArtifacts(self.root / (self.stores["artifacts"] or f"{HOME}/artifacts"))

    @property
    def serving(self) -> Path:
        """Where a gateway keeps its files."""
        return self.home / "serving"

    @cached_property
    def labelled(self) -> LabelledLog:
        """The predictions whose actual value is known."""
        from engine.serving.prediction_log_labelled import LabelledLog

        return LabelledLog(self.serving)

    @property
    def tracking_uri(self) -> str:
        """Where MLflow records runs; without an address, a SQLite file beside the state."""
        return self.stores["mlflow"] or f"sqlite:///{self.home / 'mlflow.db'}"

    @cached_property
    def registry(self) -> MlflowRegistry:
        """The tracking server and model registry. Its process is started by its first call."""
        from engine.adapters.registries.mlflow import MlflowRegistry

        self.prepare_home()
        return MlflowRegistry(self.tracking_uri, self.stores["registry"], log=self.home / "mlflow.log")

    def close(self) -> None:
        """End what was opened: connections, and the registry's process."""
        for adapter in ("registry", "reader", "store"):
            if adapter in vars(self):  # made when it was asked for
                vars(self)[adapter].close()

    def prepare_home(self) -> None:
        """Make `.engine`, readable by its owner alone and ignored by git."""
        try:
            self.home.mkdir(parents=True, exist_ok=True, mode=0o700)
            ignore = self.shared / ".gitignore"
            if not ignore.exists() or not ignore.stat().st_size:
                ignore.write_text("*\n", encoding="utf-8")
        except OSError as error:
            message = f"{self.relative(self.home)} cannot be written: {error.strerror}"
            raise UsageError(message, remedy="Check the folder and its disk.") from error

    def relative(self, path: Path) -> str:
        """A path as the user would type it: relative to the project where it lies inside."""
        return str(path.relative_to(self.root)) if path.is_relative_to(self.root) else str(path)
