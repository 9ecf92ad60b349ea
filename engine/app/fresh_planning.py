"""Planning anew: validated document → graph → observations → `core.planner.make_plan`, and a memo of what came out.

A plan with nothing to do is remembered with all that it depended on, so that the next one can be quick.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from engine.adapters.sources.data import DataSources
from engine.adapters.sources.stat_cache import FileStatCache
from engine.app.cache import Cache, Memo
from engine.app.children import Children
from engine.app.detecting import Detection, planned_detection
from engine.app.documents import SpecDocument, load_specs, place_of
from engine.app.planning import Inquiry, PlannedModel, TriggerState, stat_of, triggers_of
from engine.app.workspace import Workspace
from engine.core.canonical import Json, canonical_json, digest, utc
from engine.core.champion import Champion, champion_of
from engine.core.fingerprint import Observations
from engine.core.graph import Graph
from engine.core.plan import Conditional, ModelPlan, Reason, Request, Reuse, Run
from engine.core.planner import make_plan
from engine.core.records import Artifact, ModelState, StepResult
from engine.errors import Diagnostic, SpecError, UsageError
from engine.ports import StatCache
from engine.runtime.observe import World, look, source_of
from engine.steps.lifecycle import build_graph

_TAKEN = ("snapshot", "feedback")  # the steps that look at data outside
RACY_SECONDS = 2.0  # a file changed so lately may change again within one tick of the file system's clock


def plan_afresh(
    inquiry: Inquiry, files: Sequence[str], memos: Mapping[str, Memo], begun: Children
) -> dict[str, PlannedModel]:
    """Plan the specs in `files`, all of whose mistakes come in one SpecError. `begun` validate the new ones."""
    return _Fresh(inquiry).plan(files, memos, begun)


def load_one(inquiry: Inquiry, file: str) -> tuple[SpecDocument, World]:
    """The document and the observations of a model that was planned from a memo."""
    [spec] = load_specs(inquiry.workspace, {file: inquiry.texts[file]}, inquiry.keys, inquiry.variables)
    return spec, _Fresh(inquiry).look(spec)[1]


class _Fresh:
    def __init__(self, inquiry: Inquiry) -> None:
        self._inquiry = inquiry
        self._workspace = inquiry.workspace
        self._stats = FileStatCache(inquiry.workspace.cache_file)
        self._sources = DataSources(self._stats)
        self._triggers_of: dict[str, tuple[TriggerState, ...]] = {}  # by the digest of their block

    def plan(self, files: Sequence[str], memos: Mapping[str, Memo], begun: Children) -> dict[str, PlannedModel]:
        """Every model of `files`, by file."""
        texts = {file: self._inquiry.texts[file] for file in files}
        self._stats.load()  # now, while the children are at work
        specs = load_specs(self._workspace, texts, self._inquiry.keys, self._inquiry.variables, begun)
        states = self._workspace.reader.models([spec.document["name"] for spec in specs])
        reader = _Reader(self._workspace)
        planned: dict[str, PlannedModel] = {}
        fresh: list[Memo] = []
        mistakes: list[Diagnostic] = []
        for spec in specs:
            name = spec.document["name"]
            try:
                model, observations, world = self._model(spec, states[name], reader)
            except UsageError as error:
                mistakes.append(self._placed(spec, error))
                continue
            triggers = self._triggers(spec, memos.get(spec.file))
            seen = World(observations, world.links, world.watched)
            detection = self._detection(spec, model)
            planned[spec.file] = PlannedModel(spec.file, model, triggers, partial(_same, spec, seen), detection)
            planned[spec.file].protected = spec.document["lifecycle"]["prevent_destroy"]
            planned[spec.file].restraints = tuple(self._restraints(spec, model))
            memo = self._memo(spec, model, triggers, world)
            if memo is not None:
                fresh.append(memo)
        if mistakes:
            raise SpecError(mistakes)
        self._stats.flush()
        Cache(self._workspace.cache_file).keep({}, fresh)
        return planned

    def _placed(self, spec: SpecDocument, error: UsageError) -> Diagnostic:
        """What could not be observed, at the place in the spec that names it."""
        pointer = "/data/source" if error.message.startswith("data.source") else ""
        text = self._inquiry.texts[spec.file]
        place = place_of(self._workspace, spec, text, self._inquiry.variables, pointer)
        return Diagnostic(place.file, place.line, place.column, error.message, error.remedy)

    def _model(self, spec: SpecDocument, state: ModelState, reader: _Reader) -> tuple[ModelPlan, Observations, World]:
        """The plan of one model, and what it was made of. Data that shall be kept is looked at only to read it anew."""
        request = self._inquiry.request
        kept = {name: state.latest[name] for name in _TAKEN if request.keep_data and name in state.latest}
        while True:
            graph, world = self.look(spec, kept)
            observations = self._with_registry(world, spec.document["name"])
            model = make_plan(graph, spec.digest, state, reader, observations, request, partial(self._held, spec))
            reused = {each.step for each in model.actions if isinstance(each, Reuse)}
            again = [name for name in kept if name in graph.by_name and name not in reused]
            if not again:
                return model, observations, world
            kept = {name: result for name, result in kept.items() if name not in again}

    def _held(self, spec: SpecDocument, version: int) -> Reason | None:
        """Why a version may not be deployed now."""
        from engine.app.policing import Permitting

        return Permitting(self._workspace, self._workspace.reader).held(spec.document, version, self._inquiry.now)

    def _restraints(self, spec: SpecDocument, model: ModelPlan) -> list[str]:
        """What policies about time would say of the deployment that the plan comes to, if it were now."""
        if not any(each.step == "deploy" and isinstance(each, Run | Conditional) for each in model.actions):
            return []
        from engine.app.policing import Permitting

        permitting = Permitting(self._workspace, self._workspace.reader)
        return [finding.message for finding in permitting.timed(spec.document, self._inquiry.now)]

    def look(self, spec: SpecDocument, kept: Mapping[str, StepResult] = {}) -> tuple[Graph, World]:
        """The graph of a spec, and what there is to observe for it; of data what a step saw, if that is kept."""
        graph = build_graph(spec.document)
        if spec.document.get("versioning"):
            from engine.adapters.versioning.dvc import refuse_without_repository

            refuse_without_repository(self._workspace.root)
        root, packages = self._workspace.root, self._inquiry.packages
        source = self._sources
        if "snapshot" in kept:
            source = _Kept(kept["snapshot"].components["inputs"]["data"])

        def labels(model: str) -> str:
            if "feedback" in kept:
                return str(kept["feedback"].components["inputs"]["feedback"])
            return self._workspace.labelled.mark(model)

        return graph, look(graph, spec.document, root, self._stats, source, packages, labels, self._champion)

    def _champion(self, model: str) -> Champion | None:
        reader = self._workspace.reader
        return champion_of(reader.models([model])[model].endpoint, reader.releases(model))

    def _with_registry(self, world: World, name: str) -> Observations:
        if not self._inquiry.request.refresh:
            return world.observations
        registry, known = self._workspace.registry, self._workspace.reader.releases(name)
        found = [registry.find(name, release.key) for release in known]
        versions = frozenset(registered.version for registered in found if registered is not None)
        return replace(world.observations, aliases=registry.aliases(name), versions=versions)

    def _triggers(self, spec: SpecDocument, memo: Memo | None) -> tuple[TriggerState, ...]:
        """What to say of the triggers. The memo still says it if the block is the same and no time has come since."""
        block = spec.document["retrain_trigger"]
        key = digest(block)
        if memo is not None and (memo.expires is None or memo.expires > utc(self._inquiry.now)):
            payload = json.loads(memo.payload)
            if payload.get("trigger_digest") == key:
                return triggers_of(payload)
        if key not in self._triggers_of:  # many models have the same schedule
            self._triggers_of[key] = tuple(trigger_states(block, self._inquiry.now))
        return self._triggers_of[key]

    def _detection(self, spec: SpecDocument, model: ModelPlan) -> Detection | None:
        """What the canary can detect, if there will be one: a first release has nothing to stand beside."""
        starts = any(each.step == "deploy" and isinstance(each, Run | Conditional) for each in model.actions)
        if not starts or model.endpoint is None or model.endpoint.stable is None:
            return None
        return planned_detection(spec.document["deployment"], Cache(self._workspace.cache_file))

    def _memo(
        self, spec: SpecDocument, model: ModelPlan, triggers: Sequence[TriggerState], world: World
    ) -> Memo | None:
        """A memo of a plan with nothing to do; None where a change might hide from the clock of the file system."""
        if self._inquiry.request != Request() or not all(isinstance(action, Reuse) for action in model.actions):
            return None
        artifacts = [a for action in model.actions if isinstance(action, Reuse) for a in action.result.outputs.values()]
        objects = [path for artifact in artifacts for path in self._workspace.artifacts.places(artifact)]
        if spec.document["data"].get("feedback"):
            return None  # labels come without a file that would tell
        source = source_of(spec.document)
        if not self._sources.is_local(source) and world.observations.contents["data"] is not None:
            return None  # it has to be asked each time
        data = self._sources.watched(source, self._workspace.root)
        watched = [(path, stat_of(path)) for path in (*data, *world.watched)]
        newest = max((stat[1] for _, stat in watched if stat), default=0)
        if newest > (time.time() - RACY_SECONDS) * 1e9:
            return None
        payload = {
            "name": model.name,
            "protected": spec.document["lifecycle"]["prevent_destroy"],
            "spec_digest": model.spec_digest,
            "actions": [[a.step, a.result.summary] for a in model.actions if isinstance(a, Reuse)],
            "endpoint": model.endpoint.__dict__ if model.endpoint else None,
            "triggers": [trigger.__dict__ for trigger in triggers],
            "trigger_digest": digest(spec.document["retrain_trigger"]),
        }
        return Memo(
            file=spec.file,
            spec_key=spec.key,
            world_key=self._inquiry.world_key,
            serial=model.serial,
            expires=min((trigger.next for trigger in triggers if trigger.next), default=None),
            watched=canonical_json([*watched, *((path, None) for path in objects)]),
            payload=canonical_json(payload),
        )


class _Kept(DataSources):
    """Data sources of which a plan is told what a snapshot saw."""

    def __init__(self, digest: str) -> None:
        self._digest = digest

    def observe(self, source: Json, project: Path, cache: StatCache) -> str | None:  # noqa: ARG002 - it does not look
        return self._digest


class _Reader:
    """What `make_plan` may look up."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace

    def result(self, model: str, step: str, fingerprint: str) -> StepResult | None:
        return self._workspace.reader.result(model, step, fingerprint)

    def has(self, artifact: Artifact) -> bool:
        return self._workspace.artifacts.has(artifact)


def trigger_states(block: Mapping[str, Any] | None, now: datetime) -> Iterable[TriggerState]:
    """What there is to say of a spec's triggers now; what acts on them is the controller."""
    if block is None:
        yield TriggerState("manual", "only by hand: engine apply")
        return
    for trigger in [*block.get("any_of", ()), *block.get("all_of", ())] or [block]:
        if "any_of" in trigger or "all_of" in trigger:
            yield from trigger_states(trigger, now)
        elif trigger["type"] == "scheduled":
            from engine.triggers.wall_clock import next_fire

            fires = next_fire(trigger, now)
            yield TriggerState("scheduled", trigger["cron"], utc(fires) if fires else None)
        else:
            yield TriggerState(trigger["type"], "")


def _same(spec: SpecDocument, world: World) -> tuple[SpecDocument, World]:
    return spec, world
