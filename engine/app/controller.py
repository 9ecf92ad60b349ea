"""`engine up` and `engine controller`: every model kept as its spec says, with nobody at the keyboard.

Loops with workers of their own, so that a long training holds up no rollout: `training` (specs, triggers,
retrains), `delivery` (rollouts), `monitoring`, fed by the gateway's log, and `alerting`. A watcher looks once a second
at what may have changed (spec files, the inbox, rollouts) and wakes whoever it concerns. Any number of controllers may
run over one state: leases decide.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.app.alerting import Alerting, Known
from engine.app.delivering import observer, this_actor
from engine.app.documents import SpecDocument, load_specs, read_texts, spec_keys
from engine.app.planning import find_specs, stat_of
from engine.app.policing import Permitting
from engine.app.retraining import Note, Retraining
from engine.app.watching import Watching
from engine.app.workspace import Workspace
from engine.errors import EngineError, SpecError, UsageError
from engine.runtime.deliver import Delivery
from engine.runtime.events import Event
from engine.runtime.leases import LeaseKeeper
from engine.runtime.loop import Loop

if TYPE_CHECKING:
    from engine.app.repository import Repository
    from engine.core.rollout import Rollout

WATCH_SECONDS = 1.0
REGISTRY_SECONDS = 60.0
"""How long the registry's process stays, which has MLflow in its memory, after it was asked last."""
_DELIVERERS = 2
_TELLERS = 4  # a receiver that does not answer keeps one busy for its timeout
REMOVED_SECONDS = 10.0
"""How long a model must have no spec until its alerts are over: files that are moved or replaced are back by then."""
_FAILING = 3  # so often in a row a pass fails before somebody is told


@dataclass(frozen=True)
class Options:
    """What a controller is asked to do. `jobs`: steps at a time; `trainings`: models that are trained at a time;
    `repository`: where specs come from, if not from the folder alone.
    """

    paths: Sequence[str] = ()
    variables: Mapping[str, str] = field(default_factory=dict)
    jobs: int = 1
    trainings: int = 1
    repository: Repository | None = None


@dataclass
class _Specs:
    """The spec files as they are now, by model. A file with mistakes leaves its model as it was known before."""

    workspace: Workspace
    options: Options
    note: Callable[[Note], None]
    documents: dict[str, SpecDocument] = field(default_factory=dict)
    removed: dict[str, SpecDocument] = field(default_factory=dict)  # as they were last
    _stats: dict[str, Any] = field(default_factory=dict)
    _models: dict[str, str] = field(default_factory=dict)  # by file
    _told: dict[str, str] = field(default_factory=dict)  # mistakes that were told, by file
    _found: bool = False  # the folders that were looked for

    def read(self) -> set[str]:
        """Look at all files; the models whose spec is new or another one."""
        try:
            files = find_specs(self.workspace, self.options.paths)
            self._told.pop("", None)
            self._found = True
        except UsageError as error:
            self._tell("", error)
            folders = map(Path, self.options.paths or [str(self.workspace.root / "specs")])
            self._found = all(folder.is_dir() for folder in folders)
            if not self._found:
                return set()  # what cannot be found is not known to be removed
            files = []
        stats = {str(path): stat_of(str(path)) for path in files}
        project = stat_of(str(self.workspace.root / "engine.yaml"))
        if project != self._stats.get("engine.yaml"):
            self._stats = {"engine.yaml": project}
        for file in self._told.keys() - stats.keys() - {""}:
            del self._told[file]
        gone = self._models.keys() - stats.keys()
        for file in gone:
            self._remove(file)
        changed: set[str] = set()
        for file, stat in stats.items():
            if self._stats.get(file) != stat or (gone and file in self._told):  # its model was another file's, perhaps
                changed |= self._load(file)
        self._stats = {"engine.yaml": project, **stats}
        return changed

    def mistake_of(self, model: str) -> str:
        """What is wrong with the file of a model that was known before; empty if nothing is."""
        return next(
            (self._told[file] for file, name in self._models.items() if name == model and file in self._told), ""
        )

    @property
    def is_whole(self) -> bool:
        """Whether a model of the project that is not among `documents` has no spec."""
        return self._found and not self.options.paths and not self._told.keys() - {""}

    @property
    def mistaken(self) -> bool:
        """Whether mistakes were told that still stand."""
        return bool(self._told)

    def _load(self, file: str) -> set[str]:
        own = replace(self.workspace)
        try:
            texts = read_texts(own, [Path(file)])
            [spec] = load_specs(own, texts, spec_keys(own, texts, self.options.variables), self.options.variables)
        except EngineError as error:
            self._tell(file, error)
            return set()
        mended = self._told.pop(file, None) is not None
        name = spec.document["name"]
        if any(other == name and at != file for at, other in self._models.items()):
            self._tell(file, UsageError(f"model {name} is defined in another file too", remedy="Rename one of them."))
            return set()
        if self._models.get(file, name) != name:
            self._remove(file)
        self._models[file] = name
        before = self.documents.get(name)
        self.documents[name] = spec
        self.removed.pop(name, None)
        return {name} if mended or before is None or before.key != spec.key else set()

    def _remove(self, file: str) -> None:
        name = self._models.pop(file)
        self.removed[name] = self.documents.pop(name)

    def _tell(self, file: str, error: EngineError) -> None:
        text = "; ".join(map(str, error.diagnostics)) if isinstance(error, SpecError) else error.message
        if self._told.get(file) != text:
            self._told[file] = text
            self.note(Note(self._models.get(file, ""), "error", text, error.remedy, grave=True))


class Controller:
    """Keeps the models of a project. `note` hears what happens, `tell` the steps of runs; both from any thread."""

    def __init__(
        self,
        workspace: Workspace,
        options: Options,
        *,
        note: Callable[[Note], None],
        tell: Callable[[Event], None],
    ) -> None:
        from engine.adapters.state import holder

        self._workspace = workspace

        self.events: dict[tuple[str, str], int] = {}  # by model and kind, for metrics
        self._counting = threading.Lock()

        def told(happened: Note) -> None:
            note(happened)
            key = (happened.model, happened.kind)
            with self._counting:
                self.events[key] = self.events.get(key, 0) + 1
            if happened.kind != "alert":
                self.alerting.wake([happened.model])

        self._note = told
        self._stop = threading.Event()
        self._kills: list[Callable[[], None]] = []
        self._clock = workspace.clock
        self._repository = options.repository
        self._specs = _Specs(workspace, options, told)
        self._leases = LeaseKeeper(workspace.store, holder.this_process(), self._stop)
        self._delivery = Delivery(
            store=workspace.store,
            registry=workspace.registry,
            observer=observer(workspace),
            hold_endpoint=self._leases.hold_endpoint,
            clock=workspace.clock,
            actor=this_actor(),
            permissions=Permitting(workspace, workspace.store),
        )
        self._watching = Watching(
            workspace=workspace,
            delivery=self._delivery,
            document_of=lambda model: self._specs.documents[model].document,
            note=told,
            judged=self._judged,
            clock=workspace.clock,
        )
        self._retraining = Retraining(
            workspace=workspace,
            leases=self._leases,
            spec_of=self._specs.documents.__getitem__,
            windows_of=self._watching.windows,
            variables=options.variables,
            note=told,
            tell=tell,
            stop=self._stop,
            kills=self._kills,
            clock=workspace.clock,
            jobs=options.jobs,
        )
        self.training = Loop(self._retraining.reconcile, options.trainings, self._failed)
        self.delivery = Loop(self._delivery.reconcile, _DELIVERERS, self._failed)
        self.monitoring = Loop(self._watching.reconcile, 1, self._failed)
        self._alerting = Alerting(
            workspace=workspace,
            hold=self._leases.hold_alone,
            document_of=self._document,
            reports_of=self._watching.reports,
            troubles_of=self._troubles,
            note=told,
            clock=workspace.clock,
            watches=lambda model: model in self._specs.documents,
        )
        self.alerting = Loop(self._alerting.reconcile, _TELLERS, self._failed)
        self._rollouts: dict[str, Rollout] = {}
        self._unwatched: dict[str, datetime] = {}  # since when
        self._had: tuple[set[str], bool] | None = None  # with a spec, when it was last asked who lost it

    # ── running ────────────────────────────────────────────────────────────────────────────────────────────

    def run(self, stop: threading.Event, each_second: Callable[[], None] = lambda: None) -> None:
        """Work until `stop` is set: nothing more begins then, and the running steps end."""
        self._take_first_commit()
        loops = [threading.Thread(target=loop.run, name=name) for name, loop in self.loops.items()]
        if self._repository is not None:
            follow = (self._stop, self._took, self._not_taken)
            loops.append(threading.Thread(target=self._repository.follow, args=follow, name="repository"))
        for thread in loops:
            thread.start()
        try:
            while not stop.is_set():
                self.look()
                each_second()
                stop.wait(WATCH_SECONDS)
        finally:
            self.stop()
            for thread in loops:
                thread.join()
            self.close()

    def run_once(self) -> dict[str, EngineError]:
        """One pass over everything: what is due is done; the models that failed."""
        try:
            self._take_first_commit()
            self._alerting.waits = False  # the next pass may be far away, or never
            failed = self.work()
            return failed | self.alerting.run_once()
        finally:
            self.close()

    def work(self) -> dict[str, EngineError]:
        """Do what is due at this moment, and wait for nothing that comes later; the models that failed."""
        self.look()
        failed = self.delivery.run_once() | self.monitoring.run_once()
        failed |= self.training.run_once()
        self.look()
        return failed | self.delivery.run_once()

    def close(self) -> None:
        """Give back what was opened."""
        self._leases.close()
        self._watching.close()
        self._workspace.registry.close()

    @property
    def loops(self) -> Mapping[str, Loop]:
        """All of them, by name."""
        return {
            "training": self.training,
            "delivery": self.delivery,
            "monitoring": self.monitoring,
            "alerting": self.alerting,
        }

    @property
    def known(self) -> Mapping[str, Known]:
        """What the last alerting passes found, by model."""
        return self._alerting.known

    @property
    def notices(self) -> Mapping[tuple[str, str, str], int]:
        """How many notices were sent, or failed, by model, receiver and outcome."""
        return self._alerting.sent

    @property
    def has_mistaken_specs(self) -> bool:
        """Whether a spec file could not be read as it is now."""
        return self._specs.mistaken

    def stop(self) -> None:
        """Let the running steps finish, and begin nothing more."""
        self._stop.set()
        for loop in self.loops.values():
            loop.stop()

    def kill(self) -> None:
        """End the running steps at once; the next start goes on from there."""
        self.stop()
        for kill in list(self._kills):
            kill()

    # ── where specs come from ──────────────────────────────────────────────────────────────────────────────

    def _take_first_commit(self) -> None:
        """Take the newest commit; what is there stays when that cannot be. Raises EngineError where nothing is."""
        if self._repository is None:
            return
        try:
            commit = self._repository.take()
        except EngineError as error:
            if self._repository.is_empty:
                raise
            self._not_taken(error)
        else:
            if commit is not None:
                self._took(commit)

    def _took(self, commit: str) -> None:
        self._note(Note("", "commit", f"{commit[:12]} is taken"))

    def _not_taken(self, error: EngineError) -> None:
        self._note(Note("", "error", error.message, error.remedy, grave=True))

    # ── what wakes whom ────────────────────────────────────────────────────────────────────────────────────

    def look(self) -> None:
        """Look at what may have changed, and wake whoever it concerns."""
        changed = self._specs.read()
        self.training.keep(self._specs.documents)
        self.monitoring.keep(self._specs.documents)
        self.alerting.wake(changed)
        self.training.wake(changed)
        self.monitoring.wake(self._watching.grown())
        self._workspace.registry.close_idle(REGISTRY_SECONDS)
        store = self._workspace.store
        try:
            self.training.wake({event.model for event in store.pending()})
            rollouts = store.open_rollouts()
            self.delivery.keep({*rollouts, *store.unmirrored()})
            self._say_what_ended(rollouts)
            self.alerting.keep({*self._specs.documents, *self._unwatched_models()})
        except EngineError as error:
            self._note(Note("", "error", error.message, error.remedy, grave=True))

    def _unwatched_models(self) -> set[str]:
        """The models that lost their spec, and have done so for a while.

        Of those that lost it before this controller began, those are known of which something fires, and only to a
        controller that reads all of the project's specs.
        """
        models, whole = self._specs.documents.keys(), self._specs.is_whole
        if (set(models), whole) != self._had:
            lost = self._specs.removed.keys() | (self._troubled() - models if whole else set())
            self._unwatched = {model: self._unwatched.get(model, self._clock()) for model in lost}
            self._had = set(models), whole
        grace = timedelta(seconds=REMOVED_SECONDS if self._alerting.waits else 0.0)
        return {model for model, since in self._unwatched.items() if self._clock() >= since + grace}

    def _troubled(self) -> set[str]:
        """The models of which an alert fires, or was told to fire and not to be over."""
        store = self._workspace.store
        told = {each.model for each in store.told() if any(status == "firing" for _, status in each.alerts.values())}
        return told | {each.alert.model for each in store.alerts() if each.status == "firing"}

    def _document(self, model: str) -> Mapping[str, Any]:
        """Its spec; of a model that has none any more the last one that is known."""
        spec = self._specs.documents.get(model) or self._specs.removed.get(model)
        if spec is not None:
            return spec.document
        run = next(iter(self._workspace.store.runs(model, 1)), None)
        return run.document if run is not None else {}

    def _say_what_ended(self, rollouts: Mapping[str, Rollout]) -> None:
        """A rollout that is over, whoever ended it: the model's triggers may look at another champion now."""
        for model, before in self._rollouts.items():
            if model in rollouts and rollouts[model].number == before.number:
                continue
            ended = next(
                (each for each in self._workspace.store.rollouts(model, 5) if each.number == before.number), None
            )
            if ended is not None:
                text = f"version {ended.candidate}, {ended.strategy.name} {ended.phase.value}: {ended.reason}"
                self._note(Note(model, "rollout", text, grave=ended.phase.value == "aborted"))
            self.training.wake([model])
            self.alerting.wake([model])
        self._rollouts = dict(rollouts)

    # ── one model ──────────────────────────────────────────────────────────────────────────────────────────

    def _judged(self, model: str) -> None:
        """There are new windows of a model."""
        self.training.wake([model])
        self.alerting.wake([model])

    def _troubles(self, model: str) -> Mapping[str, tuple[str, str]]:
        """What this controller fails at, by what it is: a loop's name, or `spec`."""
        found: dict[str, tuple[str, str]] = {}
        if mistake := self._specs.mistake_of(model):
            found["spec"] = f"the spec has mistakes, and the one before stays in effect: {mistake}", "engine validate"
        for name in ("training", "delivery", "monitoring"):
            times, why = self.loops[name].failing(model)
            if times >= _FAILING:
                found[name] = f"{name} failed {_FAILING} times in a row or more: {why}", "It is tried again."
        return found

    def _failed(self, model: str, error: EngineError, times: int) -> None:
        """Say it the first time, and then each time that it has failed twice as often."""
        if times & (times - 1) == 0:
            again = f" ({times} times in a row)" if times > 1 else ""
            self._note(Note(model, "error", f"{error.message}{again}", error.remedy, grave=True))
