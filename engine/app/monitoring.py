"""Monitoring a project's models: a pass over what is live, and what all passes have found.

`look` judges the windows that closed; `monitored` only reads. Raises UsageError for a model that nothing is known of.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.app.documents import load_specs, read_texts, spec_keys
from engine.app.inspecting import Triggers, refuse_unknown, triggers
from engine.app.planning import specs_in
from engine.app.workspace import Workspace
from engine.core.monitoring import Breach, Settings, WindowReport, breaches, settings_of
from engine.core.records import Artifact, Release
from engine.errors import UsageError

if TYPE_CHECKING:
    from engine.adapters.monitoring import SqlMonitoring
    from engine.runtime.monitor import Looked, Monitor
    from engine.runtime.reference import Reference

FILE = "monitoring.db"
_KEPT_REFERENCES = 8
_FILES = {
    "schema": "schema.json",
    "holdout": "holdout.parquet",
    "evaluation": "evaluation.json",
    "predictions": "predictions.parquet",
    "reference": "reference.profile",
}


@dataclass(frozen=True)
class Monitored:
    """What is known of a model's live release. `reports`: of all releases, newest first. `looked`: by this pass.

    `evaluation`: the live release's metrics on its hold-out, by name. `triggers`: what they said last.
    """

    model: str
    version: int
    settings: Settings
    reports: Sequence[WindowReport]
    breaches: Sequence[Breach]
    evaluation: Mapping[str, Any]
    triggers: Triggers
    looked: Looked | None = None


def monitoring_store(workspace: Workspace) -> SqlMonitoring:
    """Where reports are kept: beside a local state, or in the database that is the state."""
    from engine.adapters.monitoring import SqlMonitoring

    if workspace.state_url.startswith("sqlite:///"):
        return SqlMonitoring(f"sqlite:///{workspace.home / FILE}")
    return SqlMonitoring(workspace.state_url)


def look(workspace: Workspace, model: str, limit: int = 50) -> Monitored:
    """Judge the windows of the live release that closed since the last pass, and tell all."""
    version, settings = live_version(workspace, model), watched(workspace, model)
    store = monitoring_store(workspace)
    try:
        looked = monitor_of(workspace, store).look(model, version, settings)
        while looked.more and looked.judged:
            looked = _joined(looked, monitor_of(workspace, store).look(model, version, settings))
        return _told(workspace, model, version, settings, store, limit, looked)
    finally:
        store.close()


def monitored(workspace: Workspace, model: str, limit: int = 50) -> Monitored:
    """What earlier passes found."""
    version, settings = live_version(workspace, model), watched(workspace, model)
    store = monitoring_store(workspace)
    try:
        return _told(workspace, model, version, settings, store, limit, None)
    finally:
        store.close()


def monitor_of(workspace: Workspace, store: SqlMonitoring) -> Monitor:
    """A monitor over the project's log; releases' references are read once."""
    from engine.adapters.detectors.find import check_block
    from engine.runtime.monitor import Monitor
    from engine.serving.prediction_log_served import ServedLog

    @lru_cache(_KEPT_REFERENCES)
    def reference(model: str, version: int) -> Reference:
        return reference_of_version(workspace, model, version)

    return Monitor(ServedLog(workspace.serving), store, reference, workspace.clock, check_block)


def watched(workspace: Workspace, model: str) -> Settings:
    """How the model is watched: by its spec as it is now, else as it was applied last."""
    document = watched_document(workspace, model)
    return settings_of(document)


def watched_document(workspace: Workspace, model: str) -> Mapping[str, Any]:
    """What is watched is no step, so that changing it is in effect at once."""
    texts = read_texts(workspace, specs_in(workspace.root / "specs"))
    named = {file: text for file, text in texts.items() if model.encode() in text}
    for spec in load_specs(workspace, named, spec_keys(workspace, named, {}), {}):
        if spec.document["name"] == model:
            return spec.document
    run = next(iter(workspace.reader.runs(model, 1)), None)
    if run is None:
        raise UsageError(f"{model} has no spec, and no run", remedy="Apply it first: engine apply")
    return run.document


def live_version(workspace: Workspace, model: str) -> int:
    """The stable release. Raises UsageError where there is none."""
    refuse_unknown(model, workspace.reader.list_models())
    endpoint = workspace.reader.models([model])[model].endpoint
    if endpoint is None or endpoint.stable is None:
        raise UsageError(f"no release of {model} is live, so there is nothing to watch", remedy="See: engine status")
    return endpoint.stable


def _told(
    workspace: Workspace, model: str, version: int, settings: Settings, store: SqlMonitoring, limit: int, looked: Any
) -> Monitored:
    reports = store.reports(model, limit=limit)
    own = [report for report in reports if report.version == version]
    evaluation: Any = _release(workspace, model, version).evidence.get("metrics") or {}
    said = triggers(workspace, model, 1)
    return Monitored(model, version, settings, reports, breaches(own), evaluation, said, looked)


def _joined(first: Looked, then: Looked) -> Looked:
    from engine.runtime.monitor import Looked

    return Looked((*first.judged, *then.judged), (*first.updated, *then.updated), then.open, then.more)


def _release(workspace: Workspace, model: str, version: int) -> Release:
    known = {release.version: release for release in workspace.reader.releases(model)}
    if version not in known:
        raise UsageError(f"{model} has no version {version}", remedy=f"See: engine releases {model}")
    return known[version]


def reference_of_version(workspace: Workspace, model: str, version: int) -> Reference:
    """What a release showed on its hold-out. Raises UsageError where it has none."""
    from engine.runtime.reference import reference_of

    files = _holdout_files(workspace, model, version)
    return reference_of(files, json.loads(files["evaluation"].read_text(encoding="utf-8")))


def evidently_report(workspace: Workspace, found: Monitored) -> str:
    """A page by Evidently: the live release's newest window beside its hold-out.

    Raises NotSupportedError without Evidently, UsageError where no window has closed or the log has lost its rows.
    """
    from engine.adapters.evidently_page import evidently_page, refuse_without_evidently
    from engine.runtime.reference import rows_of
    from engine.runtime.window_drift import columns_of
    from engine.serving.prediction_log_served import ServedLog
    from engine.stats.drift import Settings as DriftSettings

    refuse_without_evidently()
    model, version = found.model, found.version
    window = next((report.window for report in found.reports if report.version == version), None)
    if window is None:
        raise UsageError(f"no window of {model}@{version} has closed yet", remedy=f"Wait: engine monitor {model}")
    served = ServedLog(workspace.serving).between(model, version, window.first, window.last)
    rows = [row for row in served if row.prediction is not None]
    if not rows:
        raise UsageError(f"the log has no rows of window {window.number} any more", remedy="Wait for the next window.")
    batch = columns_of(rows, reference_of_version(workspace, model, version))
    alpha = next((block["alpha"] for block in found.settings.drift), DriftSettings.alpha)
    about = {"model": f"{model}@{version}", "window": window.number, "since": window.since, "until": window.until}
    return evidently_page(rows_of(_holdout_files(workspace, model, version)), batch, alpha, about)


def _holdout_files(workspace: Workspace, model: str, version: int) -> dict[str, Path]:
    """By role. Raises UsageError for a release that has nothing to be held against."""
    artifacts: Any = _release(workspace, model, version).evidence.get("artifacts") or {}
    missing = [role for role in ("schema", "holdout", "evaluation") if role not in artifacts]
    if missing:
        raise UsageError(
            f"version {version} of {model} has no {missing[0]} to be held against",
            remedy="Register it again: engine apply --replace register",
        )
    return {
        role: workspace.artifacts.path(Artifact(artifacts[role], 0, name))
        for role, name in _FILES.items()
        if role in artifacts
    }
