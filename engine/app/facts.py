"""What a model's triggers may look at, gathered from the state, the data and the monitoring of live predictions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from engine.adapters.sources.data import DataSources
from engine.adapters.sources.stat_cache import FileStatCache
from engine.app.workspace import Workspace
from engine.core.canonical import digest as digest_of
from engine.core.labels import LabelMark
from engine.core.monitoring import leaves
from engine.core.records import Endpoint, ModelState, Release
from engine.core.rollout import Phase, Rollout
from engine.errors import EngineError
from engine.runtime.observe import source_of
from engine.triggers.decision import moment
from engine.triggers.evaluation import past_of
from engine.triggers.facts import Champion, DataNow, Facts, Snapshot, UpstreamRelease, Window

_NEWEST, _DUE = 20, 200  # evaluations that are read of the past


def gather(workspace: Workspace, document: Mapping[str, Any], now: datetime, windows: Sequence[Window] = ()) -> Facts:
    """The facts of one model. Raises StateError; data that cannot be observed is unknown, not an error."""
    store, name = workspace.store, document["name"]
    state = store.models([name])[name]
    kinds = {trigger["type"]: trigger for trigger in leaves(document["retrain_trigger"])}
    return Facts(
        model=name,
        now=now,
        champion=_champion(workspace, state),
        attempted=_attempted(document, state),
        data=_data(workspace, document, state, kinds.get("data")),
        windows=tuple(windows),
        events=tuple(store.pending(name)),
        upstream=_upstream(workspace, document),
        on_trial=state.endpoint.candidate if state.endpoint is not None else None,
        past=past_of(store.evaluations(name, _NEWEST), store.evaluations(name, _DUE, due_only=True)),
    )


def _champion(workspace: Workspace, state: ModelState) -> Champion | None:
    endpoint = state.endpoint
    if endpoint is None or endpoint.stable is None:
        return None
    release = _release(workspace.store.releases(state.name), endpoint.stable)
    if release is None:
        return None
    metrics = {
        name: float(entry["value"])
        for name, entry in _metrics(release).items()
        if isinstance(entry, Mapping) and isinstance(entry.get("value"), int | float)
    }
    return Champion(
        endpoint.stable, live_since(workspace.store.rollouts(state.name), endpoint, release), metrics=metrics
    )


def _metrics(release: Release) -> Mapping[str, Any]:
    found = release.evidence.get("metrics")
    return found if isinstance(found, Mapping) else {}


def _release(releases: Sequence[Release], version: int) -> Release | None:
    return next((release for release in releases if release.version == version), None)


def live_since(rollouts: Sequence[Rollout], endpoint: Endpoint, release: Release) -> datetime:
    """When it was promoted, or, without a rollout, registered: then it was deployed right after."""
    promoted = (
        rollout.changed_at
        for rollout in rollouts
        if rollout.phase is Phase.PROMOTED and rollout.candidate == endpoint.stable
    )
    return moment(next(promoted, release.created_at))


def _attempted(document: Mapping[str, Any], state: ModelState) -> Snapshot | None:
    """The newest snapshot, labelled feedback included. Its rows are known once its table was checked."""
    taken = state.latest.get("snapshot")
    if taken is None:
        return None
    checked = state.latest.get("check_data")
    rows = None
    if checked is not None and checked.components["inputs"].get("data") == taken.outputs["data"].digest:
        rows = checked.facts.get("rows")
    told = state.latest.get("feedback") if document["data"].get("feedback") else None
    digest, at = taken.components["inputs"]["data"], moment(taken.finished_at)
    if told is not None:
        found = _with_labels(DataNow(digest, rows), told.components["inputs"]["feedback"])
        digest, rows, at = found.digest, found.rows, max(at, moment(told.finished_at))
    return Snapshot(digest, rows, at)


def _with_labels(data: DataNow, mark: str) -> DataNow:
    """Data with the feedback that is learned from besides."""
    rows = None if data.rows is None else data.rows + LabelMark.of(mark).count
    return DataNow(digest_of([data.digest, mark]), rows)


def _data(
    workspace: Workspace, document: Mapping[str, Any], state: ModelState, trigger: Mapping[str, Any] | None
) -> DataNow | None:
    """The data as it is now, if a trigger asks for it; its rows only if the trigger counts them and it has changed."""
    if trigger is None:
        return None
    stats = FileStatCache(workspace.cache_file)
    sources, source = DataSources(stats), source_of(document)
    try:
        digest = sources.observe(source, workspace.root, stats)
    except EngineError:
        return None
    finally:
        stats.flush()
    if digest is None:
        return None
    last = _attempted(document, state)
    data = DataNow(digest)
    mark = workspace.labelled.mark(document["name"]) if document["data"].get("feedback") else None
    known = data if mark is None else _with_labels(data, mark)
    if last is not None and last.digest == known.digest:
        return DataNow(known.digest, last.rows)
    if trigger.get("min_new_rows") is not None and sources.is_local(source):
        data = DataNow(digest, _rows(sources.watched(source, workspace.root)))
    return data if mark is None else _with_labels(data, mark)


def _rows(paths: Sequence[str]) -> int | None:
    """The rows of local files, streamed; None where they cannot be counted."""
    from engine.steps.table_files import count_rows

    try:
        return sum(count_rows(path) for path in map(Path, paths) if path.is_file())
    except EngineError:
        return None


def _upstream(workspace: Workspace, document: Mapping[str, Any]) -> Mapping[str, UpstreamRelease]:
    names = [trigger["model"] for trigger in leaves(document["retrain_trigger"]) if trigger["type"] == "upstream"]
    found = {}
    for name, state in (workspace.store.models(names) if names else {}).items():
        releases = workspace.store.releases(name)
        newest = max(releases, key=lambda release: release.version, default=None)
        if newest is None:
            continue
        endpoint = state.endpoint
        deployed = None
        if endpoint is not None and endpoint.stable == newest.version:
            deployed = live_since(workspace.store.rollouts(name), endpoint, newest)
        found[name] = UpstreamRelease(newest.version, moment(newest.created_at), deployed)
    return found
