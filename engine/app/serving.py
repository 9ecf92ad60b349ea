"""Serving a project: the state and the artifact store as the gateway's truth, and the rules for where it may listen."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from engine.app.signing import ModelSignatures
from engine.app.tokens import token_file
from engine.app.workspace import Workspace
from engine.core.canonical import utc
from engine.core.records import Artifact, Endpoint, Lineage, Release
from engine.core.rollout import Phase
from engine.errors import UsageError
from engine.serving.admission import LOOPBACK
from engine.serving.desired import Desired, ReleaseRef, Wanted
from engine.serving.files import ModelFiles
from engine.serving.settings import Settings
from engine.serving.tokens import Door, Purpose
from engine.steps.stored_files import StoredFile

if TYPE_CHECKING:
    from engine.serving.control import Control

_ALL = 1_000_000_000  # a limit that is none
_WHAT = {Purpose.PREDICT: "predictions", Purpose.CONTROL: "control"}
_RECENT = 20  # rollouts among which the one is looked for that brought in what is stable


@dataclass(frozen=True)
class ControlAt:
    """Where control is listened for beside the gateway; `announce` is called with the address."""

    settings: Settings
    announce: Callable[[str], None] = lambda _: None


def serve(
    workspace: Workspace,
    settings: Settings,
    *,
    insecure: bool,
    announce: Callable[[str], None],
    control: ControlAt | None = None,
) -> None:
    """Serve the project's endpoints until SIGTERM. Raises UsageError for an address that is not safe."""
    from engine.serving.service import serve as serve_truth

    door = door_of(workspace, Purpose.PREDICT, settings, insecure=insecure)
    beside = [] if control is None else [control_beside(workspace, control, insecure=insecure)]
    workspace.prepare_home()
    folder = workspace.serving
    folder.mkdir(exist_ok=True, mode=0o700)
    serve_truth(StateTruth(workspace), settings, folder, announce, door, beside, workspace.clock)


def control_beside(workspace: Workspace, control: ControlAt, *, insecure: bool) -> Control:
    """The control listener, to be started and stopped with the process. Raises UsageError for one that is not safe."""
    from engine.app.controlling import control_of

    door = door_of(workspace, Purpose.CONTROL, control.settings, insecure=insecure)
    assert door is not None  # control always asks
    return control_of(workspace, control.settings, door, control.announce)


def door_of(workspace: Workspace, purpose: Purpose, settings: Settings, *, insecure: bool) -> Door | None:
    """What asks for tokens at this address; None where nothing does.

    Control always asks. Predictions do beyond loopback and where `require_token` or a token of its own is given. Raises
    UsageError for an address that others can reach without a token and TLS, and where no token would do.
    """
    door = Door(token_file(workspace), purpose, settings.token)
    beyond = settings.host not in LOOPBACK and not insecure
    asks = beyond or purpose is Purpose.CONTROL or settings.require_token or settings.token is not None
    make = f"engine token create --for {purpose.value}"
    lacking = [] if not asks or door.opens() else [f"a token ({make})"]
    lacking += ["TLS (--tls-cert)"] if beyond and settings.certificate is None else []
    if lacking and beyond:
        raise UsageError(
            f"{settings.host} can be reached from other machines: {' and '.join(lacking)} must be there",
            remedy="Add what is missing, listen at 127.0.0.1, or say --insecure if something else protects it.",
        )
    if lacking:
        raise UsageError(f"there is no token for {_WHAT[purpose]}", remedy=f"Make one: {make}")
    return door if asks else None


class StateTruth:
    """The port `engine.serving.desired.Truth` over a workspace."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._refs: dict[tuple[str, int], ReleaseRef] = {}
        self._read_at: Lineage | None = None  # the state that `_desired` was read of, or one before it
        self._desired = Desired("", {})

    def desired(self) -> Desired:
        """The endpoints of the state as it is now. Raises EngineError."""
        reader = self._workspace.reader
        lineage = reader.lineage()
        if lineage == self._read_at:
            return self._desired
        endpoints = {name: state.endpoint for name, state in reader.models().items()}
        found = {}
        for name, endpoint in endpoints.items():
            if endpoint is not None and endpoint.stable is not None:
                found[name] = self._wanted(endpoint, endpoint.stable)
        self._read_at, self._desired = lineage, Desired(lineage.lineage, found)
        return self._desired

    def files(self, release: ReleaseRef) -> ModelFiles:
        """The verified files of a release. Raises IntegrityError."""
        store, signatures = self._workspace.artifacts, ModelSignatures(self._workspace)

        def file(digest: str | None, name: str) -> StoredFile | None:
            if digest is None:
                return None
            [(place, own)] = store.files(Artifact(digest, 0, name)).values()
            return StoredFile(place, own)

        return ModelFiles(
            {path: StoredFile(*place) for path, place in store.files(release.artifact).items()},
            lambda: signatures.holds(release.artifact.digest),
            release.id_column,
            file(release.evaluation, "evaluation.json"),
            file(release.holdout, "holdout.parquet"),
        )

    def _wanted(self, endpoint: Endpoint, stable: int) -> Wanted:
        candidate = endpoint.candidate
        until = self._warm_until(endpoint)
        return Wanted(
            endpoint.model,
            endpoint.generation,
            self._ref(endpoint.model, stable),
            None if candidate is None else self._ref(endpoint.model, candidate),
            0.0 if candidate is None else endpoint.weight,
            0.0 if candidate is None else endpoint.mirror,
            self._ref(endpoint.model, endpoint.previous) if until and endpoint.previous is not None else None,
            until,
        )

    def _warm_until(self, endpoint: Endpoint) -> str:
        """Until when the release that was stable before stays loaded; empty if it does not."""
        if endpoint.previous is None:
            return ""
        change = (endpoint.previous, endpoint.stable)
        for rollout in self._workspace.reader.rollouts(endpoint.model, _RECENT):
            if rollout.phase is Phase.PROMOTED and (rollout.base, rollout.candidate) == change:
                keep = rollout.strategy.keep_warm
                return utc(datetime.fromisoformat(rollout.changed_at.replace("Z", "+00:00")) + timedelta(seconds=keep))
        return ""

    def _ref(self, model: str, version: int) -> ReleaseRef:
        if (model, version) not in self._refs:
            reader = self._workspace.reader
            runs = {run.run_id: run.document for run in reader.runs(model, limit=_ALL)}
            for release in reader.releases(model):
                self._refs[model, release.version] = _ref_of(release, runs.get(release.run_id, {}))
        return self._refs[model, version]


def _ref_of(release: Release, document: Mapping[str, object]) -> ReleaseRef:
    data = document.get("data")
    artifacts = release.evidence.get("artifacts")
    digests = artifacts if isinstance(artifacts, Mapping) else {}
    return ReleaseRef(
        release.version,
        release.artifact,
        data.get("id") if isinstance(data, Mapping) else None,
        digests.get("evaluation"),
        digests.get("holdout"),
    )
