"""How each kind of step is carried out: in a worker process, in place, or as an effect on the world outside.

`Carrier.carry` is called by the walk, in a thread, once the step's intent is recorded. An effect (register, deploy)
looks before it acts: a run that died after the effect finds it done, by its idempotency key.
"""

from __future__ import annotations

import json
import os
import shutil
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from engine.core.canonical import canonical_json, digest
from engine.core.champion import COMPARED_WITH
from engine.core.graph import Observed, Step
from engine.core.plan import Reason
from engine.core.records import Artifact, Endpoint, Lease, Release
from engine.core.rollout import start, supersede
from engine.core.stages import Strategy
from engine.errors import EngineError, IntegrityError, StalePlanError, StepCancelledError, StepError, TransientError
from engine.failpoints import failpoint
from engine.ports import (
    ArtifactStore,
    Executor,
    LabelledRows,
    ModelRegistry,
    ReleaseStore,
    RolloutChange,
    RolloutReader,
    Source,
    StatCache,
    StateReader,
    StepContext,
    StepFunction,
    StepOutcome,
    StepRequest,
    StoredModel,
)
from engine.runtime.observe import World, contents_of, source_of
from engine.runtime.walk import Finished, Work
from engine.steps.register import Candidate, read_evidence, request_of
from engine.steps.snapshot import SEEN

CLOUD_VARIABLES = ("AWS_", "GOOGLE_", "AZURE_")
STORED = "stored"  # folder of records: which outputs of a finished step are in the store already


@dataclass(frozen=True)
class Kinds:
    """Where the code of a step kind is: for a worker as `module:attribute`, in place as the function itself."""

    worker: Mapping[str, str]
    inline: Mapping[str, StepFunction]


@dataclass(frozen=True)
class Means:
    """What carrying out needs, the same for all models."""

    project: Path
    kinds: Kinds
    artifacts: ArtifactStore
    executor: Executor
    registry: ModelRegistry
    releases: ReleaseStore
    reader: StateReader
    source: Source
    labelled: LabelledRows
    stats: StatCache
    finished_before: Callable[[Path], StepOutcome | None]
    resolve_secret: Callable[[str], str]
    secrets_in: Callable[[Any], tuple[str, ...]]
    rollouts: RolloutReader
    strategy_of: Callable[[Mapping[str, Any]], Strategy]
    hold_endpoint: Callable[[str], AbstractContextManager[Lease]]
    clock: Callable[[], datetime]
    lineage: str
    actor: str
    sign_model: Callable[[Artifact], None]
    held: Callable[[Mapping[str, Any], int, datetime], Reason | None]  # why a version may not be deployed now
    record_version: Callable[[Release, Mapping[str, tuple[Artifact, Path]]], object]  # for `versioning` in a spec
    signed: Callable[[str], bool]  # whether the model of this digest was written by our own training
    killed: threading.Event  # set when the user wants everything to end at once


@dataclass(frozen=True)
class Subject:
    """The model that a carrier works for."""

    document: Mapping[str, Any]
    spec_digest: str
    world: World
    provenance: Mapping[str, Any]
    logs: Path


class Carrier:
    """Carries out the steps of one model."""

    def __init__(self, means: Means, subject: Subject) -> None:
        self._means = means
        self._subject = subject

    def held(self, version: int) -> Reason | None:
        """Why a version of this model may not be deployed now; None if it may."""
        return self._means.held(self._subject.document, version, self._means.clock())

    def carry(self, work: Work) -> Finished:
        """Do the step's work and store its outputs. Raises EngineError."""
        started = time.monotonic()
        try:
            finished = self._carry(work)
        except TransientError as error:
            if self._means.killed.is_set():
                raise StepCancelledError(f"{work.step.name} was cancelled. {error.message}") from error
            raise
        except OSError as error:
            raise _of_the_system(work, error) from error
        return Finished(finished.outcome, finished.outputs, time.monotonic() - started, finished.adopted)

    def _carry(self, work: Work) -> Finished:
        if self._means.killed.is_set():
            raise StepCancelledError(f"{work.step.name} was cancelled before it began")
        failpoint("step.begin")
        kind = work.step.kind
        if kind == "snapshot" and self._means.source.is_local(source_of(self._subject.document)):
            return self._snapshot()
        if kind == "feedback":
            return self._store(work, self._feedback(work))
        if kind == "register":
            return self._store(work, self._register(work))
        if kind == "deploy":
            return Finished(self._deploy(work), {}, 0.0)
        if kind in self._means.kinds.inline:
            return self._store(work, self._inline(work))
        return self._worker(work)

    # ── steps ──────────────────────────────────────────────────────────────────────────────────────────────

    def _snapshot(self) -> Finished:
        source, seen = source_of(self._subject.document), self._subject.world.observations.contents["data"]
        artifact = self._means.source.snapshot(source, self._means.project, self._means.artifacts, str(seen))
        return Finished(StepOutcome({"bytes": artifact.size}, _size(artifact.size)), {"data": artifact}, 0.0)

    def _feedback(self, work: Work) -> StepOutcome:
        _clear(work.folder)
        mark = str(self._subject.world.observations.contents["feedback"])
        settings: Mapping[str, Any] = work.step.settings
        newest = settings.get("data", {}).get("window", {}).get("rows")
        rows = self._means.labelled.write(self._subject.document["name"], mark, _outputs(work)["rows"], newest)
        failpoint("step.worked")
        return StepOutcome({"rows": rows}, f"{rows:,} labelled predictions")

    def _worker(self, work: Work) -> Finished:
        before = None if work.anew else self._means.finished_before(work.folder)
        if before is not None:
            return self._store(work, before, adopted=True)
        _clear(work.folder)
        work = self._with_champion(work)
        block = self._block(work)
        resources = block.get("resources") or {}
        links = self._subject.world.links.get(work.step.name, {})
        request = StepRequest(
            step=work.step.name,
            function=self._means.kinds.worker[work.step.kind],
            settings=work.step.settings,
            inputs=self._inputs(work),
            outputs=work.step.outputs,
            facts=work.facts,
            project=self._means.project,
            workdir=work.folder,
            log=self._subject.logs / work.run_id / f"{work.step.name}.log",
            timeout=resources.get("timeout"),
            memory=resources.get("memory"),
            links=links,
            linked=_linked(work.step, links),
            environment=_credentials() if work.step.kind == "snapshot" else {},
            secrets={name: self._means.resolve_secret(name) for name in self._means.secrets_in(work.step.settings)},
            models=self._models(work),
        )
        try:
            outcome = self._means.executor.run(request, work.progress)
        except EngineError:
            shutil.rmtree(work.folder, ignore_errors=True)
            raise
        failpoint("step.worked")
        self._refuse_changed_code(work)
        self._refuse_other_data(work, outcome)
        return self._store(work, outcome)

    def _refuse_other_data(self, work: Work, outcome: StepOutcome) -> None:
        """Fetched data that is not the data of its fingerprint must not be kept, where the source can tell."""
        seen = outcome.facts.get(SEEN) if work.step.kind == "snapshot" else None
        if seen is not None and seen != self._subject.world.observations.contents["data"]:
            shutil.rmtree(work.folder, ignore_errors=True)
            raise StalePlanError("the data changed while it was read", remedy="Nothing was recorded. Apply again.")

    def _with_champion(self, work: Work) -> Work:
        """The work with what is to be said of the champion: may its file run code, or is it gone from the store?"""
        champion = work.inputs.get("champion") if work.step.kind == "examine" else None
        if champion is None:
            return work
        said = {**work.facts["champion"], "model": champion.digest, "signed": self._means.signed(champion.digest)}
        inputs = work.inputs
        try:
            self._means.artifacts.path(champion)
        except IntegrityError as error:
            said["error"] = error.message
            inputs = {role: artifact for role, artifact in inputs.items() if role != "champion"}
        return replace(work, inputs=inputs, facts={**work.facts, "champion": said})

    def _refuse_changed_code(self, work: Work) -> None:
        """A result of code that is not the code of its fingerprint must not be kept."""
        now = contents_of(work.step, self._means.project, self._means.stats)
        before = self._subject.world.observations.contents
        changed = sorted(key.partition(":")[2] for key, content in now.items() if content != before[key])
        if changed:
            shutil.rmtree(work.folder, ignore_errors=True)
            raise StalePlanError(
                f"{work.step.name}: the code of {changed[0]} changed while it ran",
                remedy="Nothing was recorded for this step. Apply again.",
            )

    def _block(self, work: Work) -> Mapping[str, Any]:
        """The part of the spec that sets the limits of this step."""
        if work.step.kind == "command":
            return next(block for block in self._subject.document["steps"] if block["name"] == work.step.name)
        return self._subject.document["training"] if work.step.kind in ("train", "evaluate", "examine") else {}

    def _inline(self, work: Work) -> StepOutcome:
        _clear(work.folder)
        context = StepContext(
            step=work.step.name,
            settings=work.step.settings,
            inputs=self._inputs(work),
            outputs=_outputs(work),
            facts=work.facts,
            project=self._means.project,
            scratch=work.folder,
            progress=work.progress,
            resolve=lambda reference: reference,
        )
        outcome = self._means.kinds.inline[work.step.kind](context)
        failpoint("step.worked")
        return outcome

    # ── effects ────────────────────────────────────────────────────────────────────────────────────────────

    def _register(self, work: Work) -> StepOutcome:
        means, model = self._means, self._subject.document["name"]
        key = digest([means.lineage, model, "register", work.fingerprint.digest])
        release = means.releases.release_by_key(model, key)
        if release is None:
            request = request_of(self._candidate(work, key), read_evidence(self._inputs(work), work.inputs))
            registered = means.registry.register(request)
            release = Release(
                model=model,
                version=registered.version,
                key=key,
                run_id=work.run_id,
                registry_uri=registered.uri,
                artifact=work.inputs["model"],
                evidence=self._evidence(work, registered.run_id),
            )
            means.releases.add_release(work.lease, release)
        if self._subject.document.get("versioning"):
            paths = self._inputs(work)
            means.record_version(release, {role: (work.inputs[role], paths[role]) for role in paths})
        _clear(work.folder)
        text = canonical_json({"key": key, "model": model, "version": release.version})
        _outputs(work)["release"].write_text(text + "\n", encoding="utf-8")
        return StepOutcome({"version": release.version, "uri": release.registry_uri}, f"version {release.version}")

    def _candidate(self, work: Work, key: str) -> Candidate:
        subject = self._subject
        observations = subject.world.observations
        code = {name: content for name, content in observations.contents.items() if name.startswith("code:")}
        return Candidate(
            document=subject.document,
            spec_digest=subject.spec_digest,
            key=key,
            run_id=work.run_id,
            provenance=subject.provenance,
            packages=observations.packages,
            code_digest=digest(code) if code else "",
        )

    def _evidence(self, work: Work, tracking_run: str) -> Mapping[str, Any]:
        """What the release was made of, and what it showed."""
        evaluation = json.loads(self._means.artifacts.path(work.inputs["evaluation"]).read_text(encoding="utf-8"))
        return {
            "tracking_run": tracking_run,
            "spec_digest": self._subject.spec_digest,
            "provenance": self._subject.provenance,
            "packages": self._subject.world.observations.packages,
            "artifacts": {role: artifact.digest for role, artifact in work.inputs.items()},
            "metrics": evaluation["metrics"],
            "rows": evaluation["rows"],
            "verdict": json.loads(self._means.artifacts.path(work.inputs["verdict"]).read_text(encoding="utf-8")),
            COMPARED_WITH: work.facts.get("examine", {}).get("champion"),
        }

    def _deploy(self, work: Work) -> StepOutcome:
        release = json.loads(self._means.artifacts.path(work.inputs["release"]).read_text(encoding="utf-8"))
        version = int(release["version"])
        model = self._subject.document["name"]
        endpoint = self._means.reader.models([model])[model].endpoint or Endpoint(model)
        if endpoint.deployed != work.fingerprint.digest:
            with self._means.hold_endpoint(model):
                endpoint = self._bring_in(work, version)
        failpoint("deploy.mirror")
        mirror(self._means.registry, endpoint)
        self._means.releases.set_mirrored(endpoint)
        arrival = f"version {version}"
        if endpoint.candidate is not None:
            arrival += f", at first {endpoint.weight:.0%}" if endpoint.weight else ", without traffic at first"
        return StepOutcome({"version": version, "generation": endpoint.generation}, arrival)

    def _bring_in(self, work: Work, version: int) -> Endpoint:
        """Record the release as the stable one or as a candidate, whose rollout takes the place of one that goes on."""
        means, model = self._means, self._subject.document["name"]
        before = means.reader.models([model])[model].endpoint or Endpoint(model)
        last = next(iter(means.rollouts.rollouts(model, 1)), None)
        now = means.clock()
        strategy = means.strategy_of(self._subject.document["deployment"])
        number = 1 if last is None else last.number + 1
        rollout, after = start(before, version, strategy, number, work.fingerprint.digest, now)
        changes: list[RolloutChange] = []
        if last is not None and last.is_open:
            changes.append((last, supersede(last, f"version {version} was deployed", now)))
        if rollout is not None:
            changes.append((None, rollout))
        failpoint("deploy.record")
        reason = f"apply, run {work.run_id}"
        means.releases.set_endpoint(work.lease, before, after, actor=means.actor, reason=reason, rollouts=changes)
        return after

    # ── outputs ────────────────────────────────────────────────────────────────────────────────────────────

    def _inputs(self, work: Work) -> dict[str, Path]:
        return {role: self._means.artifacts.path(artifact) for role, artifact in work.inputs.items()}

    def _models(self, work: Work) -> dict[str, StoredModel]:
        """The models that a step of ours loads: of what files, and whether our own training wrote them."""
        roles = ("model", "champion") if work.step.kind in ("evaluate", "examine") else ()
        found = {role: work.inputs[role] for role in roles if role in work.inputs}
        store, signed = self._means.artifacts, self._means.signed
        return {role: StoredModel(store.files(model), signed(model.digest)) for role, model in found.items()}

    def _store(self, work: Work, outcome: StepOutcome, *, adopted: bool = False) -> Finished:
        """Move the outputs into the store. What is there already is noted, so that a resumed run can go on from it."""
        noted = work.folder / STORED
        noted.mkdir(parents=True, exist_ok=True)
        outputs = {}
        for role, path in _outputs(work).items():
            note = noted / f"{role}.json"
            known = _noted(note)
            if known is None or not self._means.artifacts.has(known):
                if not path.exists():
                    raise StepError(f"{work.step.name}: its output {role} is gone", remedy="Run engine apply again.")
                known = self._means.artifacts.put(path, move=True)
                note.write_text(canonical_json(known.__dict__), encoding="utf-8")
            outputs[role] = known
        if work.step.kind == "train":
            self._means.sign_model(outputs["model"])
        failpoint("step.stored")
        return Finished(outcome, outputs, 0.0, adopted)


def mirror(registry: ModelRegistry, endpoint: Endpoint) -> None:
    """Make the registry's aliases say what the endpoint's record says."""
    registry.set_aliases(endpoint.model, {"champion": endpoint.stable, "challenger": endpoint.candidate})


def _outputs(work: Work) -> dict[str, Path]:
    return {role: work.folder / "out" / name for role, name in work.step.outputs.items()}


def _noted(note: Path) -> Artifact | None:
    try:
        return Artifact(**json.loads(note.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def _clear(folder: Path) -> None:
    """An empty folder for a step's work, whatever an interrupted run left there."""
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "out").mkdir(parents=True)


def _of_the_system(work: Work, error: OSError) -> EngineError:
    return StepError(
        f"{work.step.name}: {error.strerror or error}" + (f" ({error.filename})" if error.filename else ""),
        remedy="Nothing was recorded for this step. Mend the cause, then run engine apply again: it goes on from here.",
    )


def _linked(step: Step, links: Mapping[str, Path]) -> dict[str, str]:
    """The inputs that name files of the project: role → relative path."""
    named = {role: source.key.partition(":")[2] for role, source in step.inputs.items() if isinstance(source, Observed)}
    return {role: path for role, path in named.items() if path in links}


def _credentials() -> dict[str, str]:
    """What cloud storage clients read from the environment; only fetching data gets to see it."""
    return {name: value for name, value in os.environ.items() if name.startswith(CLOUD_VARIABLES)}


def _size(size: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"
